//! Who is next.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use brigade_core::TraceId;
use tokio::sync::Notify;

use crate::{
    Priority,
    rate_limit::draw::{DIMENSIONS, Draw},
};

/// Calls that wait for the same limits, in the order in which they will be served.
///
/// Between runs it is start-time fair queueing: each call starts where its run's last one ended, on a clock that shows
/// how far the service has got. So a run with a hundred workers and a run with one get the same share, nobody who was
/// idle can save up, and nobody starves behind newcomers. A call is as long as its dominant share, the largest part of
/// any limit that it takes. (Goyal, Vin, Cheng: Start-time Fair Queuing, 1996; Ghodsi et al.: Dominant Resource
/// Fairness, 2011.)
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: BTreeMap<Place, Waiter>,
    runs: HashMap<TraceId, Share>,
    /// How many runs have calls that wait.
    active: usize,
    clock: u64,
    arrivals: u64,
}

/// A place in the queue; the least is served first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    priority: Priority,
    start: u64,
    arrival: u64,
}

/// A call that waits.
#[derive(Debug)]
pub(crate) struct Waiter {
    /// Whose call it is.
    pub(crate) run: TraceId,
    /// What it will take.
    pub(crate) draw: Draw,
    /// How much of the service that is.
    pub(crate) length: u64,
    /// Told when it should look again.
    pub(crate) wake: Arc<Notify>,
}

/// What is known about a run that has or had calls here.
#[derive(Debug, Default)]
struct Share {
    /// Where its latest call ends on the clock.
    end: u64,
    waiting: usize,
}

impl Queue {
    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Where a call of `run` would stand now.
    pub(crate) fn place(&self, run: TraceId, priority: Priority) -> Place {
        let start = self.runs.get(&run).map_or(self.clock, |share| self.clock.max(share.end));
        Place { priority, start, arrival: self.arrivals }
    }

    /// Puts a call there.
    pub(crate) fn join(&mut self, place: Place, waiter: Waiter) {
        // Runs whose calls have all been served are like runs that never called.
        if self.runs.len() > 2 * self.active + 64 {
            self.runs.retain(|_, share| share.waiting > 0 || share.end > self.clock);
        }
        let share = self.runs.entry(waiter.run).or_default();
        share.end = place.start.saturating_add(waiter.length.max(1));
        share.waiting += 1;
        self.active += usize::from(share.waiting == 1);
        self.arrivals += 1;
        self.waiting.insert(place, waiter);
    }

    /// Whether the call at `place` is next.
    pub(crate) fn is_first(&self, place: Place) -> bool {
        self.waiting.first_key_value().is_some_and(|(first, _)| *first == place)
    }

    /// What all calls before `place` take together.
    pub(crate) fn before(&self, place: Place) -> [u64; DIMENSIONS] {
        let mut sums = [0; DIMENSIONS];
        for (_, waiter) in self.waiting.range(..place) {
            for (sum, amount) in sums.iter_mut().zip(waiter.draw.amounts()) {
                *sum = u64::saturating_add(*sum, amount);
            }
        }
        sums
    }

    /// Serves the call at `place`.
    pub(crate) fn serve(&mut self, place: Place) {
        let length = self.waiting.get(&place).map_or(0, |waiter| waiter.length);
        // Were all runs served at the same time, each would have got this far.
        let moved = length / u64::try_from(self.active.max(1)).unwrap_or(u64::MAX);
        self.clock = self.clock.saturating_add(moved.max(1)).max(place.start);
        self.leave(place);
    }

    /// Takes the call at `place` out, if it is there, and tells the next if that makes it first.
    pub(crate) fn leave(&mut self, place: Place) {
        let was_first = self.is_first(place);
        let Some(waiter) = self.waiting.remove(&place) else { return };
        if let Some(share) = self.runs.get_mut(&waiter.run) {
            share.waiting -= 1;
            self.active -= usize::from(share.waiting == 0);
        }
        if self.waiting.is_empty() {
            self.runs.clear();
            self.clock = 0;
        } else if was_first {
            self.wake_first();
        }
    }

    /// Tells the first call to look again.
    pub(crate) fn wake_first(&self) {
        if let Some((_, waiter)) = self.waiting.first_key_value() {
            waiter.wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(queue: &mut Queue, run: TraceId, length: u64) -> Place {
        let place = queue.place(run, Priority::Normal);
        let draw = Draw { requests: 1, input: 0, output: 0, total: 0 };
        queue.join(place, Waiter { run, draw, length, wake: Arc::default() });
        place
    }

    #[test]
    fn who_was_idle_cannot_save_up() {
        let (busy, idle) = (TraceId::random(), TraceId::random());
        let mut queue = Queue::default();
        let mut places: Vec<_> = (0..12).map(|_| join(&mut queue, busy, 10)).collect();
        let rest = places.split_off(10);
        for place in places {
            queue.serve(place);
        }
        let late: Vec<_> = (0..2).map(|_| join(&mut queue, idle, 10)).collect();
        // The newcomer starts where the service is, not where the busy run began.
        let mut order = [rest[0], rest[1], late[0], late[1]];
        order.sort();
        assert_eq!(order, [rest[0], late[0], rest[1], late[1]]);
    }

    #[test]
    fn a_run_whose_calls_take_twice_as_much_gets_half_as_many() {
        let (large, small) = (TraceId::random(), TraceId::random());
        let mut queue = Queue::default();
        let mut places: Vec<_> = (0..4).map(|_| (join(&mut queue, large, 20), 'L')).collect();
        places.extend((0..4).map(|_| (join(&mut queue, small, 10), 's')));
        places.sort();
        assert_eq!(places.iter().map(|(_, name)| name).collect::<String>(), "LssLssLL");
    }

    #[test]
    fn newcomers_neither_starve_who_waits_nor_are_remembered_for_ever() {
        let mut queue = Queue::default();
        let patient = TraceId::random();
        join(&mut queue, patient, 10);
        let second = join(&mut queue, patient, 10);
        // One newcomer for every call that is served, so that the queue never empties.
        for served in 0.. {
            assert!(served < 10, "the second call starves");
            join(&mut queue, TraceId::random(), 10);
            let first = *queue.waiting.keys().next().unwrap();
            queue.serve(first);
            if first == second {
                break;
            }
        }
        for _ in 0..1_000 {
            join(&mut queue, TraceId::random(), 10);
            let first = *queue.waiting.keys().next().unwrap();
            queue.serve(first);
        }
        assert!(queue.runs.len() < 100, "{}", queue.runs.len());
    }
}
