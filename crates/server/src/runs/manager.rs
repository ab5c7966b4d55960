//! Starts runs, limits their number, and keeps the last ones that ended.

use std::{
    collections::VecDeque,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use brigade_core::{Agent, CostSummary, Outcome, Run, RunError, RunId, StopReason, Task, TraceId, Transcript};
use brigade_store::RunStatus;
use futures::FutureExt;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};

use super::{
    event_log::EventLog,
    new_run::NewRun,
    owners::{OwnerSlot, RunningByOwner},
    store::Store,
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
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), brigade_server::StartRunError> {
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
    permits: Arc<Semaphore>,
    max_running: usize,
    max_kept: usize,
    is_draining: AtomicBool,
    tasks: Mutex<JoinSet<()>>,
    handles: Mutex<VecDeque<Arc<RunHandle>>>,
    /// The approximate size of all runs that have ended.
    bytes: Arc<AtomicUsize>,
    totals: Arc<UsageTotals>,
    running: Arc<RunningByOwner>,
}

/// A run that was started, running or ended.
#[derive(Debug)]
pub struct RunHandle {
    id: RunId,
    trace: TraceId,
    agent: Arc<str>,
    owner: Arc<str>,
    user: Option<Arc<str>>,
    session: Option<Arc<str>>,
    events: Option<Arc<EventLog>>,
    started: Timestamp,
    end: watch::Sender<Option<Arc<RunEnd>>>,
    bytes: AtomicUsize,
    /// `None` once the run has ended, because a run holds its notes and observers.
    run: Mutex<Option<Run>>,
}

/// How a run ended.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is always behind an `Arc`")]
#[non_exhaustive]
pub enum RunEnd {
    /// With an answer, complete or partial. Its transcript is empty.
    Finished(Outcome),
    /// With an error. Its transcript is empty.
    Failed(RunError),
    /// With a panic, which is a bug.
    Panicked,
}

/// A run could not be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartRunError {
    /// The maximum number of runs is running.
    #[error("as many runs are running as the limit allows ({limit}); try again soon")]
    TooManyRuns {
        /// The maximum.
        limit: usize,
    },
    /// The maximum number of runs of this owner is running.
    #[error("as many runs of this key are running as its limit allows ({limit}); try again soon")]
    TooManyRunsOfOwner {
        /// The maximum.
        limit: usize,
    },
    /// The process is shutting down.
    #[error("this server is shutting down; send the request to another one")]
    Draining,
}

/// Cancels a run when it is dropped, for example when the client that waits for it disconnects.
#[derive(Debug)]
pub struct CancelOnDrop(Arc<RunHandle>);

/// What a run's task needs when the run ends. The permit is released last.
#[derive(Debug)]
struct Completion {
    _permit: OwnedSemaphorePermit,
    _slot: OwnerSlot,
    bytes: Arc<AtomicUsize>,
    totals: Arc<UsageTotals>,
    store: Option<Store>,
}

/// The maximum size of all kept runs: a tenth of a small machine.
const MAX_BYTES: usize = 128 << 20;

impl Runs {
    /// Allows `max_running` runs at the same time, and keeps the last `max_kept` runs.
    pub fn new(max_running: usize, max_kept: usize) -> Self {
        let max_running = max_running.min(Semaphore::MAX_PERMITS);
        Self {
            permits: Arc::new(Semaphore::new(max_running)),
            max_running,
            max_kept: max_kept.max(1),
            is_draining: AtomicBool::new(false),
            tasks: Mutex::default(),
            handles: Mutex::default(),
            bytes: Arc::default(),
            totals: Arc::default(),
            running: Arc::default(),
        }
    }

    /// Starts a run. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// Fails if too many runs are running or the process is shutting down.
    pub fn start(&self, new: NewRun) -> Result<Arc<RunHandle>, StartRunError> {
        if self.is_draining() {
            return Err(StartRunError::Draining);
        }
        let permit = Arc::clone(&self.permits)
            .try_acquire_owned()
            .map_err(|_| StartRunError::TooManyRuns { limit: self.max_running })?;
        let NewRun { run, agent, task, owner, max_runs_of_owner, session, events, store } = new;
        let slot = self.running.count(&owner, max_runs_of_owner)?;
        let handle = Arc::new(RunHandle {
            id: run.id(),
            trace: run.trace(),
            agent: Arc::clone(agent.name()),
            owner,
            user: run.scope().user.clone(),
            session,
            events,
            started: Timestamp::now(),
            end: watch::Sender::new(None),
            bytes: AtomicUsize::new(0),
            run: Mutex::new(Some(run.clone())),
        });
        self.keep(Arc::clone(&handle));
        let (bytes, totals) = (Arc::clone(&self.bytes), Arc::clone(&self.totals));
        let completion = Completion { _permit: permit, _slot: slot, bytes, totals, store };
        let mut tasks = self.tasks.lock();
        // Frees the memory of tasks that have ended.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(Arc::clone(&handle).execute(agent, run, task, completion));
        Ok(handle)
    }

    /// The run with this id, if it is running or kept.
    pub fn find(&self, id: RunId) -> Option<Arc<RunHandle>> {
        self.handles.lock().iter().rev().find(|handle| handle.id == id).cloned()
    }

    /// All runs that are running or kept, the newest first.
    pub fn all(&self) -> Vec<Arc<RunHandle>> {
        self.handles.lock().iter().rev().cloned().collect()
    }

