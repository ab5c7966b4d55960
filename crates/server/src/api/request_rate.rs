//! Limits the request rate of a key.

use std::{sync::Arc, time::Duration};

use axum::http::StatusCode;
use brigade_openai::ErrorCode;
use brigade_resilience::Bucket;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::ApiError;

/// Limits the request rate of a key. Clones share one limit.
#[derive(Debug, Clone)]
pub(super) struct RequestLimiter {
    rate: RequestRate,
    bucket: Arc<Mutex<Bucket>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RequestRate {
    per_minute: u64,
    burst: u64,
}

const MINUTE: Duration = Duration::from_mins(1);

/// The default burst is this part of a minute's requests. A whole minute's worth would double the first minute.
const BURSTS_PER_MINUTE: u64 = 6;

impl RequestLimiter {
    /// Requests that `previous` has counted still count.
    pub(super) fn new(per_minute: u32, burst: Option<u32>, previous: Option<&Self>) -> Self {
        let per_minute = u64::from(per_minute);
        let rate = RequestRate { per_minute, burst: burst.map_or((per_minute / BURSTS_PER_MINUTE).max(1), u64::from) };
        let now = Instant::now();
        let bucket = match previous {
            Some(previous) if previous.rate == rate => return previous.clone(),
            Some(previous) => {
                // A copy, because the new configuration may still turn out to be unusable.
                let mut bucket = previous.bucket.lock().clone();
                bucket.set_limit(rate.per_minute, rate.burst, now);
                bucket
            }
            None => Bucket::full(rate.per_minute, rate.burst, MINUTE, now),
        };
        Self { rate, bucket: Arc::new(Mutex::new(bucket)) }
    }

    /// Counts one request, or refuses it.
    pub(super) fn admit(&self, key: &str) -> Result<(), ApiError> {
        let now = Instant::now();
        let wait = {
            let mut bucket = self.bucket.lock();
            let wait = bucket.ready_in(1, now);
            if wait.is_zero() {
                bucket.take(1, now);
                return Ok(());
            }
            wait
        };
        let limit = self.rate.per_minute;
        let requests = if limit == 1 { "request" } else { "requests" };
        let message = format!("the key `{key}` is limited to {limit} {requests} per minute; retry later");
        Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, ErrorCode::RateLimitExceeded, message).retry_after(wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(limiter: &RequestLimiter) -> usize {
        std::iter::repeat_with(|| limiter.admit("app")).take_while(Result::is_ok).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_admitted_and_then_the_configured_rate() {
        let limiter = RequestLimiter::new(60, None, None);
        assert_eq!(admitted(&limiter), 10);
        assert_eq!(limiter.admit("app").unwrap_err().retry_after, Some(Duration::from_secs(1)));
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(admitted(&limiter), 3);
        tokio::time::advance(10 * MINUTE).await;
        assert_eq!(admitted(&limiter), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_still_count_after_the_limits_change() {
        let previous = RequestLimiter::new(60, Some(5), None);
        assert_eq!(admitted(&previous), 5);
        let same = RequestLimiter::new(60, Some(5), Some(&previous));
        let more = RequestLimiter::new(120, Some(50), Some(&previous));
        assert_eq!((admitted(&same), admitted(&more)), (0, 0));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((admitted(&same), admitted(&previous), admitted(&more)), (1, 0, 2));
    }
}
