//! Pauses that a provider asks for.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The time during which no call to an account is made, because the provider asked for a pause.
#[derive(Debug, Default)]
pub(crate) struct Pause(Mutex<Option<Instant>>);

/// The longest pause. After an hour one call probes the account: a single wrong header must not disable it for good.
const MAX_PAUSE: Duration = Duration::from_hours(1);

impl Pause {
    /// Pauses for `wait` from now, unless a longer pause is in effect.
    pub(crate) fn extend(&self, wait: Duration) {
        let until = Instant::now() + wait.min(MAX_PAUSE);
        let mut pause = self.0.lock();
        *pause = Some(pause.map_or(until, |current| current.max(until)));
    }

    /// How much of the pause remains.
    pub(crate) fn remaining(&self, now: Instant) -> Duration {
        let pause = self.0.lock();
        pause.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }
}
