//! The standard stack of wrappers.

use std::{sync::Arc, time::Duration};

use brigade_core::ChatModel;
use serde::{Deserialize, Serialize};

use crate::{
    Accounts, Breaker, BreakerSettings, Fallback, FallbackModel, FallbackRules, Hedge, Priority, RateLimit,
    RateLimitSettings, Retry, RetrySettings, Timeout, Timeouts,
};

/// How calls to a model are guarded: plain settings for the standard stack of wrappers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// How long one attempt may take.
    pub timeouts: Timeouts,
    /// What the account may use. Nothing by default: limits are learned from responses.
    pub limits: RateLimitSettings,
    /// Who goes first when calls wait for the limits. Normal: a program knows best which of its models somebody waits for.
    pub priority: Priority,
    /// When calls are refused because the model fails.
    pub breaker: BreakerSettings,
    /// When and how often a failed call is tried again.
    pub retry: RetrySettings,
    /// After how long without an answer the model is asked a second time. Never by default: both answers are paid for.
    #[serde(with = "humantime_serde")]
    pub hedge_after: Option<Duration>,
    /// For which failures another model is asked.
    pub fallback: FallbackRules,
}

impl Policy {
    /// Puts the standard stack around `model`, which is best metered before, so that every attempt is paid for and seen.
    /// When it cannot answer, `fallbacks` are asked in turn; each should have been through a policy of its own, because
    /// another account has other limits.
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
        // Unless another model can be asked by then: whoever has waited a minute in vain is not to wait another one.
        let mut fallbacks = fallbacks.into_iter().peekable();
        let model = if fallbacks.peek().is_some() { model.without_timeout_retries() } else { model };
        // Outermost: the last resort, when this model has been given up.
        Arc::new(Fallback::chain(model, fallbacks).rules(self.fallback))
    }
}

#[cfg(test)]
mod tests;
