//! Runs that have begun and not ended, and what of their time was spent outside.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use brigade_core::RunId;
use tokio::time::Instant;

use super::vocabulary::{ModelTerms, Value};

/// The runs that have begun and not ended.
#[derive(Debug, Default)]
pub(crate) struct InFlight(Mutex<BTreeMap<RunId, Clock>>);

/// Where the time of one run went.
#[derive(Debug)]
pub(crate) struct Clock {
    pub(crate) agent: Value,
    started: Instant,
    last_event: Instant,
    /// How many attempts and tools are under way, and since when there was at least one.
    working: u32,
    working_since: Instant,
    /// Until when a retry is put off.
    paused: Option<(Instant, Instant)>,
    /// Time outside up to `counted_until`.
    outside: Duration,
    counted_until: Instant,
    /// When a model was asked that has not said anything yet.
    asked: Option<(Instant, ModelTerms)>,
}

/// More runs at once than a process can serve; a run whose end was never told must not be kept for ever. Ids sort by
/// time, so the oldest goes first.
const MOST_RUNS: usize = 100_000;

/// Longer than any limit on one attempt, tool or worker: a run this silent was dropped without a word.
const LONGEST_SILENCE: Duration = Duration::from_hours(1);

impl InFlight {
    /// A run begins. Gives back what had to make room for it, if anything.
    pub(crate) fn begin(&self, run: RunId, agent: Value) -> Option<Clock> {
        let mut runs = self.runs();
        let old = runs.insert(run, Clock::new(agent));
        let full = runs.len() > MOST_RUNS;
        old.or_else(|| if full { runs.pop_first().map(|(_, clock)| clock) } else { None })
    }

    /// A run is over.
    pub(crate) fn end(&self, run: RunId) -> Option<Clock> {
        self.runs().remove(&run)
    }

    /// Something happened in a run.
    pub(crate) fn note<T>(&self, run: RunId, change: impl FnOnce(&mut Clock, Instant) -> T) -> Option<T> {
        let now = Instant::now();
        self.runs().get_mut(&run).map(|clock| {
            clock.last_event = now;
            clock.end_pause(now);
            change(clock, now)
        })
    }

    /// Forgets runs that were dropped without a word.
    pub(crate) fn forget_silent(&self) -> Vec<Clock> {
        let now = Instant::now();
        let silent = |_: &RunId, clock: &mut Clock| now.duration_since(clock.last_event) > LONGEST_SILENCE;
        self.runs().extract_if(.., silent).map(|(_, clock)| clock).collect()
    }

    fn runs(&self) -> MutexGuard<'_, BTreeMap<RunId, Clock>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock {
    fn new(agent: Value) -> Self {
        let now = Instant::now();
        Self {
            agent,
            started: now,
            last_event: now,
            working: 0,
            working_since: now,
            paused: None,
            outside: Duration::ZERO,
            counted_until: now,
            asked: None,
        }
    }

    /// An attempt or a tool begins.
    pub(crate) fn begin_work(&mut self, now: Instant) {
        if self.working == 0 {
            self.working_since = now;
        }
        self.working += 1;
    }

    /// An attempt or a tool is over.
    pub(crate) fn end_work(&mut self, now: Instant) {
        self.working = self.working.saturating_sub(1);
        if self.working == 0 {
            self.count(self.working_since, now);
        }
    }

    /// A model is asked.
    pub(crate) fn ask(&mut self, model: ModelTerms, now: Instant) {
        self.asked = Some((now, model));
    }

    /// The model answers, or will not: how long it took, if this is its first sign.
    pub(crate) fn first_sign(&mut self, now: Instant) -> Option<(Duration, ModelTerms)> {
        self.asked.take().map(|(asked, model)| (now.duration_since(asked), model))
    }

    /// The run has waited this long until now.
    pub(crate) fn waited(&mut self, waited: Duration, now: Instant) {
        self.count(now.checked_sub(waited).unwrap_or(self.started), now);
    }

    /// The run will wait this long, or until something else happens.
    pub(crate) fn pause(&mut self, delay: Duration, now: Instant) {
        self.paused = Some((now, now + delay));
    }

    /// Time of the run in which nothing outside worked for it or made it wait.
    pub(crate) fn overhead(mut self) -> Duration {
        let now = Instant::now();
        self.end_pause(now);
        if self.working > 0 {
            self.working = 0;
            self.count(self.working_since, now);
        }
        now.duration_since(self.started).saturating_sub(self.outside)
    }

    fn end_pause(&mut self, now: Instant) {
        if let Some((from, until)) = self.paused.take() {
            self.count(from, until.min(now));
        }
    }

    /// Counts a stretch of time as spent outside, but none of it twice: what is counted already, and what will be when
    /// the work under way is over.
    fn count(&mut self, from: Instant, until: Instant) {
        let from = from.max(self.counted_until);
        let until = if self.working > 0 { until.min(self.working_since) } else { until };
        if until > from {
            self.outside += until.duration_since(from);
            self.counted_until = until;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;
    use crate::metrics::vocabulary::OTHER;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn overhead_is_the_time_outside_the_union_of_work_and_waits() {
        let (runs, id) = (InFlight::default(), RunId::new());
        let act = |change: fn(&mut Clock, Instant)| runs.note(id, change).unwrap();
        assert!(runs.begin(id, OTHER).is_none());
        sleep(SECOND).await; // 1 s of overhead
        act(Clock::begin_work);
        sleep(SECOND).await;
        act(Clock::begin_work); // two tools overlap
        sleep(2 * SECOND).await;
        act(Clock::end_work);
        act(|clock, now| clock.waited(2 * SECOND, now)); // within the work
        sleep(SECOND).await;
        act(Clock::end_work);
        act(|clock, now| clock.pause(5 * SECOND, now));
        sleep(5 * SECOND).await;
        act(Clock::begin_work);
        sleep(SECOND).await;
        act(Clock::end_work);
        sleep(SECOND).await;
        act(|clock, now| clock.waited(2 * SECOND, now)); // half of it is counted already
        sleep(2 * SECOND).await; // 2 s of overhead
        act(|clock, now| clock.pause(60 * SECOND, now)); // cut short by the end
        sleep(SECOND).await;
        assert_eq!(runs.end(id).unwrap().overhead(), 3 * SECOND);
        assert!(runs.end(id).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_that_was_dropped_without_a_word_is_forgotten() {
        let runs = InFlight::default();
        runs.begin(RunId::new(), OTHER);
        sleep(LONGEST_SILENCE).await;
        assert!(runs.forget_silent().is_empty());
        let second = RunId::new();
        runs.begin(second, OTHER);
        sleep(SECOND).await;
        assert_eq!(runs.forget_silent().len(), 1);
        assert!(runs.end(second).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_run_makes_room() {
        let runs = InFlight::default();
        let first = RunId::new();
        let crowd = (0..MOST_RUNS).filter_map(|_| runs.begin(RunId::new(), OTHER)).count();
        assert_eq!(crowd, 0);
        assert!(runs.begin(first, OTHER).is_some());
        assert!(runs.end(first).is_none(), "it was the oldest by its id");
    }
}
