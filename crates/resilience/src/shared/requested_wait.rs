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
