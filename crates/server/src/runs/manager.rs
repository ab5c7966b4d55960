//! Starts runs, limits their number, and keeps the last ones that ended.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use brigade_core::RunId;
use brigade_edge::{Admission, AdmissionError, Place};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    new_run::NewRun,
    run_handle::{Completion, RunHandle, Work},
    totals::UsageTotals,
};

/// The runs of this process.
///
/// Each run has its own task, so it does not depend on the request that started it and can be followed, cancelled and
/// waited for by id. Dropping this aborts all runs, whose handles then never end.
///
/// ```
/// # use brigade_core::testing::{ScriptedModel, Turn};
/// use std::time::Duration;
///
/// use brigade_core::{Agent, Run};
/// use brigade_server::{NewRun, RunEnd, Runs};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), brigade_edge::AdmissionError> {
/// # let model = ScriptedModel::new([Turn::text("Done.")]);
/// let runs = Runs::new(256, 1_000);
/// let run = runs.start(NewRun::new(Run::new(), Agent::new("clerk", model), "File the letters."))?;
/// let end = run.wait().await;
/// assert!(matches!(&*end, RunEnd::Finished(outcome) if outcome.text == "Done."));
/// let cancelled = runs.drain(Duration::from_secs(30)).await;
/// assert_eq!(cancelled, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Runs {
    admission: Arc<Admission>,
    max_kept: usize,
    /// Cancelled when durable runs are released.
    release: CancellationToken,
    tasks: Mutex<JoinSet<()>>,
    handles: Mutex<VecDeque<Arc<RunHandle>>>,
    /// The approximate size of all runs that have ended.
    bytes: Arc<AtomicUsize>,
    totals: Arc<UsageTotals>,
}

/// The maximum size of all kept runs: a tenth of a small machine.
const MAX_BYTES: usize = 128 << 20;

impl Runs {
    /// Allows `max_running` runs at the same time, and keeps the last `max_kept` runs.
    pub fn new(max_running: usize, max_kept: usize) -> Self {
        Self {
            admission: Arc::new(Admission::new(max_running)),
            max_kept: max_kept.max(1),
            release: CancellationToken::new(),
            tasks: Mutex::default(),
            handles: Mutex::default(),
            bytes: Arc::default(),
            totals: Arc::default(),
        }
    }

    /// Starts a run. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// Fails if too many runs are running or the process is shutting down.
    pub fn start(&self, new: NewRun) -> Result<Arc<RunHandle>, AdmissionError> {
        let slot = self.admission.try_admit(&new.owner, new.max_runs_of_owner)?;
        Ok(self.start_in(slot, new))
    }

    /// A place for a run of this owner. Waits up to `longest_wait` for it.
    pub(crate) async fn reserve(
        &self,
        owner: &Arc<str>,
        limit: Option<usize>,
        longest_wait: Duration,
    ) -> Result<Place, AdmissionError> {
        self.admission.admit(owner, limit, longest_wait).await
    }

    /// How many more runs may be started.
    pub(crate) fn room(&self) -> usize {
        self.admission.room()
    }

    pub(crate) fn start_in(&self, slot: Place, new: NewRun) -> Arc<RunHandle> {
        let handle = Arc::new(RunHandle::new(&new));
        self.keep(Arc::clone(&handle));
        let NewRun { run, agent, task, store, claimed, .. } = new;
        let (bytes, totals) = (Arc::clone(&self.bytes), Arc::clone(&self.totals));
        let completion = Completion { _slot: slot, bytes, totals, store };
        let work = Work { agent, run, task, claimed, release: self.release.clone() };
        let mut tasks = self.tasks.lock();
        // Frees the memory of tasks that have ended.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(Arc::clone(&handle).execute(work, completion));
        handle
    }

    /// The run with this id, if it is running or kept. A run that was suspended is found in the store of runs.
    pub fn find(&self, id: RunId) -> Option<Arc<RunHandle>> {
        self.handles.lock().iter().rev().find(|handle| handle.id() == id && !handle.is_suspended()).cloned()
    }

    /// All runs that are running or kept, the newest first.
    pub fn all(&self) -> Vec<Arc<RunHandle>> {
        self.handles.lock().iter().rev().filter(|handle| !handle.is_suspended()).cloned().collect()
    }

    /// True once [`Runs::drain`] was called.
    pub fn is_draining(&self) -> bool {
        self.admission.is_closed()
    }

    /// Refuses new runs and waits for running ones. Durable runs that are still running after `timeout` are released, so
    /// that they go on at the next start; other ones are cancelled. Returns the number of cancelled runs.
    pub async fn drain(&self, timeout: Duration) -> usize {
        self.admission.close();
        if tokio::time::timeout(timeout, self.admission.all_ended()).await.is_ok() {
            return 0;
        }
        let late = self.all().into_iter().filter(|handle| !handle.has_ended());
        let (durable, late): (Vec<_>, Vec<_>) = late.partition(|handle| handle.is_durable());
        if !durable.is_empty() {
            tracing::info!("released {} runs, which go on at the next start", durable.len());
        }
        self.release.cancel();
        for handle in &late {
            handle.cancel();
        }
        // A cancelled run ends at its next await point. One that does not is abandoned.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.admission.all_ended()).await;
        late.len()
    }

    /// Cancelled when durable runs are released.
    pub(crate) fn release(&self) -> &CancellationToken {
        &self.release
    }

    pub(crate) fn max_running(&self) -> usize {
        self.admission.max_running()
    }

    /// The number of runs that wait for a place.
    pub(crate) fn waiting(&self) -> usize {
        self.admission.waiting()
    }

    pub(super) fn max_kept(&self) -> usize {
        self.max_kept
    }

    pub(super) fn totals(&self) -> &UsageTotals {
        &self.totals
    }

    fn keep(&self, handle: Arc<RunHandle>) {
        let mut handles = self.handles.lock();
        handles.push_back(handle);
        // Running runs are never dropped; their number is limited.
        while handles.len() > self.max_kept || self.bytes.load(Ordering::Relaxed) > MAX_BYTES {
            let Some(oldest) = handles.iter().position(|handle| handle.has_ended()) else { return };
            if let Some(dropped) = handles.remove(oldest) {
                self.bytes.fetch_sub(dropped.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
    }
}
