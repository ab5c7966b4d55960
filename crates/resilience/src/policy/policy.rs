//! The standard stack of wrappers.

use std::{sync::Arc, time::Duration};

use brigade_core::ChatModel;
use serde::{Deserialize, Serialize};

use crate::{
    Accounts, Breaker, BreakerSettings, Fallback, FallbackModel, FallbackRules, Hedge, Priority, RateLimit,
    RateLimitSettings, Retry, RetrySettings, Timeout, Timeouts,
};

/// The settings of the standard stack of wrappers around a model.
///
/// # Examples
///
/// ```
/// use brigade_core::{
///     ChatModel, ChatRequest, ModelErrorKind, Run,
///     testing::{ScriptedModel, Turn},
/// };
/// use brigade_resilience::{Accounts, FallbackModel, Policy, RetrySettings};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // Shared by all models of the program.
/// let accounts = Accounts::new();
/// let policy = Policy::default().retry(RetrySettings::default().attempts(1));
///
/// let small = policy.wrap(ScriptedModel::named("small", [Turn::text("I am small.")]), [], &accounts);
/// let large = ScriptedModel::named("large", [Turn::fails(ModelErrorKind::Overloaded)]);
/// let model = policy.wrap(large, [FallbackModel::new(small)], &accounts);
///
/// let reply = model.chat(&ChatRequest::new("Who are you?"), &Run::new()).await?;
/// assert_eq!(reply.message.text(), "I am small.");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Policy {
    /// How long one attempt may take.
    pub timeouts: Timeouts,
    /// The rate limits of the account. Default none: they are learned from responses.
    pub limits: RateLimitSettings,
    /// Which calls go first when several wait for the rate limit. Default normal.
    pub priority: Priority,
    /// When calls are refused because the model keeps failing.
    pub breaker: BreakerSettings,
    /// When and how often a failed call is retried.
    pub retry: RetrySettings,
    /// After how long without a reply the request is sent a second time. Default never: both replies are paid for.
    #[serde(with = "humantime_serde")]
    pub hedge_after: Option<Duration>,
    /// After which failures another model is asked.
    pub fallback: FallbackRules,
}

setters!(Policy {
    timeouts: Timeouts,
    limits: RateLimitSettings,
    priority: Priority,
    breaker: BreakerSettings,
    retry: RetrySettings,
    fallback: FallbackRules,
} optional {
    hedge_after: Duration,
});

impl Policy {
    /// Puts the standard stack around `model`. Wrap it in [`Metered`](brigade_core::Metered) before, so that each attempt
    /// is charged. If the model cannot answer, `fallbacks` are asked in turn. Wrap each of them with a policy of its own,
    /// because another account has other limits.
    pub fn wrap<M: ChatModel>(
        &self,
        model: M,
        fallbacks: impl IntoIterator<Item = FallbackModel>,
        accounts: &Accounts,
    ) -> Arc<dyn ChatModel> {
        // Innermost, because time in a queue is not slowness of the provider.
        let model = Timeout::new(model, self.timeouts);
        // Around each attempt, because each is counted by the provider.
        let model = RateLimit::new(model, self.limits.clone()).priority(self.priority).within(accounts);
        // Before the queue, because a call that an open circuit refuses must not take from the limits.
        let model = Breaker::new(model, self.breaker).within(accounts);
        // Twice through everything below, because the second request is a request like any other.
        let model: Arc<dyn ChatModel> = match self.hedge_after {
            Some(after) => Arc::new(Hedge::new(model, after, self.retry).within(accounts)),
            None => Arc::new(model),
        };
        // Around them, so that each attempt is timed, counted and judged.
        let model = Retry::new(model, self.retry).within(accounts);
        // With a fallback, a caller who has waited for one timeout must not wait for a second one.
        let mut fallbacks = fallbacks.into_iter().peekable();
        let model = if fallbacks.peek().is_some() { model.without_timeout_retries() } else { model };
        // Outermost: the last resort, when this model has been given up.
        Arc::new(Fallback::chain(model, fallbacks).rules(self.fallback))
    }
}

#[cfg(test)]
mod tests;
