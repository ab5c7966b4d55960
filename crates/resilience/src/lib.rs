//! Wrappers that keep calls to models going when providers do not: timeout, rate limit, breaker, retry, fallback.
//!
//! Each is a [`ChatModel`](brigade_core::ChatModel) around another one, so they combine freely; [`Policy::wrap`] puts
//! them in the order that suits most. From the inside to the outside:
//!
//! | wrapper | does |
//! |---|---|
//! | [`Timeout`] | ends an attempt that does not begin, stalls, or takes too long |
//! | [`RateLimit`] | waits for the account's allowance, which it learns from every response |
//! | [`Breaker`] | refuses calls while a model or its account's credentials fail |
//! | [`Hedge`] | on request, asks a second time when the first answer is slow |
//! | [`Retry`] | tries again what may pass by itself, within a budget that all callers share |
//! | [`Fallback`] | asks the next model |
//!
//! What a provider limits and what fails are accounts and models, not agents. So their state is kept in [`Accounts`],
//! which all agents and runs of a program share, and which shows it for health checks and metrics.
//!
//! Three rules hold everywhere. Nothing here looks at text: decisions follow from the kind of an error, reported usage,
//! limits in responses, and time. Every wait ends when the run is cancelled or its time is up, and gives back what it
//! held. Time comes from tokio's clock, so that tests can pause it.
//!
//! ```
//! use brigade_core::{
//!     ChatModel, ChatRequest, ModelErrorKind, Run,
//!     testing::{ScriptedModel, Turn},
//! };
//! use brigade_resilience::{Accounts, FallbackModel, RetrySettings, RateLimitSettings, Policy, Resilient, BreakerSettings, Timeouts};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // By hand, in the order in which one would say it:
//! let flaky = ScriptedModel::named("flaky", [Turn::fails(ModelErrorKind::Overloaded), Turn::text("Here I am.")]);
//! let model = flaky
//!     .timeout(Timeouts::default())
//!     .rate_limit(RateLimitSettings { requests_per_minute: Some(50), ..RateLimitSettings::default() })
//!     .breaker(BreakerSettings::default())
//!     .retry(RetrySettings::default());
//! let reply = model.chat(&ChatRequest::new("Hello?"), &Run::new()).await?;
//! assert_eq!(reply.message.text(), "Here I am.");
//!
//! // Or the standard stack, with state that the whole program shares:
//! let accounts = Accounts::new();
//! let policy = Policy { retry: RetrySettings { attempts: 1, ..RetrySettings::default() }, ..Policy::default() };
//! let small = policy.wrap(ScriptedModel::named("small", [Turn::text("I am small.")]), [], &accounts);
//! let large = ScriptedModel::named("large", [Turn::fails(ModelErrorKind::Overloaded)]);
//! let model = policy.wrap(large, [FallbackModel::new(small)], &accounts);
//!
//! let run = Run::new();
//! let reply = model.chat(&ChatRequest::new("Who are you?"), &run).await?;
//! assert_eq!(reply.message.text(), "I am small.");
//! assert_eq!(run.degraded()[0].part, "model:large");
//!
//! let health = &accounts.snapshot()[0];
//! assert_eq!(health.model.to_string(), "scripted/large");
//! assert_eq!(health.last_error, Some(ModelErrorKind::Overloaded));
//! assert!(health.is_available(), "one failure does not open a breaker");
//! # Ok(())
//! # }
//! ```

mod accounts;
mod breaker;
mod fallback;
mod hedge;
mod policy;
mod rate_limit;
mod retry;
mod shared;
mod timeout;

#[cfg(test)]
mod testing;

pub use accounts::accounts::{Accounts, LimitHealth, ModelHealth};
pub use breaker::breaker::Breaker;
pub use breaker::circuit::{BreakerSettings, BreakerState};
pub use fallback::fallback::{Fallback, FallbackModel, FallbackRules};
pub use hedge::hedge::Hedge;
pub use policy::policy::Policy;
pub use policy::resilient::Resilient;
pub use rate_limit::bucket::Bucket;
pub use rate_limit::limits::{Charging, Priority, RateLimitSettings};
pub use rate_limit::rate_limit::RateLimit;
pub use retry::backoff::RetrySettings;
pub use retry::retry::Retry;
pub use timeout::timeout::{Timeout, Timeouts};
