//! Runs in flight, and how much of their time was overhead.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use brigade_core::RunId;
use tokio::time::Instant;

use super::labels::{LabelValue, ModelLabels};
use crate::unpoisoned;

/// The timers of all runs in flight.
#[derive(Debug, Default)]
pub(crate) struct RunTimers(Mutex<BTreeMap<RunId, RunTimer>>);

/// Measures how much of a run's time was external: spent in models and tools, or waiting for limits and retries. The
/// rest is overhead.
#[derive(Debug)]
pub(crate) struct RunTimer {
    pub(crate) agent: LabelValue,
    started: Instant,
    last_event: Instant,
    /// The number of attempts and tools in progress.
    in_progress: u32,
    /// The start of the current stretch with at least one in progress.
    work_started: Instant,
    /// The pause before a retry.
    pause: Option<Pause>,
    /// External time up to `counted_until`.
    external: Duration,
    counted_until: Instant,
    /// The request that has no response yet.
    request: Option<Request>,
}

#[derive(Debug)]
struct Pause {
    from: Instant,
    until: Instant,
}

#[derive(Debug)]
struct Request {
    sent: Instant,
    model: ModelLabels,
}

/// More runs at once than a process can serve. A run that never reports its end must not be kept for ever; ids sort by
/// time, so the oldest is dropped first.
const MAX_RUNS: usize = 100_000;

/// Longer than any limit of one attempt, tool or worker: a run without an event for so long is gone.
const MAX_SILENCE: Duration = Duration::from_hours(1);

impl RunTimers {
    /// Starts the timer of a run. Returns the timer that it replaces, or that must make room.
    pub(crate) fn start(&self, run: RunId, agent: LabelValue) -> Option<RunTimer> {
        let mut timers = self.lock();
        let replaced = timers.insert(run, RunTimer::new(agent));
        let is_full = timers.len() > MAX_RUNS;
        replaced.or_else(|| if is_full { timers.pop_first().map(|(_, timer)| timer) } else { None })
    }

    pub(crate) fn stop(&self, run: RunId) -> Option<RunTimer> {
        self.lock().remove(&run)
    }

    /// Updates the timer of a run at an event of it.
    pub(crate) fn update<T>(&self, run: RunId, update: impl FnOnce(&mut RunTimer, Instant) -> T) -> Option<T> {
        let now = Instant::now();
        self.lock().get_mut(&run).map(|timer| {
            timer.last_event = now;
            timer.end_pause(now);
            update(timer, now)
        })
    }

    /// Removes the timers of runs without an event for an hour.
    pub(crate) fn remove_silent(&self) -> Vec<RunTimer> {
        let now = Instant::now();
        let is_silent = |_: &RunId, timer: &mut RunTimer| now.duration_since(timer.last_event) > MAX_SILENCE;
        self.lock().extract_if(.., is_silent).map(|(_, timer)| timer).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RunId, RunTimer>> {
        unpoisoned(self.0.lock())
    }
}

impl RunTimer {
    fn new(agent: LabelValue) -> Self {
        let now = Instant::now();
        Self {
            agent,
            started: now,
            last_event: now,
            in_progress: 0,
            work_started: now,
            pause: None,
            external: Duration::ZERO,
            counted_until: now,
            request: None,
        }
    }

    /// An attempt or a tool starts.
    pub(crate) fn start_work(&mut self, now: Instant) {
        if self.in_progress == 0 {
            self.work_started = now;
        }
        self.in_progress += 1;
    }

    /// An attempt or a tool ends.
    pub(crate) fn end_work(&mut self, now: Instant) {
        self.in_progress = self.in_progress.saturating_sub(1);
        if self.in_progress == 0 {
            self.count(self.work_started, now);
        }
    }

    pub(crate) fn request_sent(&mut self, model: ModelLabels, now: Instant) {
        self.request = Some(Request { sent: now, model });
    }

    /// The time since the request was sent, at the first sign of a response to it.
    pub(crate) fn first_response(&mut self, now: Instant) -> Option<(Duration, ModelLabels)> {
        self.request.take().map(|request| (now.duration_since(request.sent), request.model))
    }

    /// The run has waited until now.
    pub(crate) fn waited(&mut self, waited: Duration, now: Instant) {
        self.count(now.checked_sub(waited).unwrap_or(self.started), now);
    }

    /// The run waits for `delay`, or until the next event.
    pub(crate) fn pause(&mut self, delay: Duration, now: Instant) {
        // A pause that the clock cannot hold lasts until the next event.
        self.pause = now.checked_add(delay).map(|until| Pause { from: now, until });
    }

    /// The run's time that was not external.
    pub(crate) fn overhead(mut self) -> Duration {
        let now = Instant::now();
        self.end_pause(now);
        if self.in_progress > 0 {
            self.in_progress = 0;
            self.count(self.work_started, now);
        }
        now.duration_since(self.started).saturating_sub(self.external)
    }

    fn end_pause(&mut self, now: Instant) {
        if let Some(Pause { from, until }) = self.pause.take() {
            self.count(from, until.min(now));
        }
    }

    /// Counts a stretch of time as external, except the parts that are counted already or will be counted when the work in
    /// progress ends.
    fn count(&mut self, from: Instant, until: Instant) {
        let from = from.max(self.counted_until);
        let until = if self.in_progress > 0 { until.min(self.work_started) } else { until };
        if until > from {
            self.external += until.duration_since(from);
            self.counted_until = until;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;
    use crate::metrics::labels::OTHER;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn overhead_is_the_time_outside_the_union_of_work_and_waits() {
        let (timers, id) = (RunTimers::default(), RunId::new());
        let at_event = |update: fn(&mut RunTimer, Instant)| timers.update(id, update).unwrap();
        assert!(timers.start(id, OTHER).is_none());
        sleep(SECOND).await; // 1 s of overhead
        at_event(RunTimer::start_work);
        sleep(SECOND).await;
        at_event(RunTimer::start_work); // two tools overlap
        sleep(2 * SECOND).await;
        at_event(RunTimer::end_work);
        at_event(|timer, now| timer.waited(2 * SECOND, now)); // within the work
        sleep(SECOND).await;
        at_event(RunTimer::end_work);
        at_event(|timer, now| timer.pause(5 * SECOND, now));
        sleep(5 * SECOND).await;
        at_event(RunTimer::start_work);
        sleep(SECOND).await;
        at_event(RunTimer::end_work);
        sleep(SECOND).await;
        at_event(|timer, now| timer.waited(2 * SECOND, now)); // half of it is counted already
        sleep(2 * SECOND).await; // 2 s of overhead
        at_event(|timer, now| timer.pause(60 * SECOND, now)); // cut short by the end
        sleep(SECOND).await;
        assert_eq!(timers.stop(id).unwrap().overhead(), 3 * SECOND);
        assert!(timers.stop(id).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_without_events_is_removed() {
        let timers = RunTimers::default();
        timers.start(RunId::new(), OTHER);
        sleep(MAX_SILENCE).await;
        assert!(timers.remove_silent().is_empty());
        let second = RunId::new();
        timers.start(second, OTHER);
        sleep(SECOND).await;
        assert_eq!(timers.remove_silent().len(), 1);
        assert!(timers.stop(second).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_run_is_dropped_when_there_are_too_many() {
        let timers = RunTimers::default();
        let first = RunId::new();
        let dropped = (0..MAX_RUNS).filter_map(|_| timers.start(RunId::new(), OTHER)).count();
        assert_eq!(dropped, 0);
        assert!(timers.start(first, OTHER).is_some());
        assert!(timers.stop(first).is_none(), "it was the oldest by its id");
    }
}
