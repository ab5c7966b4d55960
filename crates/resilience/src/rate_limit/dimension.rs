//! One quantity that a provider limits.

use std::time::Duration;

use brigade_core::RateLimitStatus;
use tokio::time::Instant;

use crate::{Bucket, RateLimitSettings, shared::instants::after};

const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

/// The quantities that a provider may limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quantity {
    Requests,
    InputTokens,
    OutputTokens,
    TotalTokens,
}

/// One quantity in one time window. It has a bucket as soon as its limit is known.
#[derive(Debug)]
pub(crate) struct Dimension {
    name: &'static str,
    quantity: Quantity,
    window: Duration,
    configured: Option<u64>,
    learned: Option<u64>,
    burst_percent: u32,
    bucket: Option<Bucket>,
    /// The amount taken by calls that have not ended.
    in_flight: u64,
    /// Nothing can be taken before this time, when the provider's own window ends.
    closed_until: Option<Instant>,
}

impl Dimension {
    /// All dimensions, limited as configured until a response reports more.
    pub(crate) fn all(settings: &RateLimitSettings, now: Instant) -> Vec<Self> {
        let dimension = |name, quantity, window, configured: Option<u64>| {
            let burst_percent = settings.burst_percent;
            let bucket = configured.map(|limit| Bucket::full(limit, capacity(limit, burst_percent), window, now));
            let (learned, in_flight, closed_until) = (None, 0, None);
            Self { name, quantity, window, configured, learned, burst_percent, bucket, in_flight, closed_until }
        };
        vec![
            dimension("requests_per_minute", Quantity::Requests, MINUTE, settings.requests_per_minute),
            dimension("input_tokens_per_minute", Quantity::InputTokens, MINUTE, settings.input_tokens_per_minute),
            dimension("output_tokens_per_minute", Quantity::OutputTokens, MINUTE, settings.output_tokens_per_minute),
            dimension("tokens_per_minute", Quantity::TotalTokens, MINUTE, settings.tokens_per_minute),
            dimension("requests_per_day", Quantity::Requests, DAY, settings.requests_per_day),
            dimension("tokens_per_day", Quantity::TotalTokens, DAY, settings.tokens_per_day),
        ]
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn quantity(&self) -> Quantity {
        self.quantity
    }

    /// The bucket, if the limit is known.
    pub(crate) fn bucket(&mut self) -> Option<&mut Bucket> {
        self.bucket.as_mut()
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// The time until `amount` can be taken at once.
    pub(crate) fn ready_in(&mut self, amount: u64, now: Instant) -> Duration {
        let closed = self.closed_for(now);
        self.bucket.as_mut().map_or(Duration::ZERO, |bucket| bucket.ready_in(amount, now)).max(closed)
    }

    /// The time until `amount` can have been taken by a sequence of calls.
    pub(crate) fn refilled_in(&mut self, amount: u64, now: Instant) -> Duration {
        let closed = self.closed_for(now);
        self.bucket.as_mut().map_or(Duration::ZERO, |bucket| bucket.refilled_in(amount, now)).max(closed)
    }

    /// The share of a window's limit that `amount` is, in billionths.
    pub(crate) fn share(&self, amount: u64) -> u64 {
        self.bucket.as_ref().map_or(0, |bucket| amount.saturating_mul(1_000_000_000) / bucket.limit())
    }

    /// Takes the amount that a call is expected to use.
    pub(crate) fn reserve(&mut self, amount: u64, now: Instant) {
        self.in_flight = self.in_flight.saturating_add(amount);
        if let Some(bucket) = &mut self.bucket {
            bucket.take(amount, now);
        }
    }

    /// Replaces the reserved amount with the used one.
    pub(crate) fn settle(&mut self, reserved: u64, used: u64, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(reserved);
        let Some(bucket) = &mut self.bucket else { return };
        if used > reserved {
            bucket.take(used - reserved, now);
        } else {
            bucket.give_back(reserved - used, now);
        }
    }

    /// Whether a response reports this dimension by `status`. Responses do not name the window of a limit; only requests
    /// and total tokens are known to be limited per day.
    pub(crate) fn is_reported_by(&self, status: &RateLimitStatus) -> bool {
        match self.quantity {
            Quantity::InputTokens | Quantity::OutputTokens => true,
            Quantity::Requests | Quantity::TotalTokens => (self.window == DAY) == is_daily(status),
        }
    }

    /// Learns from the response to a request that was sent at `since`. Lowers the level at once. Raises it only if the
    /// limit itself has changed, because the reported remainder is older than what has been taken since.
    pub(crate) fn learn(&mut self, status: &RateLimitStatus, since: Instant, now: Instant) {
        if let Some(limit) = status.limit.filter(|limit| *limit > 0 && self.learned != Some(*limit)) {
            self.learned = Some(limit);
            self.change_limit(status.remaining.unwrap_or(limit).saturating_sub(self.in_flight), now);
        }
        if let (Some(bucket), Some(remaining)) = (&mut self.bucket, status.remaining) {
            bucket.lower_to(remaining, since, now);
        }
        if let Some(reset) = status.reset.filter(|reset| resets_at_once(status, *reset, self.window)) {
            self.closed_until = Some(after(now, reset));
        }
    }

    fn change_limit(&mut self, remaining: u64, now: Instant) {
        let Some(limit) = [self.configured, self.learned].into_iter().flatten().min() else { return };
        let capacity = capacity(limit, self.burst_percent);
        if let Some(bucket) = &mut self.bucket {
            let is_higher = limit > bucket.limit();
            bucket.set_limit(limit, capacity, now);
            if is_higher {
                bucket.raise_to(remaining, now);
            }
        } else {
            let mut bucket = Bucket::full(limit, capacity, self.window, now);
            bucket.lower_to(remaining, now, now);
            self.bucket = Some(bucket);
        }
    }

    fn closed_for(&self, now: Instant) -> Duration {
        self.closed_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }
}

fn capacity(limit: u64, burst_percent: u32) -> u64 {
    u64::try_from(u128::from(limit) * u128::from(burst_percent) / 100).unwrap_or(u64::MAX)
}

/// Whether a limit applies per day: at the rate at which the missing part refills, the whole would take much longer than
/// a minute. Groq counts requests per day.
fn is_daily(status: &RateLimitStatus) -> bool {
    let RateLimitStatus { limit: Some(limit), remaining: Some(remaining), reset: Some(reset), .. } = *status else {
        return false;
    };
    let missing = limit.saturating_sub(remaining);
    // Some providers round `reset` up to seconds, so a short one proves nothing.
    missing > 0 && reset > MINUTE && whole_refill(reset, limit, missing) > MINUTE * 10
}

/// Whether the limit does not refill continuously: nothing remains, and the provider's window ends sooner than a
/// continuous refill would take.
fn resets_at_once(status: &RateLimitStatus, reset: Duration, window: Duration) -> bool {
    status.remaining == Some(0) && !reset.is_zero() && reset < window * 9 / 10
}

fn whole_refill(reset: Duration, limit: u64, missing: u64) -> Duration {
    let nanos = reset.as_nanos().saturating_mul(limit.into()) / u128::from(missing);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::seconds;

    fn requests_per_minute(limit: u64, now: Instant) -> Dimension {
        Dimension::all(&RateLimitSettings::default().requests_per_minute(limit), now).remove(0)
    }

    fn status(limit: u64, remaining: u64, reset: Duration) -> RateLimitStatus {
        RateLimitStatus::default().limit(Some(limit)).remaining(Some(remaining)).reset(Some(reset))
    }

    #[test]
    fn a_call_costs_what_it_used_and_not_what_was_reserved() {
        let now = Instant::now();
        for (reserved, used) in [(10, 30), (30, 10), (20, 20), (20, 0)] {
            let mut dimension = requests_per_minute(100, now);
            dimension.reserve(reserved, now);
            assert_eq!((dimension.in_flight(), dimension.bucket().unwrap().remaining(now)), (reserved, 100 - reserved));
            dimension.settle(reserved, used, now);
            assert_eq!((dimension.in_flight(), dimension.bucket().unwrap().remaining(now)), (0, 100 - used));
        }
    }

    #[test]
    fn an_exhausted_limit_that_resets_early_is_closed_until_then() {
        let now = Instant::now();
        for (reset, ready) in [(seconds(53), seconds(53)), (seconds(54), seconds(1)), (Duration::ZERO, seconds(1))] {
            let mut dimension = requests_per_minute(60, now);
            dimension.learn(&status(60, 0, reset), now, now);
            assert_eq!(dimension.ready_in(1, now), ready, "{reset:?}");
        }
        let mut dimension = requests_per_minute(60, now);
        dimension.learn(&status(60, 1, seconds(53)), now, now);
        assert_eq!(dimension.ready_in(1, now), Duration::ZERO);
    }

    #[test]
    fn a_limit_that_refills_for_more_than_ten_minutes_is_daily() {
        let (limit, remaining) = (60, 50);
        for (reset, daily) in [(60, false), (61, false), (100, false), (101, true)] {
            assert_eq!(is_daily(&status(limit, remaining, seconds(reset))), daily, "{reset}");
        }
        assert!(!is_daily(&status(60, 59, MINUTE)), "a minute may be rounded");
        assert!(is_daily(&status(60, 59, MINUTE + seconds(1))));
        assert!(!is_daily(&status(60, 60, seconds(86_400))), "nothing is missing");
    }
}
