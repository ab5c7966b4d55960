//! Counting what happened recently.

use std::time::Duration;

use tokio::time::Instant;

/// How many slots the window has: an event leaves the window up to a tenth of it too early.
const SLOTS: usize = 10;

/// Counts events within a time window that slides along.
#[derive(Debug)]
pub(crate) struct RollingCounter {
    slots: [u64; SLOTS],
    slot_width: Duration,
    origin: Instant,
    newest_slot: u64,
}

impl RollingCounter {
    pub(crate) fn new(window: Duration, now: Instant) -> Self {
        let slot_width = (window / 10).max(Duration::from_millis(1));
        Self { slots: [0; SLOTS], slot_width, origin: now, newest_slot: 0 }
    }

    /// Counts one event.
    pub(crate) fn add(&mut self, now: Instant) {
        self.advance(now);
        if let Some(count) = self.slot(self.newest_slot) {
            *count += 1;
        }
    }

    /// The number of events within the window.
    pub(crate) fn total(&mut self, now: Instant) -> u64 {
        self.advance(now);
        self.slots.iter().sum()
    }

    /// Forgets all events.
    pub(crate) fn clear(&mut self) {
        self.slots = [0; SLOTS];
    }

    /// Empties the slots that are reused since the last call.
    fn advance(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.origin);
        let current = u64::try_from(elapsed.as_nanos() / self.slot_width.as_nanos()).unwrap_or(u64::MAX);
        let stale = current.saturating_sub(self.newest_slot).min(SLOTS as u64);
        for age in 0..stale {
            if let Some(count) = self.slot(current - age) {
                *count = 0;
            }
        }
        self.newest_slot = self.newest_slot.max(current);
    }

    fn slot(&mut self, number: u64) -> Option<&mut u64> {
        let index = usize::try_from(number % SLOTS as u64).ok()?;
        self.slots.get_mut(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_leave_the_window_after_its_length() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut counter = RollingCounter::new(Duration::from_secs(10), start);
        counter.add(at(0));
        counter.add(at(5));
        counter.add(at(9));
        assert_eq!(counter.total(at(9)), 3);
        assert_eq!(counter.total(at(10)), 2);
        assert_eq!(counter.total(at(15)), 1);
        assert_eq!(counter.total(at(1_000_000)), 0);
        counter.add(at(1_000_001));
        assert_eq!(counter.total(at(1_000_001)), 1);
    }
}
