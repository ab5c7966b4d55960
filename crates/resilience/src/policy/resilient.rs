//! Methods that wrap a model.

use std::time::Duration;

use brigade_core::ChatModel;

use crate::{
    Breaker, BreakerSettings, Fallback, FallbackModel, Hedge, RateLimit, RateLimitSettings, Retry, RetrySettings,
    Timeout, Timeouts,
};

/// Methods that wrap a model. The last call adds the outermost wrapper.
///
/// Use these methods to build a stack by hand. [`Policy::wrap`](crate::Policy::wrap) builds the standard one.
///
/// ```
/// use brigade_core::{ChatModel, ChatRequest, ModelErrorKind, Run, testing::{ScriptedModel, Turn}};
/// use brigade_resilience::{Resilient, RetrySettings, Timeouts};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), brigade_core::ModelError> {
/// let main = ScriptedModel::new([Turn::fails(ModelErrorKind::Auth)]);
/// let spare = ScriptedModel::new([Turn::text("Here I am.")]);
/// let model = main.timeout(Timeouts::default()).retry(RetrySettings::default()).fallback(spare);
/// let reply = model.chat(&ChatRequest::new("Hello?"), &Run::new()).await?;
/// assert_eq!(reply.message.text(), "Here I am.");
/// # Ok(())
/// # }
/// ```
pub trait Resilient: ChatModel + Sized {
    /// Ends attempts that take too long.
    fn timeout(self, timeouts: Timeouts) -> Timeout<Self> {
        Timeout::new(self, timeouts)
    }

    /// Makes calls wait until they fit under the account's limits.
    fn rate_limit(self, settings: RateLimitSettings) -> RateLimit<Self> {
        RateLimit::new(self, settings)
    }

    /// Refuses calls while the model keeps failing.
    fn breaker(self, settings: BreakerSettings) -> Breaker<Self> {
        Breaker::new(self, settings)
    }

    /// Retries failed calls.
    fn retry(self, settings: RetrySettings) -> Retry<Self> {
        Retry::new(self, settings)
    }

    /// Sends a slow request a second time, and returns the reply that starts first.
    fn hedge(self, after: Duration, settings: RetrySettings) -> Hedge<Self> {
        Hedge::new(self, after, settings)
    }

    /// Asks another model when this one cannot answer.
    fn fallback(self, other: impl Into<FallbackModel>) -> Fallback<Self> {
        Fallback::new(self, other)
    }
}

impl<M: ChatModel> Resilient for M {}
