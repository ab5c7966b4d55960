//! A run that was started: its end, its cost, and its work.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use brigade_core::{Agent, CostSummary, Money, Outcome, Run, RunError, RunId, StopReason, Task, TraceId, Transcript};
use brigade_durable::{ApprovalHold, ClaimedRun, Waiting, WorkEnd};
use brigade_edge::Place;
use brigade_openai::ClientCalls;
use brigade_store::RunStatus;
use futures::FutureExt;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{event_log::EventLog, new_run::NewRun, store::Store, totals::UsageTotals};

/// A run that was started, running or ended.
#[derive(Debug)]
pub struct RunHandle {
    id: RunId,
    trace: TraceId,
    agent: Arc<str>,
    owner: Arc<str>,
    user: Option<Arc<str>>,
    session: Option<Arc<str>>,
    is_durable: bool,
    /// Lets a durable run wait without its client.
    hold: Option<ApprovalHold>,
    limit: Option<Money>,
    client_calls: Option<Arc<ClientCalls>>,
    events: Option<Arc<EventLog>>,
    started: Timestamp,
    end: watch::Sender<Option<Arc<RunEnd>>>,
    pub(super) bytes: AtomicUsize,
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
    /// Not yet: it goes on later, with the same id.
    Suspended(SuspendedRun),
}

/// A durable run that goes on later.
#[derive(Debug)]
#[non_exhaustive]
pub struct SuspendedRun {
    /// What it waits for. Absent if another process, or the next start of this one, carries it on.
    pub waiting: Option<Waiting>,
    /// What it has cost so far.
    pub cost: CostSummary,
}

/// What a run does.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) agent: Agent,
    pub(super) run: Run,
    pub(super) task: Task,
    /// The claim of a durable run.
    pub(super) claimed: Option<ClaimedRun>,
    /// Releases durable runs.
    pub(super) release: CancellationToken,
}

/// Cancels a run when it is dropped, for example when the client that waits for it disconnects. A durable run whose calls
/// wait for approvals waits without the client instead.
#[derive(Debug)]
pub struct CancelOnDrop(Arc<RunHandle>);

/// What a run's task needs when the run ends. The place of the run is released last.
#[derive(Debug)]
pub(super) struct Completion {
    pub(super) _slot: Place,
    pub(super) bytes: Arc<AtomicUsize>,
    pub(super) totals: Arc<UsageTotals>,
    pub(super) store: Option<Store>,
}

impl RunHandle {
    pub(super) fn new(new: &NewRun) -> Self {
        Self {
            id: new.run.id(),
            trace: new.run.trace(),
            agent: Arc::clone(new.agent.name()),
            owner: Arc::clone(&new.owner),
            user: new.run.scope().user.clone(),
            session: new.session.clone(),
            is_durable: new.claimed.is_some(),
            hold: new.claimed.as_ref().map(ClaimedRun::approval_hold),
            limit: new.run.ledger().budget().usd.map(|cap| cap.limit),
            client_calls: new.client_calls.clone(),
            events: new.events.clone(),
            started: new.claimed.as_ref().map_or_else(Timestamp::now, |claimed| claimed.run().submitted_at),
            end: watch::Sender::new(None),
            bytes: AtomicUsize::new(0),
            run: Mutex::new(Some(new.run.clone())),
        }
    }

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

    /// Whether it survives the end of this process.
    pub fn is_durable(&self) -> bool {
        self.is_durable
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

    /// Why the run stopped; absent while it is running, and if it failed.
    pub(crate) fn stop(&self) -> Option<StopReason> {
        match self.end.borrow().as_deref() {
            Some(RunEnd::Finished(outcome)) => Some(outcome.stop),
            Some(RunEnd::Failed(_) | RunEnd::Panicked | RunEnd::Suspended(_)) | None => None,
        }
    }

    /// What the run may cost, if its budget limits that.
    pub(crate) fn limit(&self) -> Option<Money> {
        self.limit
    }

    /// The tools of the client and their calls, if it has brought some along.
    pub(crate) fn client_calls(&self) -> Option<&Arc<ClientCalls>> {
        self.client_calls.as_ref()
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

    pub(super) async fn execute(self: Arc<Self>, work: Work, completion: Completion) {
        let run = work.run.clone();
        let mut end = work.execute().await;
        // The next life of a suspended run begins with its cost.
        if !matches!(end, RunEnd::Suspended(_)) {
            completion.totals.add(&self.owner, &self.agent, &run.ledger().summary());
        }
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

    pub(super) fn is_suspended(&self) -> bool {
        matches!(self.end.borrow().as_deref(), Some(RunEnd::Suspended(_)))
    }

    pub(super) fn has_ended(&self) -> bool {
        self.end.borrow().is_some()
    }

    fn size(&self, end: &RunEnd) -> usize {
        let answer = match end {
            RunEnd::Finished(outcome) => outcome.text.len(),
            RunEnd::Failed(_) | RunEnd::Panicked | RunEnd::Suspended(_) => 0,
        };
        answer + self.events.as_ref().map_or(0, |events| events.bytes())
    }
}

impl Work {
    async fn execute(self) -> RunEnd {
        let Self { agent, run, task, claimed, release } = self;
        let working = agent.run_in(&run, task);
        let ended = match claimed {
            None => match AssertUnwindSafe(working).catch_unwind().await {
                Ok(result) => WorkEnd::Ended(Box::new(result)),
                Err(_) => WorkEnd::Panicked,
            },
            Some(claimed) => claimed.carry_on(working, &release).await,
        };
        let waiting = match ended {
            WorkEnd::Ended(result) => return RunEnd::of(*result),
            WorkEnd::Panicked => return RunEnd::Panicked,
            WorkEnd::Waits(waiting) => Some(waiting),
            WorkEnd::Released | WorkEnd::Lost => None,
        };
        RunEnd::Suspended(SuspendedRun { waiting, cost: run.ledger().summary() })
    }
}

impl RunEnd {
    /// Sessions keep their own transcript, and nothing else needs it.
    fn of(result: Result<Outcome, RunError>) -> Self {
        match result {
            Ok(mut outcome) => {
                outcome.transcript = Transcript::new();
                Self::Finished(outcome)
            }
            Err(error) => Self::Failed(error.without_transcript()),
        }
    }

    /// The status of a run that ended like this.
    pub fn status(&self) -> RunStatus {
        match self {
            Self::Finished(outcome) if outcome.stop == StopReason::Cancelled => RunStatus::Cancelled,
            Self::Finished(_) => RunStatus::Ended,
            Self::Failed(_) | Self::Panicked => RunStatus::Failed,
            Self::Suspended(suspended) if suspended.waiting.is_some() => RunStatus::Waiting,
            Self::Suspended(_) => RunStatus::Running,
        }
    }

    /// What the run cost. Unknown after a panic.
    pub fn cost(&self) -> Option<CostSummary> {
        match self {
            Self::Finished(outcome) => Some(outcome.cost.clone()),
            Self::Failed(error) => Some(error.cost().clone()),
            Self::Panicked => None,
            Self::Suspended(suspended) => Some(suspended.cost.clone()),
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
        let waits = self.0.hold.as_ref().is_some_and(ApprovalHold::release);
        if !waits {
            self.0.cancel();
        }
    }
}
