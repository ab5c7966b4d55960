//! The wait that a provider asks for.

use std::time::Duration;

use brigade_core::{ModelError, ModelErrorKind, RetryAdvice};

/// How long the response of a failed call asks to wait: by the advice of the client, by `retry-after`, or, if a rate
/// limit was hit, until the limit resets. `None` if the response asks for nothing.
pub(crate) fn requested_wait(error: &ModelError) -> Option<Duration> {
    if let RetryAdvice::After(wait) = error.retry() {
        return Some(wait);
    }
    let reported = &error.details().limits;
    if reported.retry_after.is_some() || error.kind() != ModelErrorKind::RateLimited {
        return reported.retry_after;
    }
    let statuses = [&reported.requests, &reported.tokens, &reported.input_tokens, &reported.output_tokens];
    let exhausted = statuses.into_iter().filter(|status| status.remaining == Some(0));
    exhausted.filter_map(|status| status.reset).max()
}

#[cfg(test)]
mod tests {
    use brigade_core::RateLimitStatus;

    use super::*;
    use crate::testing::{error, retry_after, seconds};

    #[test]
    fn only_an_exceeded_rate_limit_waits_until_the_exhausted_limits_reset() {
        let exhausted = |kind, retry_after| {
            error(kind).with(|failure| {
                let status = |left, reset| RateLimitStatus::default().remaining(Some(left)).reset(Some(seconds(reset)));
                failure.limits.requests = status(0, 5);
                failure.limits.tokens = status(0, 7);
                failure.limits.input_tokens = status(1, 9);
                failure.limits.retry_after = retry_after;
            })
        };
        let (limited, overloaded) = (ModelErrorKind::RateLimited, ModelErrorKind::Overloaded);
        assert_eq!(requested_wait(&exhausted(limited, None)), Some(seconds(7)));
        assert_eq!(requested_wait(&exhausted(overloaded, None)), None);
        for kind in [limited, overloaded] {
            assert_eq!(requested_wait(&exhausted(kind, Some(seconds(3)))), Some(seconds(3)), "{kind:?}");
            assert_eq!(requested_wait(&retry_after(kind, seconds(2))), Some(seconds(2)), "{kind:?}");
            assert_eq!(requested_wait(&error(kind)), None, "{kind:?}");
        }
    }
}
