//! Settings of [`RateLimit`](crate::RateLimit).

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

/// The rate limits of a provider account for a model, and how callers queue for them.
///
/// The limits need not be known: they are learned from the headers of responses. Limits set here apply in addition, for
/// example if the account is shared with other programs, or if the provider sends no such headers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RateLimitSettings {
    /// Requests that may start per minute, of any size.
    pub requests_per_minute: Option<u64>,
    /// Input tokens per minute, for providers that count input and output separately.
    pub input_tokens_per_minute: Option<u64>,
    /// Output tokens per minute, for providers that count input and output separately.
    pub output_tokens_per_minute: Option<u64>,
    /// Input and output tokens together, per minute.
    pub tokens_per_minute: Option<u64>,
    /// Requests that may start per day, of any size.
    pub requests_per_day: Option<u64>,
    /// Input and output tokens together, per day.
    pub tokens_per_day: Option<u64>,
    /// The share of a limit, in percent, that may be used in one burst after a pause. Default 100, which is how the
    /// vendors describe their own buckets. Lower it if the provider refuses short bursts although the limit is kept.
    pub burst_percent: u32,
    /// How the provider counts tokens. If it is not known, the tokens that were used are counted.
    pub charging: Option<Charging>,
    /// The name under which several models share their limits. By default each model has its own.
    pub family: Option<Arc<str>>,
    /// How many calls may wait. Default 1024: more would wait for minutes, and memory is bounded.
    pub queue: usize,
    /// The longest time that a call waits for its turn; the run's deadline may shorten it. Default 5 min.
    #[serde(with = "humantime_serde")]
    pub longest_wait: Duration,
    /// The longest pause requested by the provider that callers wait for. During a longer one, calls fail at once so
    /// that another model can be asked. Default 30 s, as for retries.
    #[serde(with = "humantime_serde")]
    pub longest_pause: Duration,
}

setters!(RateLimitSettings {
    burst_percent: u32,
    queue: usize,
    longest_wait: Duration,
    longest_pause: Duration,
} optional {
    requests_per_minute: u64,
    input_tokens_per_minute: u64,
    output_tokens_per_minute: u64,
    tokens_per_minute: u64,
    requests_per_day: u64,
    tokens_per_day: u64,
    charging: Charging,
    family: Arc<str>,
});

/// How a provider counts tokens against its limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Charging {
    /// The tokens that were used: input and output as reported.
    #[default]
    Used,
    /// When the request arrives, the larger of `max_tokens` and the estimated prompt
    /// (<https://platform.openai.com/docs/guides/rate-limits>).
    OpenAi,
    /// Input without the tokens that were read from the cache, and output as it is generated
    /// (<https://docs.claude.com/en/api/rate-limits>).
    Anthropic,
}

/// Which calls go first when several wait for the same limit. Within a priority the order is first come, first served,
/// with a fair share for each run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Priority {
    /// A person waits for the answer.
    High,
    /// Most calls.
    #[default]
    Normal,
    /// Background work, which may starve.
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
