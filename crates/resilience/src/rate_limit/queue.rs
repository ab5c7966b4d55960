//! The queue of calls that wait for the same limits.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use brigade_core::TraceId;
use tokio::sync::Notify;

use crate::{Priority, rate_limit::consumption::Consumption};

/// Calls that wait for the same limits, in the order in which they will be served.
///
/// Runs share the queue by start-time fair queueing. A call starts, in virtual time, where the previous call of its run
/// ended, and virtual time advances as calls are served. So a run with a hundred workers and a run with one get the same
/// share, an idle run cannot save up, and no run starves behind new ones. The length of a call is its dominant share:
/// the largest share of any limit that it takes. (Goyal, Vin, Cheng: Start-time Fair Queuing, 1996; Ghodsi et al.:
/// Dominant Resource Fairness, 2011.)
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiters: BTreeMap<Position, Waiter>,
    runs: HashMap<TraceId, RunShare>,
    /// The number of runs that have waiting calls.
    active_runs: usize,
    virtual_time: u64,
    arrivals: u64,
}

/// A position in the queue; the smallest is served first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    priority: Priority,
    start: u64,
    arrival: u64,
}

/// A waiting call.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) run: TraceId,
    /// What the call is expected to take from the limits.
    pub(crate) expected: Consumption,
    /// The dominant share of the call.
    pub(crate) length: u64,
    /// Notified when the call should check again whether it is its turn.
    pub(crate) wake: Arc<Notify>,
}

/// The place of a run among the runs that have or had calls here.
#[derive(Debug, Default)]
struct RunShare {
    /// Where its last call ends in virtual time.
    end: u64,
    waiting: usize,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.waiters.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// The position that a call of `run` would have now.
    pub(crate) fn position(&self, run: TraceId, priority: Priority) -> Position {
        let start = self.runs.get(&run).map_or(self.virtual_time, |share| self.virtual_time.max(share.end));
        Position { priority, start, arrival: self.arrivals }
    }

    /// Adds a call at this position.
    pub(crate) fn insert(&mut self, position: Position, waiter: Waiter) {
        // A run whose calls have all been served is treated like a new one. Looking at all runs at each arrival takes long.
        if self.arrivals.is_multiple_of(64) {
            self.runs.retain(|_, share| share.waiting > 0 || share.end > self.virtual_time);
        }
        let share = self.runs.entry(waiter.run).or_default();
        share.end = position.start.saturating_add(waiter.length.max(1));
        share.waiting += 1;
        self.active_runs += usize::from(share.waiting == 1);
        self.arrivals += 1;
        self.waiters.insert(position, waiter);
    }

    /// Whether the call at this position is the next one.
    pub(crate) fn is_first(&self, position: Position) -> bool {
        self.waiters.first_key_value().is_some_and(|(first, _)| *first == position)
    }

    /// What all calls before this position take together.
    pub(crate) fn consumption_before(&self, position: Position) -> Consumption {
        let before = self.waiters.range(..position).map(|(_, waiter)| waiter.expected);
        before.fold(Consumption::default(), |sum, expected| sum.plus(&expected))
    }

    /// Removes the call at this position because it is served.
    pub(crate) fn serve(&mut self, position: Position) {
        let length = self.waiters.get(&position).map_or(0, |waiter| waiter.length);
        // Each active run would have advanced this far if all were served at the same time.
        let advance = length / u64::try_from(self.active_runs.max(1)).unwrap_or(u64::MAX);
        self.virtual_time = self.virtual_time.saturating_add(advance.max(1)).max(position.start);
        self.remove(position);
    }

    /// Removes the call at this position, if it is there, and wakes the new first call.
    pub(crate) fn remove(&mut self, position: Position) {
        let was_first = self.is_first(position);
        let Some(waiter) = self.waiters.remove(&position) else { return };
        if let Some(share) = self.runs.get_mut(&waiter.run) {
            share.waiting -= 1;
            self.active_runs -= usize::from(share.waiting == 0);
        }
        if self.waiters.is_empty() {
            self.runs.clear();
            self.virtual_time = 0;
        } else if was_first {
            self.wake_first();
        }
    }

