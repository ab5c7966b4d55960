//! The [`Retry`] wrapper.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use brigade_core::{ChatModel, ChatReply, ChatRequest, Event, ModelError, ModelErrorKind, ModelId, Run, Settings};

use crate::{
    RetrySettings,
    retry::{backoff, budget::RetryBudget},
    shared::{jitter::Jitter, reply_watch::ReplyWatch, run_end::run_ended},
};

/// Retries a failed call if that may help. The only place that retries: retries at two levels multiply.
///
/// It follows the error's [`RetryAdvice`](brigade_core::RetryAdvice) and never retries earlier than the provider asked
/// for. If the delay is too long, it returns the error so that another model can be asked. All callers of a model share
/// a budget of retries.
///
/// # Examples
///
/// ```
/// use brigade_core::{
///     ChatModel, ChatRequest, ModelErrorKind, Run,
///     testing::{ScriptedModel, Turn},
/// };
/// use brigade_resilience::{Retry, RetrySettings};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let flaky = ScriptedModel::new([Turn::fails(ModelErrorKind::Overloaded), Turn::text("Hello.")]);
/// let model = Retry::new(flaky, RetrySettings::default().attempts(2));
/// let reply = model.chat(&ChatRequest::new("Hello?"), &Run::new()).await?;
/// assert_eq!(reply.message.text(), "Hello.");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Retry<M> {
    inner: M,
    settings: RetrySettings,
    jitter: Arc<Jitter>,
    budget: Arc<RetryBudget>,
    retries_timeouts: bool,
}

impl<M: ChatModel> Retry<M> {
    /// Retries calls to `inner`. Clones share the retry budget; [`Retry::within`] shares it further.
    pub fn new(inner: M, settings: RetrySettings) -> Self {
        let budget = Arc::new(RetryBudget::new(&settings));
        Self { inner, settings, jitter: Arc::default(), budget, retries_timeouts: true }
    }

    /// Does not retry a call that timed out, except while connecting. Meant for a model that has a fallback: the same
    /// model would probably take as long again.
    #[must_use]
    pub fn without_timeout_retries(self) -> Self {
        Self { retries_timeouts: false, ..self }
    }

    pub(crate) fn retry_settings(&self) -> &RetrySettings {
        &self.settings
    }

    /// Uses a retry budget that other wrappers share.
    pub(crate) fn with_budget(self, budget: Arc<RetryBudget>, jitter: Arc<Jitter>) -> Self {
        Self { jitter, budget, ..self }
    }

    /// The delay before the next attempt; `None` if the call is not retried.
    fn next_delay(&self, error: &ModelError, attempt: u32, run: &Run) -> Option<Duration> {
        let timed_out = matches!(error.kind(), ModelErrorKind::Timeout(_)) && error.details().sent;
        if timed_out && !self.retries_timeouts {
            return None;
        }
        let delay = backoff::delay(&self.settings, error, attempt, &self.jitter)?;
        if run.time_left().is_some_and(|left| delay >= left) {
            return None;
        }
        if !self.budget.try_retry() {
            run.emit(&Event::RetrySuppressed { model: self.id().clone(), reason: error.kind() });
            return None;
        }
        Some(delay)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<M: ChatModel> ChatModel for Retry<M> {
    fn id(&self) -> &ModelId {
        self.inner.id()
    }

    fn settings(&self) -> &Settings {
        self.inner.settings()
    }

    async fn chat(&self, request: &ChatRequest, run: &Run) -> Result<ChatReply, ModelError> {
        self.budget.record_call();
        let watch = ReplyWatch::new(run);
        let run = watch.run();
        let mut attempt = 1;
        loop {
            let error = match self.inner.chat(request, run).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            let has_partial_reply = watch.has_partial_reply();
            if has_partial_reply && !watch.may_restart(self.settings.restarts) {
                return Err(error);
            }
            let Some(delay) = self.next_delay(&error, attempt, run) else {
                return Err(error);
            };
            attempt += 1;
            run.emit(&Event::Retrying { model: self.id().clone(), attempt, reason: error.kind(), delay });
            // Before the delay, so that a listener who cannot take text back can cancel before the next request.
            if has_partial_reply {
                run.emit(&Event::ReplyRestarted);
            }
            let slept = run.until_stopped(tokio::time::sleep(delay)).await;
            slept.map_err(|interruption| run_ended(interruption, self.id()))?;
        }
    }
}

#[cfg(test)]
mod tests;
