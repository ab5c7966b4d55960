//! The retry budget of a model.

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{RetrySettings, shared::rolling_counter::RollingCounter};

/// The number of retries that all callers of a model may make together: a share of the recent calls, plus a fixed number
/// per second.
///
/// The attempts per call bound a single caller. The budget bounds a thousand callers while a provider is down.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    percent: u64,
    /// Retries per window that are allowed regardless of calls.
    free: u64,
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    calls: RollingCounter,
    /// Calls that reached a hedge. They count only if no retry around it counts the same calls.
    hedged_calls: RollingCounter,
    retries: RollingCounter,
}

impl RetryBudget {
    pub(crate) fn new(settings: &RetrySettings) -> Self {
        let RetrySettings { budget_percent, budget_per_second, budget_window, .. } = *settings;
        let free = u128::from(budget_per_second) * budget_window.as_millis() / 1_000;
        let counter = || RollingCounter::new(budget_window, Instant::now());
        Self {
            percent: budget_percent.into(),
            free: u64::try_from(free).unwrap_or(u64::MAX),
            counts: Mutex::new(Counts { calls: counter(), hedged_calls: counter(), retries: counter() }),
        }
    }

    /// Counts a call, which adds its share to the budget.
    pub(crate) fn record_call(&self) {
        self.counts.lock().calls.add(Instant::now());
    }

    /// Counts a call to a hedge, which a retry around it has probably counted already.
    pub(crate) fn record_hedged_call(&self) {
        self.counts.lock().hedged_calls.add(Instant::now());
    }

    /// Takes one retry from the budget. False if none is left.
    pub(crate) fn try_retry(&self) -> bool {
        let now = Instant::now();
        let mut counts = self.counts.lock();
        let is_allowed = self.left(&mut counts, now) > 0;
        if is_allowed {
            counts.retries.add(now);
        }
        is_allowed
    }

    /// The number of retries that are left now.
    pub(crate) fn remaining(&self) -> u64 {
        self.left(&mut self.counts.lock(), Instant::now())
    }

    fn left(&self, counts: &mut Counts, now: Instant) -> u64 {
        let calls = match counts.calls.total(now) {
            0 => counts.hedged_calls.total(now),
            calls => calls,
        };
        let share = calls.saturating_mul(self.percent) / 100;
        share.saturating_add(self.free).saturating_sub(counts.retries.total(now))
    }
}

#[cfg(test)]
mod tests;
