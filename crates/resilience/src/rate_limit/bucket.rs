//! A quantity that refills with time.

use std::time::Duration;

use tokio::time::Instant;

/// So much of something in a span of time, refilled continuously: what [`RateLimit`](crate::RateLimit) counts with, for
/// limits of one's own. What is taken may be given back exactly, and more may be taken than there is: a debt is worked
/// off before anything else.
///
/// The level is counted in units times nanoseconds of the window, so that refilling loses nothing to rounding.
#[derive(Debug, Clone)]
pub struct Bucket {
    limit: u64,
    capacity: u64,
    /// Nanoseconds of the window: one unit of what is counted, in the level.
    unit: i128,
    level: i128,
    updated: Instant,
}

impl Bucket {
    /// A full bucket of `capacity` that refills by `limit` in each `window`. Neither is less than one.
    pub fn full(limit: u64, capacity: u64, window: Duration, now: Instant) -> Self {
        let (limit, capacity) = (limit.max(1), capacity.max(1));
        let unit = i128::try_from(window.as_nanos()).unwrap_or(i128::MAX).max(1);
        let mut bucket = Self { limit, capacity, unit, level: 0, updated: now };
        bucket.level = bucket.scaled(capacity);
        bucket
    }

    /// What refills in a window.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// How much can be taken now.
    pub fn remaining(&mut self, now: Instant) -> u64 {
        self.refill(now);
        u64::try_from(self.level.max(0) / self.unit).unwrap_or(u64::MAX)
    }

    /// How long until `amount` can be taken. What is more than the bucket holds can be taken when it is full.
    pub fn ready_in(&mut self, amount: u64, now: Instant) -> Duration {
        self.holds_in(amount.min(self.capacity), now)
    }

    /// How long until `amount` would have come together if the bucket had no bottom and no brim.
    pub(crate) fn holds_in(&mut self, amount: u64, now: Instant) -> Duration {
        self.refill(now);
        let missing = self.scaled(amount).saturating_sub(self.level);
        if missing <= 0 {
            return Duration::ZERO;
        }
        let limit = i128::from(self.limit);
        let nanos = missing / limit + i128::from(missing % limit > 0);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Takes `amount`, into debt if need be.
    pub fn take(&mut self, amount: u64, now: Instant) {
        self.refill(now);
        self.level = self.level.saturating_sub(self.scaled(amount));
    }

    /// Gives `amount` back, up to the brim.
    pub(crate) fn give(&mut self, amount: u64, now: Instant) {
        self.refill(now);
        self.level = self.level.saturating_add(self.scaled(amount)).min(self.scaled(self.capacity));
    }

    /// Somebody who knows saw `remaining` at some time after `since`: there cannot be more now than that and what has
    /// come in from then on.
    pub(crate) fn lower(&mut self, remaining: u64, since: Instant, now: Instant) {
        self.refill(now);
        let most = self.scaled(remaining).saturating_add(self.inflow(since, now));
        self.level = self.level.min(most);
    }

    /// Goes on with another limit. A higher one alone raises nothing.
    pub fn set_limit(&mut self, limit: u64, capacity: u64, now: Instant) {
        self.refill(now);
        (self.limit, self.capacity) = (limit.max(1), capacity.max(1));
        self.level = self.level.min(self.scaled(self.capacity));
    }

    /// Somebody who knows says that at least `remaining` can be taken.
    pub(crate) fn raise(&mut self, remaining: u64, now: Instant) {
        self.refill(now);
        self.level = self.level.max(self.scaled(remaining.min(self.capacity)));
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
        self.unit.saturating_mul(amount.into())
    }
}

#[cfg(test)]
mod tests;
