//! What a provider account may use.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

/// What a provider account may use of a model, and how callers queue for it.
///
/// Limits need not be known: they are learned from what responses say. One that is set here holds besides, for an
/// account that is shared with others, or a provider that says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimitSettings {
    /// Requests in a minute.
    pub requests_per_minute: Option<u64>,
    /// Input tokens in a minute, for providers that count them apart.
    pub input_tokens_per_minute: Option<u64>,
    /// Output tokens in a minute, for providers that count them apart.
    pub output_tokens_per_minute: Option<u64>,
    /// Input and output tokens together in a minute.
    pub tokens_per_minute: Option<u64>,
    /// Requests in a day.
    pub requests_per_day: Option<u64>,
    /// Input and output tokens together in a day.
    pub tokens_per_day: Option<u64>,
    /// How many percent of a limit may be used at once after a pause. 100: so the vendors describe their own buckets.
    /// Less if short bursts are refused although the limit is kept.
    pub burst_percent: u32,
    /// How the provider counts tokens; absent if that is not known, and then what was used counts.
    pub charging: Option<Charging>,
    /// The name under which several models share their limits; absent if this one has its own.
    pub family: Option<Arc<str>>,
    /// How many calls may wait. 1024: more would wait for minutes, and memory has an end.
    pub queue: usize,
    /// The longest that a call waits for its turn, or until its run's deadline if that is sooner. 5 min: what is
    /// refused after a longer wait has done nothing but wait.
    #[serde(with = "humantime_serde")]
    pub longest_wait: Duration,
    /// The longest pause asked for by the provider that is sat out; in a longer one calls fail at once, so that another
    /// model can be asked. 30 s, as for retries.
    #[serde(with = "humantime_serde")]
    pub longest_pause: Duration,
}

/// How a provider counts tokens against its limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Charging {
    /// What was used: input and output as reported.
    #[default]
    Used,
    /// When the request arrives, the larger of `max_tokens` and the estimated prompt
    /// (<https://platform.openai.com/docs/guides/rate-limits>).
    OpenAi,
    /// Input without what is read from the cache, and output as it is generated
    /// (<https://docs.claude.com/en/api/rate-limits>).
    Anthropic,
}

/// Who goes first when calls wait for the same limit. Within a priority it is first come, first served, shared fairly
/// between runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Somebody waits for the answer and nothing else.
    High,
    /// As most.
    #[default]
    Normal,
    /// Work in the background, which may starve.
    Low,
}

impl Default for RateLimitSettings {
    fn default() -> Self {
        Self {
            requests_per_minute: None,
            input_tokens_per_minute: None,
            output_tokens_per_minute: None,
            tokens_per_minute: None,
            requests_per_day: None,
            tokens_per_day: None,
            burst_percent: 100,
            charging: None,
            family: None,
            queue: 1024,
            longest_wait: Duration::from_mins(5),
            longest_pause: Duration::from_secs(30),
        }
    }
}
