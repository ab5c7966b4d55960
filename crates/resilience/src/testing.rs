//! Test fixtures: a model whose calls a test defines, and short constructors.

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

pub(crate) type CallResult = Result<ChatReply, ModelError>;

/// A model whose calls a test defines. Clones share the number of calls.
#[derive(Clone)]
pub(crate) struct Fake {
    id: ModelId,
    settings: Settings,
    calls: Arc<AtomicUsize>,
    behavior: Arc<Behavior>,
}

type Behavior = dyn Fn(usize, Run) -> Pin<Box<dyn Future<Output = CallResult> + Send>> + Send + Sync;

impl Fake {
    /// A model called `a/name`. Each call runs `behavior` with the number of the call, from 1.
    pub(crate) fn new<F>(name: &str, behavior: impl Fn(usize, Run) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = CallResult> + Send + 'static,
    {
        let behavior = Arc::new(move |call, run| Box::pin(behavior(call, run)) as Pin<Box<_>>);
        Self { id: ModelId::new("a", name), settings: Settings::default(), calls: Arc::default(), behavior }
    }

    /// Fails once with each of these kinds, then answers.
    pub(crate) fn failing(name: &str, kinds: &[ModelErrorKind]) -> Self {
        let kinds = kinds.to_vec();
        Self::new(name, move |call, _| {
            let kind = kinds.get(call - 1).copied();
            async move { kind.map_or_else(|| Ok(reply("ok")), |kind| Err(error(kind))) }
        })
    }

    /// Always fails with this kind.
    pub(crate) fn broken(name: &str, kind: ModelErrorKind) -> Self {
        Self::new(name, move |_, _| async move { Err(error(kind)) })
    }

    /// Always answers.
    pub(crate) fn healthy(name: &str) -> Self {
        Self::failing(name, &[])
    }

    /// Replaces the settings.
    pub(crate) fn with_settings(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// The number of calls so far.
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

    async fn chat(&self, _: &ChatRequest, run: &Run) -> CallResult {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        (self.behavior)(call, run.clone()).await
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
    ModelError::new(kind, "scripted failure")
}

/// A failure with which the provider asks for a delay.
pub(crate) fn retry_after(kind: ModelErrorKind, wait: Duration) -> ModelError {
    error(kind).with(|failure| failure.retry = RetryAdvice::After(wait))
}

pub(crate) fn emit_text(run: &Run, text: &str) {
    run.emit_delta(|| Delta::Text(text.to_owned()));
}

pub(crate) fn question() -> ChatRequest {
    ChatRequest::new("?")
}

/// A run with a listener for deltas, and the listener.
pub(crate) fn observed_run() -> (Run, Recorder) {
    let recorder = Recorder::new();
    (Run::builder().observer(Arc::new(recorder.clone())).deltas(true).build(), recorder)
}

/// The recorded events without deltas, one line per event.
pub(crate) fn event_lines(recorder: &Recorder) -> Vec<String> {
    let line = |event: Event| match event {
        Event::Delta(_) => None,
        Event::Retrying { model, attempt, reason, .. } => Some(format!("retry {model} #{attempt}: {}", reason.name())),
        Event::RetrySuppressed { model, reason } => Some(format!("suppressed {model}: {}", reason.name())),
        Event::FellBack { from, to, reason } => Some(format!("{from} -> {to}: {}", reason.name())),
        Event::BreakerChanged { model, state } => Some(format!("breaker {model} {}", state.name())),
        Event::RateLimitWaited { model, waited } => Some(format!("waited {waited:?} for {model}")),
        Event::ReplyRestarted => Some("restarted".to_owned()),
        other => Some(format!("{other:?}")),
    };
    recorder.events().into_iter().filter_map(|(_, event)| line(event)).collect()
}

pub(crate) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
