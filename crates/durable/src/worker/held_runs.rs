//! The claimed runs of a process.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use brigade_core::RunId;
use tokio_util::sync::CancellationToken;

use crate::{Fence, journal::lease::Lease};

/// The claimed runs of a process, each with the means to stop it.
#[derive(Debug, Default)]
pub(crate) struct HeldRuns(Mutex<BTreeMap<RunId, HeldRun>>);

/// A claimed run.
#[derive(Debug, Clone)]
pub(crate) struct HeldRun {
    pub(crate) fence: Fence,
    pub(crate) lease: Arc<Lease>,
    /// Cancels the run, which then ends with an outcome.
    pub(crate) cancel: CancellationToken,
    /// Drops the run, because another worker has it.
    pub(crate) drop: CancellationToken,
    /// The number of the last signal that was handled.
    pub(crate) signal_number: u64,
}

impl HeldRuns {
    pub(crate) fn add(&self, run: HeldRun) {
        self.lock().insert(run.fence.run, run);
    }

    pub(crate) fn remove(&self, fence: &Fence) {
        let mut runs = self.lock();
        if runs.get(&fence.run).is_some_and(|run| run.fence == *fence) {
            runs.remove(&fence.run);
        }
    }

    pub(crate) fn get(&self, run: RunId) -> Option<HeldRun> {
        self.lock().get(&run).cloned()
    }

    pub(crate) fn all(&self) -> Vec<HeldRun> {
        self.lock().values().cloned().collect()
    }

    pub(crate) fn signalled(&self, run: RunId, number: u64) {
        if let Some(run) = self.lock().get_mut(&run) {
            run.signal_number = number;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RunId, HeldRun>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
