//! Wrappers that keep calls to models going when providers fail: timeout, rate limit, circuit breaker, retry, fallback.
//!
//! Each wrapper is a [`ChatModel`](brigade_core::ChatModel) around another one, so they can be combined freely.
//! [`Policy::wrap`] combines them in the order that suits most programs. From the inside to the outside:
//!
//! | wrapper | what it does |
//! |---|---|
//! | [`Timeout`] | ends an attempt that does not start, stalls, or takes too long |
//! | [`RateLimit`] | waits until a call fits under the account's limits, which it learns from responses |
//! | [`Breaker`] | refuses calls while a model or its account's credentials fail |
//! | [`Hedge`] | optional: sends a slow request a second time |
//! | [`Retry`] | retries transient failures, within a budget that all callers share |
//! | [`Fallback`] | asks the next model |
//!
//! Providers limit accounts and models, not agents. So this state is kept in [`Accounts`], which all agents and runs of a
//! program share, and which reports it to health checks and metrics.
//!
//! Three rules apply everywhere. No wrapper reads text: decisions follow from the kind of an error, reported usage,
//! limits in responses, and time. Every wait ends when the run is cancelled or its deadline passes, and releases what it
//! held. Time comes from tokio's clock, so tests can pause it.
//!
//! ```
//! use brigade_core::{
//!     ChatModel, ChatRequest, ModelErrorKind, Run,
//!     testing::{ScriptedModel, Turn},
//! };
//! use brigade_resilience::{BreakerSettings, RateLimitSettings, Resilient, RetrySettings, Timeouts};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let flaky = ScriptedModel::named("flaky", [Turn::fails(ModelErrorKind::Overloaded), Turn::text("Here I am.")]);
//! let model = flaky
//!     .timeout(Timeouts::default())
//!     .rate_limit(RateLimitSettings::default().requests_per_minute(50))
//!     .breaker(BreakerSettings::default())
//!     .retry(RetrySettings::default());
//! let reply = model.chat(&ChatRequest::new("Hello?"), &Run::new()).await?;
//! assert_eq!(reply.message.text(), "Here I am.");
//! # Ok(())
//! # }
//! ```

#[macro_use]
mod shared;

mod accounts;
mod breaker;
mod fallback;
mod hedge;
mod policy;
mod rate_limit;
mod retry;
mod timeout;

#[cfg(test)]
mod testing;

pub use accounts::accounts::Accounts;
pub use accounts::health::ModelHealth;
pub use breaker::breaker::Breaker;
pub use breaker::settings::BreakerSettings;
pub use fallback::fallback::{Fallback, FallbackModel, FallbackRules};
pub use hedge::hedge::Hedge;
pub use policy::policy::Policy;
pub use policy::resilient::Resilient;
pub use rate_limit::bucket::Bucket;
pub use rate_limit::limiter::LimitHealth;
pub use rate_limit::rate_limit::RateLimit;
pub use rate_limit::settings::{Charging, Priority, RateLimitSettings};
pub use retry::retry::Retry;
pub use retry::settings::RetrySettings;
pub use timeout::settings::Timeouts;
pub use timeout::timeout::Timeout;
