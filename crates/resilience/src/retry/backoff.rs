//! How long to wait before a failed call is tried again.

use std::time::Duration;

use brigade_core::{ModelError, ModelErrorKind, RetryAdvice};
use serde::{Deserialize, Serialize};

use crate::shared::jitter::Jitter;

/// When and how often a failed call is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetrySettings {
    /// Attempts per call, the first included. 3: what does not work three times in a row is rarely a blip.
    pub attempts: u32,
    /// The same for attempts that the provider may bill although they failed: answers that broke off, made no sense or
    /// never came. 2: each further one may cost the prompt once more.
    pub attempts_billed: u32,
    /// The most that is waited before the second attempt; it doubles with each further one. 0.5 s: the order of a
    /// load balancer's failover.
    #[serde(with = "humantime_serde")]
    pub base: Duration,
    /// The most that such a wait grows to. 8 s: beyond it another model answers sooner.
    #[serde(with = "humantime_serde")]
    pub cap: Duration,
    /// The longest wait asked for by a provider that is slept. 30 s: a longer one is handed on to whoever called, who
    /// may have another model.
    #[serde(with = "humantime_serde")]
    pub max_retry_after: Duration,
    /// How often an answer of which a part has been shown may begin again. 1: a listener who saw two beginnings
    /// distrusts a third, and each is paid for.
    pub restarts: u32,
    /// Of all calls to a model, how many percent may be retries. 20: enough for blips, and in an outage the provider
    /// sees a fifth more calls instead of three times as many.
    pub budget_percent: u32,
    /// Retries per second that are allowed besides, so that a quiet program can retry at all. 1.
    pub budget_per_second: u32,
    /// The window over which calls and retries are counted. 10 s: short enough to forget an outage soon.
    #[serde(with = "humantime_serde")]
    pub budget_window: Duration,
}

/// A wait asked for by a provider is stretched by a quarter at most, so that a crowd does not return as one…
const STRETCH: u32 = 4;
/// …within these bounds, since "at once" is said to a crowd too, and a second spreads any crowd.
const STRETCH_RANGE: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];

impl RetrySettings {
    /// How long to wait after the failed attempt number `attempt`, counted from 1; absent if trying again is useless or
    /// the wait too long to be slept. Never shorter than the provider asked for.
    pub(crate) fn delay(&self, error: &ModelError, attempt: u32, jitter: &Jitter) -> Option<Duration> {
        let billed = error.details().may_be_billed();
        let most = if billed { self.attempts.min(self.attempts_billed) } else { self.attempts };
        if attempt >= most || !is_transient(error.kind()) {
            return None;
        }
        match error.retry() {
            RetryAdvice::Never => None,
            RetryAdvice::After(told) if told > self.max_retry_after => None,
            RetryAdvice::After(told) => {
                let [least, most] = STRETCH_RANGE;
                Some(told + jitter.up_to((told / STRETCH).clamp(least, most)))
            }
            // "Full jitter": https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
            RetryAdvice::Backoff => {
                let doublings = attempt.saturating_sub(1).min(31);
                Some(jitter.up_to(self.base.saturating_mul(1 << doublings).min(self.cap)))
            }
        }
    }
}

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

/// Whether a failure of this kind can pass by itself. An open circuit can as well, but trying again against it would
/// undo it.
fn is_transient(kind: ModelErrorKind) -> bool {
    match kind {
        ModelErrorKind::RateLimited
        | ModelErrorKind::Overloaded
        | ModelErrorKind::Unreachable
        | ModelErrorKind::Transient
        | ModelErrorKind::Timeout(_)
        | ModelErrorKind::Broken => true,
        ModelErrorKind::Caller
        | ModelErrorKind::Auth
        | ModelErrorKind::Quota
        | ModelErrorKind::Refused
        | ModelErrorKind::ContextLength
        | ModelErrorKind::Budget
        | ModelErrorKind::CircuitOpen
        | ModelErrorKind::Cancelled => false,
    }
}
