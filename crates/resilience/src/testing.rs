//! A model that does what a test tells it to.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use brigade_core::{
    ChatModel, ChatReply, ChatRequest, Delta, Event, Message, ModelError, ModelErrorKind, ModelId, RetryAdvice, Run,
    Settings, testing::Recorder,
};

pub(crate) type Answer = Result<ChatReply, ModelError>;

/// A model that does what a test tells it to. Clones count together.
#[derive(Clone)]
pub(crate) struct Fake {
    id: ModelId,
    settings: Settings,
    calls: Arc<AtomicUsize>,
    act: Arc<Act>,
}

type Act = dyn Fn(usize, Run) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync;

impl Fake {
    /// A model called `a/name` whose every call does `act`, which is told the number of the call, from 1.
    pub(crate) fn new<F>(name: &str, act: impl Fn(usize, Run) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let act = Arc::new(move |call, run| Box::pin(act(call, run)) as Pin<Box<_>>);
        Self { id: ModelId::new("a", name), settings: Settings::default(), calls: Arc::default(), act }
    }

    /// Fails in these ways one after the other, then answers.
    pub(crate) fn failing(name: &str, kinds: &[ModelErrorKind]) -> Self {
        let kinds = kinds.to_vec();
        Self::new(name, move |call, _| {
            let kind = kinds.get(call - 1).copied();
            async move { kind.map_or_else(|| Ok(reply("ok")), |kind| Err(error(kind))) }
        })
    }

    /// Always fails in the same way.
    pub(crate) fn broken(name: &str, kind: ModelErrorKind) -> Self {
        Self::new(name, move |_, _| async move { Err(error(kind)) })
    }

    /// Always answers.
    pub(crate) fn well(name: &str) -> Self {
        Self::failing(name, &[])
    }

    /// The same with settings of its own.
    pub(crate) fn with_settings(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// How often it was asked.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl ChatModel for Fake {
    fn id(&self) -> &ModelId {
        &self.id
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    async fn chat(&self, _: &ChatRequest, run: &Run) -> Answer {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        (self.act)(call, run.clone()).await
    }
}

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fake({})", self.id)
    }
}

pub(crate) fn reply(text: &str) -> ChatReply {
    ChatReply::new(Message::assistant(text))
}

pub(crate) fn error(kind: ModelErrorKind) -> ModelError {
    ModelError::new(kind, "as told")
}

/// A failure whose provider asked to wait.
pub(crate) fn told(kind: ModelErrorKind, wait: Duration) -> ModelError {
    error(kind).with(|failure| failure.retry = RetryAdvice::After(wait))
}

pub(crate) fn say(run: &Run, text: &str) {
    run.emit_delta(|| Delta::Text(text.to_owned()));
}

pub(crate) fn question() -> ChatRequest {
    ChatRequest::new("?")
}

/// A run that somebody listens to, and the listener.
pub(crate) fn listened() -> (Run, Recorder) {
    let recorder = Recorder::new();
    (Run::builder().observer(Arc::new(recorder.clone())).deltas(true).build(), recorder)
}

/// What happened, deltas aside, one line an event.
pub(crate) fn story(recorder: &Recorder) -> Vec<String> {
    let line = |event: Event| match event {
        Event::Delta(_) => None,
        Event::Retrying { model, attempt, reason, .. } => Some(format!("retry {model} #{attempt}: {}", reason.name())),
        Event::RetrySuppressed { model, reason } => Some(format!("suppressed {model}: {}", reason.name())),
        Event::FellBack { from, to, reason } => Some(format!("{from} -> {to}: {}", reason.name())),
        Event::BreakerChanged { model, state } => Some(format!("breaker {model} {state}")),
        Event::RateLimitWaited { model, waited } => Some(format!("waited {waited:?} for {model}")),
        Event::ReplyRestarted => Some("restarted".to_owned()),
        other => Some(format!("{other:?}")),
    };
    recorder.events().into_iter().filter_map(|(_, event)| line(event)).collect()
}

pub(crate) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
