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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{error, retry_after, seconds};

    /// The shortest and the longest of many delays after this attempt.
    fn range(settings: &RetrySettings, error: &ModelError, attempt: u32) -> Option<(Duration, Duration)> {
        let jitter = Jitter::seeded(1);
        let delays: Option<Vec<_>> = (0..2_000).map(|_| delay(settings, error, attempt, &jitter)).collect();
        let delays = delays?;
        Some((delays.iter().copied().min()?, delays.iter().copied().max()?))
    }

    #[track_caller]
    fn assert_fills(range: Option<(Duration, Duration)>, from: Duration, to: Duration) {
        let (shortest, longest) = range.unwrap();
        let margin = to.saturating_sub(from) / 50;
        assert!(from <= shortest && shortest <= from + margin, "{shortest:?} is not close above {from:?}");
        assert!(to.saturating_sub(margin) <= longest && longest <= to, "{longest:?} is not close below {to:?}");
    }

    #[test]
    fn the_longest_delay_doubles_with_each_attempt_up_to_the_cap() {
        let settings = RetrySettings::default().attempts(99);
        let failure = error(ModelErrorKind::Overloaded);
        for (attempt, millis) in [(1, 500), (2, 1_000), (3, 2_000), (4, 4_000), (5, 8_000), (6, 8_000), (98, 8_000)] {
            assert_fills(range(&settings, &failure, attempt), Duration::ZERO, Duration::from_millis(millis));
        }
        assert_eq!(range(&settings, &failure, 99), None);
    }

    #[test]
    fn a_requested_wait_is_extended_by_a_quarter_within_bounds() {
        let settings = RetrySettings::default();
        for (wait, added_millis) in [(0, 100), (1, 250), (2, 500), (3, 750), (4, 1_000), (30, 1_000)] {
            let failure = retry_after(ModelErrorKind::RateLimited, seconds(wait));
            let longest = seconds(wait) + Duration::from_millis(added_millis);
            assert_fills(range(&settings, &failure, 1), seconds(wait), longest);
        }
        let too_long = retry_after(ModelErrorKind::RateLimited, seconds(30) + Duration::from_nanos(1));
        assert_eq!(range(&settings, &too_long, 1), None);
    }
}
