//! Wrapping a model in the order in which one would say it.

use std::time::Duration;

use brigade_core::ChatModel;

use crate::{
    Breaker, BreakerSettings, Fallback, FallbackModel, Hedge, RateLimit, RateLimitSettings, Retry, RetrySettings,
    Timeout, Timeouts,
};

/// Puts wrappers around a model, from the inside to the outside.
///
/// [`Policy::wrap`](crate::Policy::wrap) puts the standard ones in their order; these are for building a stack by hand.
pub trait Resilient: ChatModel + Sized {
    /// Ends attempts that take too long.
    fn timeout(self, limits: Timeouts) -> Timeout<Self> {
        Timeout::new(self, limits)
    }

    /// Lets calls wait until they fit under the account's limits.
    fn rate_limit(self, limits: RateLimitSettings) -> RateLimit<Self> {
        RateLimit::new(self, limits)
    }

    /// Refuses calls while the model fails.
    fn breaker(self, thresholds: BreakerSettings) -> Breaker<Self> {
        Breaker::new(self, thresholds)
    }

    /// Tries failed calls again.
    fn retry(self, backoff: RetrySettings) -> Retry<Self> {
        Retry::new(self, backoff)
    }

    /// Asks a second time when the first takes long, and takes the answer that comes first.
    fn hedge(self, after: Duration, backoff: RetrySettings) -> Hedge<Self> {
        Hedge::new(self, after, backoff)
    }

    /// Asks another model when this one cannot answer.
    fn fallback(self, other: impl Into<FallbackModel>) -> Fallback<Self> {
        Fallback::new(self, other)
    }
}

impl<M: ChatModel> Resilient for M {}
