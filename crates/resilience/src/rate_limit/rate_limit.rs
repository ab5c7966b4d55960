//! The [`RateLimit`] wrapper.

use std::sync::Arc;

use async_trait::async_trait;
use brigade_core::{
    ChatModel, ChatReply, ChatRequest, Event, ModelError, ModelErrorKind, ModelId, RetryAdvice, Run, Settings,
};
use tokio::time::Instant;

use crate::{
    Priority, RateLimitSettings,
    rate_limit::{
        consumption::CallSize,
        limiter::{Admission, Limiter, Permit, QueuedCall, WaitBound, WaitTooLong},
    },
    shared::run_end::run_ended,
};

/// Makes calls wait until they fit under the rate limits of the provider account, instead of letting the provider refuse
/// them. The limits are learned from every response.
///
/// A call whose turn would come too late fails at once with [`ModelErrorKind::RateLimited`] and the time it would have
/// waited, so that another model can be asked.
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
/// use brigade_resilience::{RateLimit, RateLimitSettings};
/// use tokio::time::Instant;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let inner = ScriptedModel::new([Turn::text("One."), Turn::text("Two.")]);
/// let model = RateLimit::new(inner, RateLimitSettings::default().requests_per_minute(1));
/// let (request, started) = (ChatRequest::new("Count."), Instant::now());
/// model.chat(&request, &Run::new()).await?;
/// model.chat(&request, &Run::new()).await?;
/// assert_eq!(started.elapsed(), Duration::from_secs(60));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct RateLimit<M> {
    inner: M,
    settings: RateLimitSettings,
    priority: Priority,
    limiter: Arc<Limiter>,
}

impl<M: ChatModel> RateLimit<M> {
    /// Limits the rate of calls to `inner`. Clones share the limits; [`RateLimit::within`] shares them further.
    pub fn new(inner: M, settings: RateLimitSettings) -> Self {
        let limiter = Arc::new(Limiter::new(settings.clone(), Arc::default()));
        Self { inner, settings, priority: Priority::default(), limiter }
    }

    /// Sets which calls go first when several wait.
    #[must_use]
    pub fn priority(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }

    pub(crate) fn rate_limit_settings(&self) -> &RateLimitSettings {
        &self.settings
    }

    /// Uses a limiter that other wrappers share.
    pub(crate) fn with_limiter(self, limiter: Arc<Limiter>) -> Self {
        Self { limiter, ..self }
    }

    async fn wait<'a>(&self, queued: QueuedCall<'a>, run: &Run) -> Result<Permit<'a>, ModelError> {
        let started = Instant::now();
        let admitted = run.until_stopped(queued.admitted()).await;
        let waited = started.elapsed();
        run.emit(&Event::RateLimitWaited { model: self.id().clone(), waited });
        admitted.map_err(|interruption| run_ended(interruption, self.id()))?.map_err(|wait| self.refused(wait))
    }

    fn refused(&self, WaitTooLong { wait, bound }: WaitTooLong) -> ModelError {
        let why = match bound {
            WaitBound::LongestWait => "longer than `limits.longest_wait` allows; raise it, or a limit of the rate",
            WaitBound::LongestPause => "longer than `limits.longest_pause` allows: the provider asked for this pause",
            WaitBound::Queue => "and as many calls wait as `limits.queue` allows; raise it, or a limit of the rate",
            WaitBound::Deadline => "longer than the run or its worker has left",
        };
        let message = format!("the rate limit leaves no room for {wait:.1?}, {why}");
        ModelError::new(ModelErrorKind::RateLimited, message).with(|failure| {
            failure.model = Some(self.id().clone());
            failure.retry = RetryAdvice::After(wait);
        })
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<M: ChatModel> ChatModel for RateLimit<M> {
    fn id(&self) -> &ModelId {
        self.inner.id()
    }

    fn settings(&self) -> &Settings {
        self.inner.settings()
    }

    async fn chat(&self, request: &ChatRequest, run: &Run) -> Result<ChatReply, ModelError> {
        let call = CallSize::new(request, self.inner.settings());
        let admission = self.limiter.request(call, self.priority, run).map_err(|wait| self.refused(wait))?;
        let permit = match admission {
            Admission::Admitted(permit) => permit,
            Admission::Queued(queued) => self.wait(queued, run).await?,
        };
        let result = self.inner.chat(request, run).await;
        permit.settle(&result);
        result
    }
}

#[cfg(test)]
mod tests;
