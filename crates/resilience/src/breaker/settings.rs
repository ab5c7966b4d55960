//! Settings of [`Breaker`](crate::Breaker).

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When a circuit opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BreakerSettings {
    /// The number of failures in a row that opens the circuit. Default 7: more than two calls with all their attempts.
    pub failures_in_row: u32,
    /// The share of failed calls within the window, in percent, that opens the circuit. Default 50: an answer that costs
    /// two attempts is dearer than another model.
    pub failed_percent: u32,
    /// The number of calls within the window below which `failed_percent` does not apply. Default 10.
    pub least_calls: u32,
    /// The time window for `failed_percent`. Default 30 s: long enough for ten calls of a small team of agents.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// How long the circuit stays open the first time. The time doubles with each failed probe. Default 1 s.
    #[serde(with = "humantime_serde")]
    pub shortest_open: Duration,
    /// The maximum of that time. Default 60 s: a recovery is noticed within a minute.
    #[serde(with = "humantime_serde")]
    pub longest_open: Duration,
    /// How long all models of an account are blocked after its credentials were rejected or its quota was exhausted.
    /// Default 15 min: a person has to repair that.
    #[serde(with = "humantime_serde")]
    pub credential_open: Duration,
}

setters!(BreakerSettings {
    failures_in_row: u32,
    failed_percent: u32,
    least_calls: u32,
    window: Duration,
    shortest_open: Duration,
    longest_open: Duration,
    credential_open: Duration,
});

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            failures_in_row: 7,
            failed_percent: 50,
            least_calls: 10,
            window: Duration::from_secs(30),
            shortest_open: Duration::from_secs(1),
            longest_open: Duration::from_mins(1),
            credential_open: Duration::from_mins(15),
        }
    }
}
