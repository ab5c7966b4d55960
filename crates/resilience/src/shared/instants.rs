//! Adds durations of any length to instants.

use std::time::Duration;

use tokio::time::Instant;

/// Longer than any program runs, and short enough for every platform's clock.
const FOREVER: Duration = Duration::from_hours(24 * 365 * 30);

/// The instant `wait` after `now`. A wait without a sensible end, such as [`Duration::MAX`], ends in thirty years.
pub(crate) fn after(now: Instant, wait: Duration) -> Instant {
    now + wait.min(FOREVER)
}
