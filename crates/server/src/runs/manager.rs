//! The runs of this process: those that go on, and the last that ended.

use std::{
    collections::VecDeque,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use brigade_core::{Agent, CostSummary, Outcome, Run, RunError, RunId, StopReason, Task, TraceId, Transcript};
use brigade_store::RunStatus;
use futures::FutureExt;
use jiff::Timestamp;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};

use crate::{api::ApiError, runs::event_log::EventLog, runs::store::Store, runs::totals::Tally};

/// The runs of this process.
///
/// Each goes on in a task of its own, so that it can be told to stop, and be waited for, whoever asked for it.
#[derive(Debug)]
pub(crate) struct Runs {
    permits: Arc<Semaphore>,
    most: usize,
    kept: usize,
    is_draining: AtomicBool,
    tasks: Mutex<JoinSet<()>>,
    records: Mutex<VecDeque<Arc<Record>>>,
    /// Roughly what all that have ended take.
    bytes: Arc<AtomicUsize>,
    tally: Arc<Tally>,
}

/// A run to be started.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) run: Run,
    pub(crate) agent: Agent,
    pub(crate) task: Task,
    /// The name of the key that asked for it.
    pub(crate) owner: Arc<str>,
    pub(crate) session: Option<Arc<str>>,
    /// What happens in it, if somebody may ask.
    pub(crate) log: Option<Arc<EventLog>>,
    /// Where its cost is kept, which it must be before anybody is told that it has ended.
    pub(crate) store: Option<Store>,
}

/// What is known about a run.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) id: RunId,
    pub(crate) trace: TraceId,
    pub(crate) agent: Arc<str>,
    pub(crate) owner: Arc<str>,
    pub(crate) session: Option<Arc<str>>,
    pub(crate) log: Option<Arc<EventLog>>,
    pub(crate) began: Timestamp,
    end: watch::Sender<Option<Arc<End>>>,
    /// Roughly what it takes to remember it, once it has ended.
    bytes: AtomicUsize,
    /// Let go when the run has ended, because a run holds its notes and its watchers.
    run: Mutex<Option<Run>>,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) enum End {
    /// With an answer, whole or partial. The conversation is let go: sessions keep theirs, and nobody asks for others.
    Outcome(Box<Outcome>),
    /// Without.
    Failed(Box<Failed>),
    /// By a bug.
    Panicked,
}

/// What is kept of a run that failed.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: ApiError,
    cost: CostSummary,
}

/// Why a run was not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotStarted {
    /// As many runs go on as may.
    Full(usize),
    /// The process is about to end.
    Draining,
}

/// Those who keep what a run leaves behind. The permit is given back when it is all kept.
#[derive(Debug)]
struct Keepers {
    _permit: OwnedSemaphorePermit,
    bytes: Arc<AtomicUsize>,
    tally: Arc<Tally>,
    store: Option<Store>,
}

/// What may be remembered of all runs together: a tenth of a small machine.
const MOST_BYTES: usize = 128 << 20;

/// Cancels a run when whoever waits for it goes away.
#[derive(Debug)]
pub(crate) struct CancelOnDrop(pub(crate) Arc<Record>);

impl Runs {
    /// At most `most` at a time; the last `kept` are remembered.
    pub(crate) fn new(most: usize, kept: usize) -> Self {
        let most = most.min(Semaphore::MAX_PERMITS);
        Self {
            permits: Arc::new(Semaphore::new(most)),
            most,
            kept: kept.max(1),
            is_draining: AtomicBool::new(false),
            tasks: Mutex::default(),
            records: Mutex::default(),
            bytes: Arc::default(),
            tally: Arc::default(),
        }
    }

    /// Starts a run, unless there are too many.
    pub(crate) fn start(&self, job: Job) -> Result<Arc<Record>, NotStarted> {
        if self.is_draining() {
            return Err(NotStarted::Draining);
        }
        let permit = Arc::clone(&self.permits).try_acquire_owned().map_err(|_| NotStarted::Full(self.most))?;
        let Job { run, agent, task, owner, session, log, store } = job;
        let record = Arc::new(Record {
            id: run.id(),
            trace: run.trace(),
            agent: Arc::clone(agent.name()),
            owner,
            session,
            log,
            began: Timestamp::now(),
            end: watch::Sender::new(None),
            bytes: AtomicUsize::new(0),
            run: Mutex::new(Some(run.clone())),
        });
        self.remember(Arc::clone(&record));
        let mut tasks = locked(&self.tasks);
        // Those that are done take their memory with them.
        while tasks.try_join_next().is_some() {}
        let keepers =
            Keepers { _permit: permit, bytes: Arc::clone(&self.bytes), tally: Arc::clone(&self.tally), store };
        tasks.spawn(Arc::clone(&record).work(agent, (run, task), keepers));
        Ok(record)
    }

    /// The run with this id, if it goes on or is remembered.
    pub(crate) fn find(&self, id: RunId) -> Option<Arc<Record>> {
        locked(&self.records).iter().rev().find(|record| record.id == id).cloned()
    }

