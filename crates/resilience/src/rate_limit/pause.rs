//! A time in which an account is not asked.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// A time in which an account is not asked at all, because the provider said so.
#[derive(Debug, Default)]
pub(crate) struct Pause(Mutex<Option<Instant>>);

/// The longest pause. After an hour one call finds out whether it is over: one bad header must not switch an account
/// off for good.
const LONGEST: Duration = Duration::from_hours(1);

impl Pause {
    /// Pauses for `wait` from now, or as long as before if that is longer.
    pub(crate) fn extend(&self, wait: Duration) {
        let until = Instant::now() + wait.min(LONGEST);
        let mut pause = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *pause = Some(pause.map_or(until, |known| known.max(until)));
    }

    /// How long it still is.
    pub(crate) fn left(&self, now: Instant) -> Duration {
        let pause = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pause.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }
}
