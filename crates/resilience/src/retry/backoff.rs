//! The delay before a retry.

use std::time::Duration;

use brigade_core::{ModelError, ModelErrorKind, RetryAdvice};

use crate::{
    RetrySettings,
    shared::{jitter::Jitter, requested_wait::requested_wait},
};

/// The bounds of the random addition to a delay that a provider asked for. The lower one is needed because a provider
/// may ask a thousand clients to come back at once; a second is enough to spread them.
const MIN_ADDED_JITTER: Duration = Duration::from_millis(100);
const MAX_ADDED_JITTER: Duration = Duration::from_secs(1);

/// The delay before the next attempt, after attempt number `attempt` (from 1) failed; never shorter than the provider
/// asked for. `None` if a retry is useless or the delay too long.
pub(crate) fn delay(settings: &RetrySettings, error: &ModelError, attempt: u32, jitter: &Jitter) -> Option<Duration> {
    let may_be_billed = error.details().may_be_billed();
    let attempts = if may_be_billed { settings.attempts.min(settings.attempts_billed) } else { settings.attempts };
    if attempt >= attempts || !is_transient(error.kind()) {
        return None;
    }
    match (error.retry(), requested_wait(error)) {
        (RetryAdvice::Never, _) => None,
        (_, Some(wait)) if wait > settings.max_retry_after => None,
        (_, Some(wait)) => {
            Some(wait.saturating_add(jitter.up_to((wait / 4).clamp(MIN_ADDED_JITTER, MAX_ADDED_JITTER))))
        }
        // "Full jitter": https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
        (RetryAdvice::After(_) | RetryAdvice::Backoff, None) => {
            let doublings = attempt.saturating_sub(1).min(31);
            Some(jitter.up_to(settings.base.saturating_mul(1 << doublings).min(settings.cap)))
        }
    }
}

/// Whether a failure of this kind may pass by itself. An open circuit may too, but retrying would defeat its purpose.
fn is_transient(kind: ModelErrorKind) -> bool {
    match kind {
        ModelErrorKind::RateLimited
        | ModelErrorKind::Overloaded
        | ModelErrorKind::Unreachable
        | ModelErrorKind::Transient
        | ModelErrorKind::Timeout(_)
        | ModelErrorKind::Broken => true,
        ModelErrorKind::Caller
        | ModelErrorKind::NoSuchModel
        | ModelErrorKind::Auth
        | ModelErrorKind::Quota
        | ModelErrorKind::Refused
        | ModelErrorKind::ContextLength
        | ModelErrorKind::Budget
        | ModelErrorKind::CircuitOpen
        | ModelErrorKind::Cancelled => false,
    }
}