    /// Wakes the first call.
    pub(crate) fn wake_first(&self) {
        if let Some((_, waiter)) = self.waiters.first_key_value() {
            waiter.wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(queue: &mut Queue, run: TraceId, length: u64) -> Position {
        let position = queue.position(run, Priority::Normal);
        queue.insert(position, Waiter { run, expected: Consumption::default(), length, wake: Arc::default() });
        position
    }

    #[test]
    fn an_idle_run_cannot_save_up() {
        let (busy, idle) = (TraceId::random(), TraceId::random());
        let mut queue = Queue::default();
        let mut positions: Vec<_> = (0..12).map(|_| join(&mut queue, busy, 10)).collect();
        let rest = positions.split_off(10);
        for position in positions {
            queue.serve(position);
        }
        let late: Vec<_> = (0..2).map(|_| join(&mut queue, idle, 10)).collect();
        // The new run starts at the current virtual time, not where the busy run started.
        let mut order = [rest[0], rest[1], late[0], late[1]];
        order.sort();
        assert_eq!(order, [rest[0], late[0], rest[1], late[1]]);
    }

    #[test]
    fn a_run_whose_calls_are_twice_as_large_gets_half_as_many() {
        let (large, small) = (TraceId::random(), TraceId::random());
        let mut queue = Queue::default();
        let mut positions: Vec<_> = (0..4).map(|_| (join(&mut queue, large, 20), 'L')).collect();
        positions.extend((0..4).map(|_| (join(&mut queue, small, 10), 's')));
        positions.sort();
        assert_eq!(positions.iter().map(|(_, name)| name).collect::<String>(), "LssLssLL");
    }

    #[test]
    fn a_run_keeps_its_place_while_others_are_forgotten() {
        let (large, small, served) = (TraceId::random(), TraceId::random(), TraceId::random());
        let mut queue = Queue::default();
        // It ended far ahead of the others, and no call of it waits any more.
        let ahead = join(&mut queue, large, 1_000_000);
        queue.remove(ahead);
        assert!(queue.runs.is_empty(), "an empty queue starts anew");
        let ahead = join(&mut queue, large, 1_000_000);
        let waiting = join(&mut queue, small, 10);
        let done = join(&mut queue, served, 1);
        queue.remove(ahead);
        queue.remove(done);
        assert_eq!((queue.len(), queue.is_empty(), queue.active_runs), (1, false, 1));
        for _ in 0..64 {
            let other = join(&mut queue, TraceId::random(), 10);
            queue.remove(other);
        }
        assert!(queue.runs.contains_key(&large) && queue.runs.contains_key(&small));
        assert!(queue.position(large, Priority::Normal).start >= 1_000_000, "it may not go first again");
        assert!(queue.is_first(waiting));
        queue.serve(waiting);
        assert!(queue.is_empty() && queue.active_runs == 0 && queue.runs.is_empty());
    }

    #[test]
    fn new_runs_do_not_starve_waiting_calls_and_are_forgotten() {
        let mut queue = Queue::default();
        let old = TraceId::random();
        join(&mut queue, old, 10);
        let second = join(&mut queue, old, 10);
        // One new run for every call that is served, so that the queue never empties.
        for served in 0.. {
            assert!(served < 10, "the second call starves");
            join(&mut queue, TraceId::random(), 10);
            let first = *queue.waiters.keys().next().unwrap();
            queue.serve(first);
            if first == second {
                break;
            }
        }
        for _ in 0..1_000 {
            join(&mut queue, TraceId::random(), 10);
            let first = *queue.waiters.keys().next().unwrap();
            queue.serve(first);
        }
        assert!(queue.runs.len() < 100, "{}", queue.runs.len());
    }
}
