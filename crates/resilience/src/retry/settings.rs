//! Settings of [`Retry`](crate::Retry).

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When and how often a failed call is retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RetrySettings {
    /// Attempts per call, including the first. Default 3: a call that fails three times in a row is rarely a blip.
    pub attempts: u32,
    /// The same for attempts that the provider may bill although they failed, for example because the reply broke off.
    /// Default 2: each one may cost the whole prompt again.
    pub attempts_billed: u32,
    /// The longest delay before the second attempt. It doubles with each further attempt. Default 0.5 s: the time that a
    /// load balancer takes to fail over.
    #[serde(with = "humantime_serde")]
    pub base: Duration,
    /// The maximum of that delay. Default 8 s: beyond it another model answers sooner.
    #[serde(with = "humantime_serde")]
    pub cap: Duration,
    /// The longest delay requested by a provider that is waited for. Default 30 s: an error with a longer one is
    /// returned at once, because the caller may have another model.
    #[serde(with = "humantime_serde")]
    pub max_retry_after: Duration,
    /// How often a reply may start again after a part of it was shown. Default 1: a listener who saw two beginnings does
    /// not trust a third, and each one costs.
    pub restarts: u32,
    /// The retry budget: the share of recent calls, in percent, that may be retries. Default 20: enough for blips, and
    /// during an outage the provider gets a fifth more calls instead of three times as many.
    pub budget_percent: u32,
    /// Retries per second that are allowed in addition, so that a program with few calls can retry at all. Default 1.
    pub budget_per_second: u32,
    /// The time window of the retry budget. Default 10 s: an outage is soon forgotten.
    #[serde(with = "humantime_serde")]
    pub budget_window: Duration,
}

setters!(RetrySettings {
    attempts: u32,
    attempts_billed: u32,
    base: Duration,
    cap: Duration,
    max_retry_after: Duration,
    restarts: u32,
    budget_percent: u32,
    budget_per_second: u32,
    budget_window: Duration,
});

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            attempts: 3,
            attempts_billed: 2,
            base: Duration::from_millis(500),
            cap: Duration::from_secs(8),
            max_retry_after: Duration::from_secs(30),
            restarts: 1,
            budget_percent: 20,
            budget_per_second: 1,
            budget_window: Duration::from_secs(10),
        }
    }
}
