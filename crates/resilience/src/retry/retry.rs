//! Trying a failed call again.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use brigade_core::{ChatModel, ChatReply, ChatRequest, Event, ModelError, ModelErrorKind, ModelId, Run, Settings};

use crate::{
    RetrySettings,
    retry::retry_budget::RetryBudget,
    shared::{jitter::Jitter, stopped::stopped, watch::Watched},
};

/// Tries a failed call again when that may help. The only place that does: retries at two heights multiply.
///
/// It heeds the error's [`RetryAdvice`](brigade_core::RetryAdvice), never returns earlier than the provider asked for,
/// and hands an error on whose wait is too long, so that another model can be asked. All callers of the model share a
/// budget of retries.
#[derive(Debug, Clone)]
pub struct Retry<M> {
    inner: M,
    backoff: RetrySettings,
    jitter: Arc<Jitter>,
    budget: Arc<RetryBudget>,
    hands_on_timeouts: bool,
}

impl<M: ChatModel> Retry<M> {
    /// Tries calls to `inner` again as `backoff` says. The budget of retries is shared with clones;
    /// [`Retry::within`] shares it further.
    pub fn new(inner: M, backoff: RetrySettings) -> Self {
        let budget = Arc::new(RetryBudget::new(&backoff));
        Self { inner, backoff, jitter: Arc::default(), budget, hands_on_timeouts: false }
    }

    /// The settings this wrapper was built with.
    pub(crate) fn backoff(&self) -> &RetrySettings {
        &self.backoff
    }

    /// Replaces the retry budget by one that other wrappers use too.
    pub(crate) fn with_budget(self, budget: Arc<RetryBudget>, jitter: Arc<Jitter>) -> Self {
        Self { jitter, budget, ..self }
    }

    /// Another model stands behind this one: a call that kept it waiting is not tried again but handed on, because the
    /// same model would probably take as long again.
    #[must_use]
    pub fn without_timeout_retries(self) -> Self {
        Self { hands_on_timeouts: true, ..self }
    }

    /// How long to wait before the next attempt, if there is to be one.
    fn plan(&self, error: &ModelError, attempt: u32, run: &Run) -> Option<Duration> {
        // A connection that did not stand took little time.
        let timed_out = matches!(error.kind(), ModelErrorKind::Timeout(_)) && error.details().sent;
        if timed_out && self.hands_on_timeouts {
            return None;
        }
        let delay = self.backoff.delay(error, attempt, &self.jitter)?;
        if run.time_left().is_some_and(|left| delay >= left) {
            return None;
        }
        if !self.budget.withdraw() {
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
        self.budget.deposit();
        let watched = Watched::over(run);
        let run = watched.run();
        let mut attempt = 1;
        loop {
            let error = match self.inner.chat(request, run).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            let shown = watched.has_shown();
            if shown && !watched.may_restart(self.backoff.restarts) {
                return Err(error);
            }
            let Some(delay) = self.plan(&error, attempt, run) else {
                return Err(error);
            };
            attempt += 1;
            run.emit(&Event::Retrying { model: self.id().clone(), attempt, reason: error.kind(), delay });
            // Before the wait, so that a listener who cannot take words back may give up before the next request.
            if shown {
                run.emit(&Event::ReplyRestarted);
            }
            // In a box, as few calls wait, and every call would have to hold room for it.
            let slept = Box::pin(run.until_stopped(tokio::time::sleep(delay))).await;
            slept.map_err(|end| stopped(end, self.id()))?;
        }
    }
}

#[cfg(test)]
mod tests;
