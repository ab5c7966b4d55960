//! Adds durations of any length to instants.

use std::time::Duration;

use tokio::time::Instant;

/// Thirty years: longer than any program runs, and short enough for every platform's clock.
const FOREVER: Duration = Duration::from_hours(262_800);

/// The instant `wait` after `now`. Waits of more than thirty years, such as [`Duration::MAX`], are shortened to that.
pub(crate) fn after(now: Instant, wait: Duration) -> Instant {
    now + wait.min(FOREVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_after_its_length_and_after_thirty_years_at_the_latest() {
        let now = Instant::now();
        let [day, thirty_years] = [1, 30 * 365].map(|days| Duration::from_secs(days * 86_400));
        for (wait, ends_in) in [
            (Duration::ZERO, Duration::ZERO),
            (day, day),
            (thirty_years + day, thirty_years),
            (Duration::MAX, thirty_years),
        ] {
            assert_eq!(after(now, wait).duration_since(now), ends_in, "{wait:?}");
        }
    }
}
