//! Who is next.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use brigade_core::TraceId;
use tokio::sync::Notify;

use crate::{
    Priority,
    draw::{DIMENSIONS, Draw},
};

/// Calls that wait for the same limits, in the order in which they will be served.
///
/// Between runs it is start-time fair queueing: each call starts where its run's last one ended, on a clock that shows
/// how far the service has got. So a run with a hundred workers and a run with one get the same share, and nobody who
/// was idle can save up. A call is as long as its dominant share, the largest part of any limit that it takes.
/// (Goyal, Vin, Cheng 1996; Ghodsi et al. 2011.)
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: BTreeMap<Place, Waiter>,
    /// Where each run's latest call ends.
    ends: HashMap<TraceId, u64>,
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
    /// What it will take.
    pub(crate) draw: Draw,
    /// Told when it should look again.
    pub(crate) wake: Arc<Notify>,
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
        let start = self.ends.get(&run).map_or(self.clock, |end| self.clock.max(*end));
        Place { priority, start, arrival: self.arrivals }
    }

    /// Puts a call of `run` there that is `length` long; its `wake` is told when it has come first.
    pub(crate) fn join(&mut self, place: Place, (run, length): (TraceId, u64), waiter: Waiter) {
        // Runs whose calls have all been served are like runs that never called.
        if self.ends.len() > 2 * self.waiting.len() + 64 {
            self.ends.retain(|_, end| *end > self.clock);
        }
        self.arrivals += 1;
        self.ends.insert(run, place.start.saturating_add(length.max(1)));
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
        self.clock = self.clock.max(place.start);
        self.leave(place);
    }

    /// Takes the call at `place` out, if it is there, and tells the next if that makes it first.
    pub(crate) fn leave(&mut self, place: Place) {
        let was_first = self.is_first(place);
        self.waiting.remove(&place);
        if was_first {
            self.wake_first();
        }
        if self.waiting.is_empty() {
            self.ends.clear();
            self.clock = 0;
        }
    }

    /// Tells the first call to look again.
    pub(crate) fn wake_first(&self) {
        if let Some((_, waiter)) = self.waiting.first_key_value() {
            waiter.wake.notify_one();
        }
    }
}
