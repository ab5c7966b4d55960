//! Staying below a provider's limits.

use std::sync::Arc;

use async_trait::async_trait;
use brigade_core::{
    ChatModel, ChatReply, ChatRequest, Event, ModelError, ModelErrorKind, ModelId, RetryAdvice, Run, Settings,
};
use tokio::time::Instant;

use crate::{
    Priority, RateLimitSettings,
    rate_limit::draw::Demand,
    rate_limit::limiter::{Admission, Entry, Limiter, Ticket, TooLong},
    shared::stopped::stopped,
};

/// Lets calls wait until they fit under the limits of the provider account, instead of letting the provider refuse
/// them. What the limits are it learns from every response.
///
/// A call whose turn would not come in time fails at once as [`ModelErrorKind::RateLimited`], with the time that it
/// would have taken, so that another model can be asked.
#[derive(Debug, Clone)]
pub struct RateLimit<M> {
    inner: M,
    limits: RateLimitSettings,
    priority: Priority,
    limiter: Arc<Limiter>,
}

impl<M: ChatModel> RateLimit<M> {
    /// Holds calls to `inner` to `limits`. What was used is shared with clones; [`RateLimit::within`] shares it further.
    pub fn new(inner: M, limits: RateLimitSettings) -> Self {
        let limiter = Arc::new(Limiter::new(limits.clone(), Arc::default()));
        Self { inner, limits, priority: Priority::default(), limiter }
    }

    /// The settings this wrapper was built with.
    pub(crate) fn limits(&self) -> &RateLimitSettings {
        &self.limits
    }

    /// Replaces the limiter by one that other wrappers use too.
    pub(crate) fn with_limiter(self, limiter: Arc<Limiter>) -> Self {
        Self { limiter, ..self }
    }

    /// Who goes first when calls wait.
    #[must_use]
    pub fn priority(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }

    async fn wait<'a>(&self, ticket: Ticket<'a>, run: &Run) -> Result<Admission<'a>, ModelError> {
        let started = Instant::now();
        let admitted = run.until_stopped(ticket.admitted()).await;
        let waited = started.elapsed();
        run.emit(&Event::RateLimitWaited { model: self.id().clone(), waited });
        admitted.map_err(|end| stopped(end, self.id()))?.map_err(|wait| self.refusal(wait))
    }

    fn refusal(&self, TooLong(wait): TooLong) -> ModelError {
        let message = format!("the rate limit leaves no room for {wait:.1?}, longer than the call can wait");
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
        let demand = Demand::of(request, self.inner.settings());
        let entry = self.limiter.enter(demand, self.priority, run).map_err(|wait| self.refusal(wait))?;
        let admission = match entry {
            Entry::Admitted(admission) => admission,
            // In a box, as few calls wait, and every call would have to hold room for it.
            Entry::Waits(ticket) => Box::pin(self.wait(ticket, run)).await?,
        };
        let result = self.inner.chat(request, run).await;
        admission.settle(&result);
        result
    }
}

#[cfg(test)]
mod tests;
