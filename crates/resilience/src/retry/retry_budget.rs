//! How many retries all callers of one model may make together.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{RetrySettings, shared::tally::Tally};

/// How many retries all callers of one model may make together: a share of the recent calls and a few besides.
///
/// Attempts per call bound what one caller does; only this bounds what a thousand do while a provider is down.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    percent: u64,
    free: u64,
    /// Calls and retries of the recent past.
    recent: Mutex<Tally>,
}

impl RetryBudget {
    /// As `backoff` sets it.
    pub(crate) fn new(backoff: &RetrySettings) -> Self {
        let RetrySettings { budget_percent, budget_per_second, budget_window, .. } = *backoff;
        let free = Duration::from_secs(budget_per_second.into()).as_millis() * budget_window.as_millis() / 1_000_000;
        Self {
            percent: budget_percent.into(),
            free: u64::try_from(free).unwrap_or(u64::MAX),
            recent: Mutex::new(Tally::new(budget_window, Instant::now())),
        }
    }

    /// Counts a call, which pays for a part of a retry.
    pub(crate) fn deposit(&self) {
        self.lock().add_first(Instant::now());
    }

    /// Takes one retry, if there is one left.
    pub(crate) fn withdraw(&self) -> bool {
        let now = Instant::now();
        let mut recent = self.lock();
        let admitted = self.left(&mut recent, now) > 0;
        if admitted {
            recent.add_second(now);
        }
        admitted
    }

    /// How many retries could be made now.
    pub(crate) fn balance(&self) -> u64 {
        self.left(&mut self.lock(), Instant::now())
    }

    fn left(&self, recent: &mut Tally, now: Instant) -> u64 {
        let [calls, retries] = recent.sums(now);
        (calls.saturating_mul(self.percent) / 100).saturating_add(self.free).saturating_sub(retries)
    }

    fn lock(&self) -> MutexGuard<'_, Tally> {
        // Whole numbers survive a panic.
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
