//! How often a key may ask.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::http::StatusCode;
use brigade_resilience::Bucket;
use tokio::time::Instant;

use super::ApiError;
use crate::config::Key;

/// How often a key may ask. Clones count together.
#[derive(Debug, Clone)]
pub(super) struct Rate {
    limits: Limits,
    left: Arc<Mutex<Bucket>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limits {
    per_minute: u64,
    burst: u64,
}

const MINUTE: Duration = Duration::from_mins(1);

/// Without a `burst`, so many times what a minute allows fits into it: a minute's worth at once would double the first.
const BURSTS_A_MINUTE: u64 = 6;

impl Rate {
    /// As the configuration limits the key, if it does. What was asked under `before` counts on.
    pub(super) fn of(key: &Key, before: Option<&Self>) -> Option<Self> {
        let per_minute = u64::from(key.requests_per_minute?.get());
        let burst = key.burst.map_or_else(|| (per_minute / BURSTS_A_MINUTE).max(1), |burst| burst.get().into());
        let limits = Limits { per_minute, burst };
        let now = Instant::now();
        Some(match before {
            Some(before) if before.limits == limits => before.clone(),
            Some(before) => {
                // A copy, because the new configuration may still turn out to be unusable.
                let mut left = before.left.lock().unwrap_or_else(PoisonError::into_inner).clone();
                left.set_limit(per_minute, burst, now);
                Self::new(limits, left)
            }
            None => Self::new(limits, Bucket::full(per_minute, burst, MINUTE, now)),
        })
    }

    fn new(limits: Limits, left: Bucket) -> Self {
        Self { limits, left: Arc::new(Mutex::new(left)) }
    }

    /// Counts one request, unless it is one too many.
    pub(super) fn admit(&self, key: &str) -> Result<(), ApiError> {
        let now = Instant::now();
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = left.ready_in(1, now);
        if wait.is_zero() {
            left.take(1, now);
            return Ok(());
        }
        drop(left);
        let message = format!("the key `{key}` may ask {} times a minute; wait for a moment", self.limits.per_minute);
        Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", message).retry_after(wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Budget, KeyHash};

    fn key(per_minute: u32, burst: Option<u32>) -> Key {
        let [requests_per_minute, burst] = [Some(per_minute), burst].map(|number| number?.try_into().ok());
        Key { hash: KeyHash::of("brg_1"), scopes: Vec::new(), budget: Budget::default(), requests_per_minute, burst }
    }

    fn admitted(rate: &Rate) -> usize {
        std::iter::repeat_with(|| rate.admit("app")).take_while(Result::is_ok).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_let_in_and_then_what_comes_in_time() {
        let rate = Rate::of(&key(60, None), None).unwrap();
        assert_eq!(admitted(&rate), 10);
        assert_eq!(rate.admit("app").unwrap_err().retry_after, Some(Duration::from_secs(1)));
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(admitted(&rate), 3);
        tokio::time::advance(10 * MINUTE).await;
        assert_eq!(admitted(&rate), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_asked_counts_on_under_new_limits() {
        let before = Rate::of(&key(60, Some(5)), None).unwrap();
        assert_eq!(admitted(&before), 5);
        let same = Rate::of(&key(60, Some(5)), Some(&before)).unwrap();
        let more = Rate::of(&key(120, Some(50)), Some(&before)).unwrap();
        assert_eq!((admitted(&same), admitted(&more)), (0, 0));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((admitted(&same), admitted(&before), admitted(&more)), (1, 0, 2));
        assert!(Rate::of(&Key { requests_per_minute: None, ..key(1, None) }, Some(&before)).is_none());
    }
}
