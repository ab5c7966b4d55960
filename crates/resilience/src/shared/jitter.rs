//! Chance, for delays that must not coincide.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::SmallRng};

/// A source of random delays. Callers that failed together must not come back together.
#[derive(Debug)]
pub(crate) struct Jitter(Mutex<SmallRng>);

impl Jitter {
    /// The same delays in every run of the program, for tests that repeat.
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(Mutex::new(SmallRng::seed_from_u64(seed)))
    }

    /// Anything from nothing to `most`.
    pub(crate) fn up_to(&self, most: Duration) -> Duration {
        let most_nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        let mut random = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Duration::from_nanos(random.random_range(0..=most_nanos))
    }
}

impl Default for Jitter {
    fn default() -> Self {
        Self(Mutex::new(SmallRng::from_os_rng()))
    }
}
