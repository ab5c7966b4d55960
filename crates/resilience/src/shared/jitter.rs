//! Random delays.

use std::time::Duration;

use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::SmallRng};

/// A source of random delays. Callers that failed at the same time must not retry at the same time.
#[derive(Debug)]
pub(crate) struct Jitter(Mutex<SmallRng>);

impl Jitter {
    /// A source that returns the same delays in every run of the program, for reproducible tests.
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(Mutex::new(SmallRng::seed_from_u64(seed)))
    }

    /// A random duration between zero and `max`.
    pub(crate) fn up_to(&self, max: Duration) -> Duration {
        let max_nanos = u64::try_from(max.as_nanos()).unwrap_or(u64::MAX);
        let mut random = self.0.lock();
        Duration::from_nanos(random.random_range(0..=max_nanos))
    }
}

impl Default for Jitter {
    fn default() -> Self {
        Self(Mutex::new(SmallRng::from_os_rng()))
    }
}
