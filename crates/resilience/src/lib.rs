//! Brigade: resilience.

mod accounts;
mod backoff;
mod fallback;
mod jitter;
mod resilient;
mod retry;
mod retry_budget;
mod stopped;
mod tally;
mod timeout;
mod watch;

#[cfg(test)]
mod fakes;

pub use accounts::Accounts;
pub use backoff::Backoff;
pub use fallback::{Alternate, Fallback, FallbackRules};
pub use resilient::Resilient;
pub use retry::Retry;
pub use timeout::{Timeout, Timeouts};
