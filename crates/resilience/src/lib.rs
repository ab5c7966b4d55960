//! Brigade: resilience.

mod accounts;
mod backoff;
mod breaker;
mod bucket;
mod circuit;
mod dimension;
mod draw;
mod fallback;
mod hedge;
mod jitter;
mod limiter;
mod limits;
mod pause;
mod policy;
mod queue;
mod rate_limit;
mod resilient;
mod retry;
mod retry_budget;
mod stopped;
mod tally;
mod timeout;
mod watch;

#[cfg(test)]
mod fakes;

pub use accounts::{Accounts, LimitHealth, ModelHealth};
pub use backoff::Backoff;
pub use breaker::Breaker;
pub use circuit::{BreakerState, Thresholds};
pub use fallback::{Alternate, Fallback, FallbackRules};
pub use hedge::Hedge;
pub use limits::{Charging, Limits, Priority};
pub use policy::Policy;
pub use rate_limit::RateLimit;
pub use resilient::Resilient;
pub use retry::Retry;
pub use timeout::{Timeout, Timeouts};
