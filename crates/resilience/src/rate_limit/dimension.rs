//! One of the things that a provider limits.

use std::time::Duration;

use brigade_core::RateLimitStatus;
use tokio::time::Instant;

use crate::Bucket;

/// A minute, the window of most limits.
pub(crate) const MINUTE: Duration = Duration::from_mins(1);
/// A day, the window of the rest.
pub(crate) const DAY: Duration = Duration::from_hours(24);

/// One of the things that a provider limits. It has a bucket once its limit is known.
#[derive(Debug)]
pub(crate) struct Dimension {
    name: &'static str,
    window: Duration,
    configured: Option<u64>,
    learned: Option<u64>,
    burst_percent: u32,
    bucket: Option<Bucket>,
    /// What was taken by calls that are not over.
    in_flight: u64,
    /// The provider's own window ends then, and nothing is to be had before.
    closed_until: Option<Instant>,
}

impl Dimension {
    /// Limited as configured until a response says more.
    pub(crate) fn new(
        name: &'static str,
        window: Duration,
        (configured, burst_percent): (Option<u64>, u32),
        now: Instant,
    ) -> Self {
        let mut dimension = Self {
            name,
            window,
            configured,
            learned: None,
            burst_percent,
            bucket: None,
            in_flight: 0,
            closed_until: None,
        };
        dimension.bucket = configured.map(|limit| Bucket::full(limit, dimension.capacity(limit), window, now));
        dimension
    }

    /// A stable name for metrics.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The limit and what is left of it; absent if it is not known.
    pub(crate) fn headroom(&mut self, now: Instant) -> Option<(u64, u64)> {
        let bucket = self.bucket.as_mut()?;
        Some((bucket.limit(), bucket.remaining(now)))
    }

    /// Taken by calls that are not over.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// How long until `amount` can be taken.
    pub(crate) fn ready_in(&mut self, amount: u64, now: Instant) -> Duration {
        let closed = self.closed_for(now);
        self.bucket.as_mut().map_or(Duration::ZERO, |bucket| bucket.ready_in(amount, now)).max(closed)
    }

    /// How long until `amount` in many pieces can be taken.
    pub(crate) fn holds_in(&mut self, amount: u64, now: Instant) -> Duration {
        let closed = self.closed_for(now);
        self.bucket.as_mut().map_or(Duration::ZERO, |bucket| bucket.holds_in(amount, now)).max(closed)
    }

    /// Which part of a window's worth `amount` is, in billionths.
    pub(crate) fn share(&self, amount: u64) -> u64 {
        self.bucket.as_ref().map_or(0, |bucket| amount.saturating_mul(1_000_000_000) / bucket.limit())
    }

    /// Takes what a call will probably use.
    pub(crate) fn reserve(&mut self, amount: u64, now: Instant) {
        self.in_flight = self.in_flight.saturating_add(amount);
        if let Some(bucket) = &mut self.bucket {
            bucket.take(amount, now);
        }
    }

    /// Replaces what was reserved by what was used.
    pub(crate) fn settle(&mut self, reserved: u64, used: u64, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(reserved);
        match &mut self.bucket {
            Some(bucket) if used > reserved => bucket.take(used - reserved, now),
            Some(bucket) if used < reserved => bucket.give(reserved - used, now),
            _ => {}
        }
    }

    /// Learns what a response to a request of the time `since` said. Lowers what is left at once; raises it only when
    /// the limit itself has changed, because what else the response says is older than what has been taken since.
    pub(crate) fn learn(&mut self, said: &RateLimitStatus, since: Instant, now: Instant) {
        if let Some(limit) = said.limit.filter(|limit| *limit > 0 && self.learned != Some(*limit)) {
            self.learned = Some(limit);
            self.change(said.remaining.unwrap_or(limit).saturating_sub(self.in_flight), now);
        }
        if let (Some(bucket), Some(remaining)) = (&mut self.bucket, said.remaining) {
            bucket.lower(remaining, since, now);
        }
        if let Some(reset) = said.reset.filter(|reset| ends_early(said, *reset, self.window)) {
            self.closed_until = Some(now + reset);
        }
    }

    fn change(&mut self, remaining: u64, now: Instant) {
        let Some(limit) = [self.configured, self.learned].into_iter().flatten().min() else { return };
        let capacity = self.capacity(limit);
        if let Some(bucket) = &mut self.bucket {
            let is_higher = limit > bucket.limit();
            bucket.set_limit(limit, capacity, now);
            if is_higher {
                bucket.raise(remaining, now);
            }
        } else {
            let mut bucket = Bucket::full(limit, capacity, self.window, now);
            bucket.lower(remaining, now, now);
            self.bucket = Some(bucket);
        }
    }

    fn closed_for(&self, now: Instant) -> Duration {
        self.closed_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    fn capacity(&self, limit: u64) -> u64 {
        u64::try_from(u128::from(limit) * u128::from(self.burst_percent) / 100).unwrap_or(u64::MAX)
    }
}

/// Which window a limit is for that a response does not name: if what is missing comes back so slowly that the whole
/// would take much longer than a minute, it is a day (Groq counts requests by the day).
pub(crate) fn is_daily(said: &RateLimitStatus) -> bool {
    let RateLimitStatus { limit: Some(limit), remaining: Some(remaining), reset: Some(reset) } = *said else {
        return false;
    };
    let missing = limit.saturating_sub(remaining);
    // A bare `reset` is rounded up to seconds by some, so that little missing tells nothing.
    missing > 0 && reset > MINUTE && whole_in(reset, limit, missing) > MINUTE * 10
}

/// Whether nothing is left and the provider's window ends sooner than a steady refill would have made it whole: then
/// the limit does not refill at all before that.
fn ends_early(said: &RateLimitStatus, reset: Duration, window: Duration) -> bool {
    said.remaining == Some(0) && !reset.is_zero() && reset < window * 9 / 10
}

fn whole_in(reset: Duration, limit: u64, missing: u64) -> Duration {
    let nanos = reset.as_nanos().saturating_mul(limit.into()) / u128::from(missing);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