    /// All that go on or are remembered, the newest first.
    pub(crate) fn all(&self) -> Vec<Arc<Record>> {
        locked(&self.records).iter().rev().cloned().collect()
    }

    /// How many runs are remembered.
    pub(crate) fn kept(&self) -> usize {
        self.kept
    }

    /// What all runs have cost.
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Whether no more runs are started.
    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }

    /// Starts no more runs, and waits for those that go on; what is left after `patience` is cancelled. Answers how
    /// many were.
    pub(crate) async fn drain(&self, patience: Duration) -> usize {
        self.is_draining.store(true, Ordering::Release);
        if tokio::time::timeout(patience, self.all_ended()).await.is_ok() {
            return 0;
        }
        let late: Vec<_> = self.all().into_iter().filter(|record| !record.has_ended()).collect();
        for record in &late {
            record.cancel();
        }
        // A cancelled run ends at its next breath; one that does not is not waited for.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.all_ended()).await;
        late.len()
    }

    async fn all_ended(&self) {
        // Nobody else takes permits now, so all are there when all runs have ended.
        let all = u32::try_from(self.most).unwrap_or(u32::MAX);
        let _ = self.permits.acquire_many(all).await;
    }

    fn remember(&self, record: Arc<Record>) {
        let mut records = locked(&self.records);
        records.push_back(record);
        // Those that go on are never forgotten, and they are bounded by themselves.
        while records.len() > self.kept || self.bytes.load(Ordering::Relaxed) > MOST_BYTES {
            let Some(oldest) = records.iter().position(|record| record.has_ended()) else { return };
            if let Some(forgotten) = records.remove(oldest) {
                self.bytes.fetch_sub(forgotten.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
    }
}

impl Record {
    async fn work(self: Arc<Self>, agent: Agent, (run, task): (Run, Task), keepers: Keepers) {
        let work = AssertUnwindSafe(agent.run_in(&run, task)).catch_unwind();
        let mut end = match work.await {
            Ok(Ok(mut outcome)) => {
                outcome.transcript = Transcript::new();
                End::Outcome(Box::new(outcome))
            }
            Ok(Err(error)) => End::Failed(Box::new(Failed::from(&error))),
            Err(_) => End::Panicked,
        };
        keepers.tally.add(&self.owner, &self.agent, &run.ledger().summary());
        if let Some(store) = &keepers.store
            && let Some(missing) = store.settle().await
            && let End::Outcome(outcome) = &mut end
        {
            outcome.degraded.push(missing);
        }
        locked(&self.run).take();
        // Before the end is told, because whoever has ended may be forgotten.
        let bytes = self.bytes_with(&end);
        self.bytes.store(bytes, Ordering::Relaxed);
        keepers.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.end.send_replace(Some(Arc::new(end)));
    }

    /// How it ended, once it has.
    pub(crate) async fn ended(&self) -> Arc<End> {
        let mut end = self.end.subscribe();
        let ended = end.wait_for(Option::is_some).await.ok().and_then(|end| (*end).clone());
        // The sender is here, so it cannot have gone away.
        ended.unwrap_or_else(|| Arc::new(End::Panicked))
    }

    /// How it ended, if it has.
    pub(crate) fn end(&self) -> Option<Arc<End>> {
        self.end.borrow().clone()
    }

    /// How it stands.
    pub(crate) fn status(&self) -> RunStatus {
        self.end.borrow().as_deref().map_or(RunStatus::Running, End::status)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.end.borrow().is_some()
    }

    fn bytes_with(&self, end: &End) -> usize {
        let answer = match end {
            End::Outcome(outcome) => outcome.text.len(),
            End::Failed(_) | End::Panicked => 0,
        };
        answer + self.log.as_ref().map_or(0, |log| log.bytes())
    }

    /// Tells it to stop. What it has until then is its outcome.
    pub(crate) fn cancel(&self) {
        if let Some(run) = locked(&self.run).as_ref() {
            run.cancel();
        }
    }

    /// What it has cost until now.
    pub(crate) fn cost(&self) -> CostSummary {
        let running = locked(&self.run).as_ref().map(|run| run.ledger().summary());
        running.or_else(|| self.end()?.cost()).unwrap_or_default()
    }
}

impl End {
    /// How a run stands that ended so.
    pub(crate) fn status(&self) -> RunStatus {
        match self {
            Self::Outcome(outcome) if outcome.stop == StopReason::Cancelled => RunStatus::Cancelled,
            Self::Outcome(_) => RunStatus::Ended,
            Self::Failed(_) | Self::Panicked => RunStatus::Failed,
        }
    }

    /// What the run cost; unknown if a bug ended it.
    pub(crate) fn cost(&self) -> Option<CostSummary> {
        match self {
            Self::Outcome(outcome) => Some(outcome.cost.clone()),
            Self::Failed(failed) => Some(failed.cost.clone()),
            Self::Panicked => None,
        }
    }
}

impl From<&RunError> for Failed {
    fn from(error: &RunError) -> Self {
        Self { error: ApiError::from(error), cost: error.cost().clone() }
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        // Nothing happens to a run that has ended.
        self.0.cancel();
    }
}

/// A panic while one of these locks was held leaves whole values behind.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
