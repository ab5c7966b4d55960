//! The [`Hedge`] wrapper.

use std::{pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use brigade_core::{ChatModel, ChatReply, ChatRequest, ModelError, ModelId, Run, Settings};

use crate::{RetrySettings, retry::budget::RetryBudget, shared::reply_watch::ReplyWatch};

/// Sends the request a second time if nothing of the reply has arrived for a while, and returns the reply that starts
/// first.
///
/// A slow reply of a healthy provider is usually bad luck with one machine, which a second request rarely shares (Dean,
/// Barroso: The Tail at Scale, 2013). Both attempts are paid for, so use it where a person waits for the first word. Only
/// requests without tools are sent twice, and only as far as the model's retry budget allows.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use brigade_core::{
///     ChatModel, ChatRequest, Run,
///     testing::{ScriptedModel, Turn},
/// };
/// use brigade_resilience::{Hedge, RetrySettings};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let slow_once = ScriptedModel::new([Turn::text("Slow.").after(Duration::from_secs(60)), Turn::text("Fast.")]);
/// let model = Hedge::new(slow_once, Duration::from_secs(5), RetrySettings::default());
/// let reply = model.chat(&ChatRequest::new("Hello?"), &Run::new()).await?;
/// assert_eq!(reply.message.text(), "Fast.");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Hedge<M> {
    inner: M,
    after: Duration,
    settings: RetrySettings,
    budget: Arc<RetryBudget>,
}

impl<M: ChatModel> Hedge<M> {
    /// Sends a second request to `inner` if nothing has arrived for `after`, which should be longer than 95 % of replies
    /// take to start. `settings` determine the size of the retry budget.
    pub fn new(inner: M, after: Duration, settings: RetrySettings) -> Self {
        let budget = Arc::new(RetryBudget::new(&settings));
        Self { inner, after, settings, budget }
    }

    pub(crate) fn retry_settings(&self) -> &RetrySettings {
        &self.settings
    }

    /// Uses a retry budget that other wrappers share.
    pub(crate) fn with_budget(self, budget: Arc<RetryBudget>) -> Self {
        Self { budget, ..self }
    }

    fn attempt<'a>(&'a self, request: &'a ChatRequest, watch: &'a ReplyWatch) -> Attempt<'a> {
        Attempt { call: self.inner.chat(request, watch.run()), watch, result: None }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<M: ChatModel> ChatModel for Hedge<M> {
    fn id(&self) -> &ModelId {
        self.inner.id()
    }

    fn settings(&self) -> &Settings {
        self.inner.settings()
    }

    async fn chat(&self, request: &ChatRequest, run: &Run) -> Result<ChatReply, ModelError> {
        self.budget.record_hedged_call();
        if !request.tools.is_empty() {
            return self.inner.chat(request, run).await;
        }
        let (first_watch, second_watch) = (ReplyWatch::new(run), ReplyWatch::new(run));
        let mut first = self.attempt(request, &first_watch);
        tokio::select! {
            biased;
            () = first.progress() => return first.finish().await,
            () = tokio::time::sleep(self.after) => {}
        }
        if !self.budget.try_retry() {
            return first.finish().await;
        }
        let mut second = self.attempt(request, &second_watch);
        // Both attempts run on one task and in this order. As soon as one has emitted a delta, the other is dropped
        // before it is polled again, so that listeners never see deltas of both.
        let (winner, loser) = tokio::select! {
            biased;
            () = first.progress() => (first, second),
            () = second.progress() => (second, first),
        };
        if winner.has_failed() {
            return loser.finish().await;
        }
        drop(loser);
        winner.finish().await
    }
}

/// One of two attempts at the same request.
struct Attempt<'a> {
    call: Pin<Box<dyn Future<Output = Result<ChatReply, ModelError>> + Send + 'a>>,
    watch: &'a ReplyWatch,
    /// Present once the call has ended.
    result: Option<Result<ChatReply, ModelError>>,
}

impl Attempt<'_> {
    /// Waits until listeners have seen the start of the reply, or the call has ended.
    async fn progress(&mut self) {
        tokio::select! {
            biased;
            result = &mut self.call => self.result = Some(result),
            () = self.watch.new_delta() => {}
        }
    }

    fn has_failed(&self) -> bool {
        matches!(self.result, Some(Err(_)))
    }

    async fn finish(self) -> Result<ChatReply, ModelError> {
        match self.result {
            Some(result) => result,
            None => self.call.await,
        }
    }
}

#[cfg(test)]
mod tests;
