//! How long a worker may still write for a run.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// The lease of a claimed run, by this process's clock. It is counted from before the store was asked, so it ends before the
/// store's does.
#[derive(Debug)]
pub(crate) struct Lease {
    length: Duration,
    renewed: Mutex<Instant>,
}

impl Lease {
    pub(crate) fn new(length: Duration, claimed: Instant) -> Self {
        Self { length, renewed: Mutex::new(claimed) }
    }

    pub(crate) const fn length(&self) -> Duration {
        self.length
    }

    /// The lease was renewed by a request that was sent at this time.
    pub(crate) fn renewed(&self, sent: Instant) {
        let mut renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        *renewed = sent.max(*renewed);
    }

    /// Whether there is enough time left to begin something new. A fifth is kept, because clocks do not run alike.
    pub(crate) fn is_held(&self) -> bool {
        let renewed = *self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        renewed.elapsed() + self.length / 5 < self.length
    }
}