    /// True once [`Runs::drain`] was called.
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }

    /// Refuses new runs and waits for running ones. Runs that are still running after `timeout` are cancelled. Returns
    /// the number of cancelled runs.
    pub async fn drain(&self, timeout: Duration) -> usize {
        self.is_draining.store(true, Ordering::Release);
        if tokio::time::timeout(timeout, self.all_ended()).await.is_ok() {
            return 0;
        }
        let late: Vec<_> = self.all().into_iter().filter(|handle| !handle.has_ended()).collect();
        for handle in &late {
            handle.cancel();
        }
        // A cancelled run ends at its next await point. One that does not is abandoned.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.all_ended()).await;
        late.len()
    }

    pub(crate) fn max_running(&self) -> usize {
        self.max_running
    }

    pub(super) fn max_kept(&self) -> usize {
        self.max_kept
    }

    pub(super) fn totals(&self) -> &UsageTotals {
        &self.totals
    }

    async fn all_ended(&self) {
        // No new runs are started now, so all permits are free when all runs have ended.
        let all = u32::try_from(self.max_running).unwrap_or(u32::MAX);
        let _ = self.permits.acquire_many(all).await;
    }

    fn keep(&self, handle: Arc<RunHandle>) {
        let mut handles = self.handles.lock();
        handles.push_back(handle);
        // Running runs are never dropped; the semaphore limits their number.
        while handles.len() > self.max_kept || self.bytes.load(Ordering::Relaxed) > MAX_BYTES {
            let Some(oldest) = handles.iter().position(|handle| handle.has_ended()) else { return };
            if let Some(dropped) = handles.remove(oldest) {
                self.bytes.fetch_sub(dropped.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
    }
}

impl RunHandle {
    /// The run's id.
    pub fn id(&self) -> RunId {
        self.id
    }

    /// The trace of the request that started the run.
    pub fn trace(&self) -> TraceId {
        self.trace
    }

    /// The agent's name.
    pub fn agent(&self) -> &str {
        &self.agent
    }

    /// The name of the key that started the run.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The end user, if the request named one.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The client's session, if it named one.
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// The run's events, if they are kept.
    pub fn events(&self) -> Option<&Arc<EventLog>> {
        self.events.as_ref()
    }

    /// When the run was started.
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// Waits for the end of the run.
    pub async fn wait(&self) -> Arc<RunEnd> {
        let mut end = self.end.subscribe();
        let ended = end.wait_for(Option::is_some).await.ok().and_then(|end| (*end).clone());
        // The sender lives as long as `self`, so there always is an end.
        ended.unwrap_or_else(|| Arc::new(RunEnd::Panicked))
    }

    /// How the run ended, or `None` while it is running.
    pub fn end(&self) -> Option<Arc<RunEnd>> {
        self.end.borrow().clone()
    }

    /// The run's status.
    pub fn status(&self) -> RunStatus {
        self.end.borrow().as_deref().map_or(RunStatus::Running, RunEnd::status)
    }

    /// Cancels the run. Its outcome has the answer so far. Does nothing if the run has ended.
    pub fn cancel(&self) {
        if let Some(run) = self.run.lock().as_ref() {
            run.cancel();
        }
    }

    /// What the run has cost so far.
    pub fn cost(&self) -> CostSummary {
        let running = self.run.lock().as_ref().map(|run| run.ledger().summary());
        running.or_else(|| self.end()?.cost()).unwrap_or_default()
    }

    async fn execute(self: Arc<Self>, agent: Agent, run: Run, task: Task, completion: Completion) {
        let result = AssertUnwindSafe(agent.run_in(&run, task)).catch_unwind().await;
        // Sessions keep their own transcript, and nothing else needs it.
        let mut end = match result {
            Ok(Ok(mut outcome)) => {
                outcome.transcript = Transcript::new();
                RunEnd::Finished(outcome)
            }
            Ok(Err(error)) => RunEnd::Failed(error.without_transcript()),
            Err(_) => RunEnd::Panicked,
        };
        completion.totals.add(&self.owner, &self.agent, &run.ledger().summary());
        if let Some(store) = &completion.store
            && let Some(degraded) = store.settle().await
            && let RunEnd::Finished(outcome) = &mut end
        {
            outcome.degraded.push(degraded);
        }
        self.run.lock().take();
        // Before the end is set, because a run that has ended may be dropped from the list at any time.
        let bytes = self.size(&end);
        self.bytes.store(bytes, Ordering::Relaxed);
        completion.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.end.send_replace(Some(Arc::new(end)));
    }

    fn has_ended(&self) -> bool {
        self.end.borrow().is_some()
    }

    fn size(&self, end: &RunEnd) -> usize {
        let answer = match end {
            RunEnd::Finished(outcome) => outcome.text.len(),
            RunEnd::Failed(_) | RunEnd::Panicked => 0,
        };
        answer + self.events.as_ref().map_or(0, |events| events.bytes())
    }
}

impl RunEnd {
    /// The status of a run that ended like this.
    pub fn status(&self) -> RunStatus {
        match self {
            Self::Finished(outcome) if outcome.stop == StopReason::Cancelled => RunStatus::Cancelled,
            Self::Finished(_) => RunStatus::Ended,
            Self::Failed(_) | Self::Panicked => RunStatus::Failed,
        }
    }

    /// What the run cost. Unknown after a panic.
    pub fn cost(&self) -> Option<CostSummary> {
        match self {
            Self::Finished(outcome) => Some(outcome.cost.clone()),
            Self::Failed(error) => Some(error.cost().clone()),
            Self::Panicked => None,
        }
    }
}

impl CancelOnDrop {
    /// Cancels this run unless it has ended before.
    pub fn new(run: Arc<RunHandle>) -> Self {
        Self(run)
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
