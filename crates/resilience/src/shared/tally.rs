//! Counts over the recent past.

use std::time::Duration;

use tokio::time::Instant;

/// How finely the past is cut up: a count leaves the window at most a tenth of it too early.
const SLOTS: usize = 10;

/// Two counts over a window that slides with time: calls and retries, or successes and failures.
#[derive(Debug)]
pub(crate) struct Tally {
    slots: [[u64; 2]; SLOTS],
    width: Duration,
    origin: Instant,
    newest: u64,
}

impl Tally {
    /// Nothing counted yet.
    pub(crate) fn new(window: Duration, now: Instant) -> Self {
        let width = (window / 10).max(Duration::from_millis(1));
        Self { slots: [[0; 2]; SLOTS], width, origin: now, newest: 0 }
    }

    /// Counts one of the first sort.
    pub(crate) fn add_first(&mut self, now: Instant) {
        self.add([1, 0], now);
    }

    /// Counts one of the second sort.
    pub(crate) fn add_second(&mut self, now: Instant) {
        self.add([0, 1], now);
    }

    /// How many there were of either sort within the window.
    pub(crate) fn sums(&mut self, now: Instant) -> [u64; 2] {
        self.slide(now);
        self.slots.iter().fold([0; 2], |[first, second], slot| [first + slot[0], second + slot[1]])
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.slots = [[0; 2]; SLOTS];
    }

    fn add(&mut self, [first, second]: [u64; 2], now: Instant) {
        self.slide(now);
        if let Some(slot) = self.slot(self.newest) {
            slot[0] += first;
            slot[1] += second;
        }
    }

    /// Empties the slots that have come round since the last call.
    fn slide(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.origin);
        let current = u64::try_from(elapsed.as_nanos() / self.width.as_nanos()).unwrap_or(u64::MAX);
        let stale = current.saturating_sub(self.newest).min(SLOTS as u64);
        for number in 0..stale {
            if let Some(slot) = self.slot(current - number) {
                *slot = [0; 2];
            }
        }
        self.newest = self.newest.max(current);
    }

    fn slot(&mut self, number: u64) -> Option<&mut [u64; 2]> {
        let index = usize::try_from(number % SLOTS as u64).ok()?;
        self.slots.get_mut(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_leave_the_window_and_no_others() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut tally = Tally::new(Duration::from_secs(10), start);
        tally.add_first(at(0));
        tally.add_second(at(5));
        tally.add_second(at(9));
        assert_eq!(tally.sums(at(9)), [1, 2]);
        assert_eq!(tally.sums(at(10)), [0, 2]);
        assert_eq!(tally.sums(at(15)), [0, 1]);
        assert_eq!(tally.sums(at(1_000_000)), [0, 0]);
        tally.add_first(at(1_000_001));
        assert_eq!(tally.sums(at(1_000_001)), [1, 0]);
    }
}
