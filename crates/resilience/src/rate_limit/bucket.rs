//! The token bucket behind every limit.

use std::time::Duration;

use tokio::time::Instant;

/// A token bucket: an amount that refills continuously over time. [`RateLimit`](crate::RateLimit) counts with it; it is
/// public for limits of your own.
///
/// More may be taken than the bucket holds. The debt is paid off by the refill before anything else can be taken. An
/// amount that is given back leaves no trace.
///
/// ```
/// use std::time::Duration;
///
/// use brigade_resilience::Bucket;
/// use tokio::time::Instant;
///
/// let now = Instant::now();
/// let mut bucket = Bucket::full(60, 60, Duration::from_secs(60), now);
/// bucket.take(60, now);
/// assert_eq!(bucket.ready_in(1, now), Duration::from_secs(1));
/// ```
#[derive(Debug, Clone)]
pub struct Bucket {
    limit: u64,
    capacity: u64,
    window_nanos: i128,
    /// In units times nanoseconds of the window, so that refilling loses nothing to rounding.
    level: i128,
    updated: Instant,
}

impl Bucket {
    /// A full bucket of `capacity` that refills by `limit` per `window`. Both are at least one.
    pub fn full(limit: u64, capacity: u64, window: Duration, now: Instant) -> Self {
        let (limit, capacity) = (limit.max(1), capacity.max(1));
        let window_nanos = i128::try_from(window.as_nanos()).unwrap_or(i128::MAX).max(1);
        let mut bucket = Self { limit, capacity, window_nanos, level: 0, updated: now };
        bucket.level = bucket.scaled(capacity);
        bucket
    }

    /// The amount that refills per window.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// The amount that can be taken now.
    pub fn remaining(&mut self, now: Instant) -> u64 {
        self.refill(now);
        u64::try_from(self.level.max(0) / self.window_nanos).unwrap_or(u64::MAX)
    }

    /// The time until `amount` can be taken. An amount above the capacity can be taken from a full bucket.
    pub fn ready_in(&mut self, amount: u64, now: Instant) -> Duration {
        self.refilled_in(amount.min(self.capacity), now)
    }

    /// The time until `amount` has refilled in total, regardless of the capacity.
    pub(crate) fn refilled_in(&mut self, amount: u64, now: Instant) -> Duration {
        self.refill(now);
        let missing = self.scaled(amount).saturating_sub(self.level);
        if missing <= 0 {
            return Duration::ZERO;
        }
        let limit = i128::from(self.limit);
        let nanos = missing / limit + i128::from(missing % limit > 0);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Takes `amount`, if necessary into debt.
    pub fn take(&mut self, amount: u64, now: Instant) {
        self.refill(now);
        self.level = self.level.saturating_sub(self.scaled(amount));
    }

    /// Gives `amount` back, up to the capacity.
    pub(crate) fn give_back(&mut self, amount: u64, now: Instant) {
        self.refill(now);
        self.level = self.level.saturating_add(self.scaled(amount)).min(self.scaled(self.capacity));
    }

    /// Lowers the level to what the provider reports. It saw `remaining` at some time after `since`, so there is at most
    /// that much and the refill since then.
    pub(crate) fn lower_to(&mut self, remaining: u64, since: Instant, now: Instant) {
        self.refill(now);
        let most = self.scaled(remaining).saturating_add(self.inflow(since, now));
        self.level = self.level.min(most);
    }

    /// Raises the level to at least `remaining`.
    pub(crate) fn raise_to(&mut self, remaining: u64, now: Instant) {
        self.refill(now);
        self.level = self.level.max(self.scaled(remaining.min(self.capacity)));
    }

    /// Changes the limit and the capacity. The level is cut to the new capacity and never raised.
    pub fn set_limit(&mut self, limit: u64, capacity: u64, now: Instant) {
        self.refill(now);
        (self.limit, self.capacity) = (limit.max(1), capacity.max(1));
        self.level = self.level.min(self.scaled(self.capacity));
    }

    fn refill(&mut self, now: Instant) {
        if now > self.updated {
            let inflow = self.inflow(self.updated, now);
            self.level = self.level.saturating_add(inflow).min(self.scaled(self.capacity));
            self.updated = now;
        }
    }

    fn inflow(&self, since: Instant, now: Instant) -> i128 {
        let elapsed = now.saturating_duration_since(since).as_nanos();
        i128::try_from(elapsed).unwrap_or(i128::MAX).saturating_mul(self.limit.into())
    }

    fn scaled(&self, amount: u64) -> i128 {
        self.window_nanos.saturating_mul(amount.into())
    }
}

#[cfg(test)]
mod tests;
