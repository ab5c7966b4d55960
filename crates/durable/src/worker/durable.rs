//! Durable runs of agents.

use std::{collections::BTreeMap, fmt, sync::Arc};

use brigade_core::{RawJson, RunBuilder, RunId, Runnable, Schema, StepRecord, StepState};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{
    sync::{Mutex, Notify},
    time::Instant,
};

use super::{
    claimed_run::ClaimedRun, held_runs::HeldRuns, in_doubt::InDoubt, settings::WorkerSettings, submission::Submission,
};
use crate::{
    Answered, Approval, ApprovalAnswer, ApprovalQuery, ClaimRequest, CommitError, NewSignal, RunStore, RunStoreError,
    SignalKind, Signalled, StoredRun, Submitted, SubmittedTask, approval::stored_approvals::OnRequest, journal::cut,
};

/// Runs agents so that their runs survive a crash.
///
/// ```
/// use brigade_core::Agent;
/// use brigade_durable::{CancellationToken, Durable, MemoryRunStore, RunState, Submission};
/// # use brigade_core::testing::{ScriptedModel, Turn};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), brigade_durable::DurableError> {
/// # let model = ScriptedModel::new([Turn::text("It depends.")]);
/// let durable = Durable::new(MemoryRunStore::new()).agent("desk", Agent::new("desk", model));
///
/// // Any number of processes can do this. Cancel the token to hand the runs over to the others.
/// let stop = CancellationToken::new();
/// let worker = tokio::spawn({
///     let (durable, stop) = (durable.clone(), stop.clone());
///     async move { durable.work(stop).await }
/// });
///
/// let submitted = durable.submit(Submission::new("desk", "Is Kafka faster than SQS?")).await?;
/// let run = durable.wait(submitted.id()).await?;
/// assert_eq!(run.status, RunState::Finished);
/// assert!(run.output.unwrap().get().contains("It depends."));
/// stop.cancel();
/// # let _ = worker.await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Durable {
    pub(super) store: Arc<dyn RunStore>,
    pub(super) agents: BTreeMap<Arc<str>, Arc<dyn Runnable>>,
    pub(super) settings: WorkerSettings,
    pub(super) prepare: Option<Prepare>,
    pub(super) in_doubt: Option<InDoubtPolicy>,
    pub(super) on_approval: Option<OnRequest>,
    pub(super) shared: Arc<Shared>,
}

/// Completes the builder of a run.
type Prepare = Arc<dyn Fn(&StoredRun, &SubmittedTask, RunBuilder) -> RunBuilder + Send + Sync>;

/// What is done with a call of a tool with this name that is in doubt.
type InDoubtPolicy = Arc<dyn Fn(&StoredRun, &str) -> InDoubt + Send + Sync>;

#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Runs may have become ready.
    pub(super) ready: Notify,
    /// Signals may have been sent, and approvals answered.
    pub(super) woken: Arc<Notify>,
    /// A run has changed its state.
    pub(super) changed: Notify,
    /// Held while runs are claimed, so that a run which is submitted to be started at once is not claimed in between.
    pub(super) claiming: Mutex<()>,
    pub(super) held: HeldRuns,
}

/// A durable run could not be submitted or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DurableError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] RunStoreError),
    /// The run was stored, but a commit for it was refused.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// There is no such agent.
    #[error("there is no agent called `{0}`; add it with `Durable::agent`")]
    UnknownAgent(Arc<str>),
    /// There is no such run.
    #[error("there is no run {0}")]
    UnknownRun(RunId),
    /// The run cannot be resumed or decided on in its state.
    #[error("run {0} cannot be resumed: it did not fail, was not set aside and does not wait")]
    NotResumable(RunId),
    /// The step has no decision to make.
    #[error("step `{path}` of run {run} needs no decision; list the runs that wait for one")]
    NothingToDecide {
        /// The run.
        run: RunId,
        /// The step.
        path: String,
    },
    /// The run does not receive the signals that were sent to it.
    #[error("run {0} has too many signals that none of its steps has received; send no more until it goes on")]
    TooManySignals(RunId),
    /// The run has no such step.
    #[error("run {run} has no step `{path}`; `brigade runs show {run}` and `Durable::store` list its steps")]
    UnknownStep {
        /// The run.
        run: RunId,
        /// The step.
        path: String,
    },
    /// Edited arguments do not match the schema of the tool, or cannot be stored.
    #[error("the edited arguments do not fit the tool: {0}")]
    EditedArguments(String),
    /// The task or a decision cannot be stored.
    #[error("the task or the decision cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

/// A decision about a step that may have had its effect before a crash.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StepDecision {
    pub(super) path: String,
    /// The text for the model; absent if the step is done again.
    pub(super) answer: Option<String>,
}

const MAX_OPEN_SIGNALS: usize = 1_000;
const MAX_SIGNAL_BYTES: usize = 4 << 20;

impl Durable {
    /// Keeps runs in `store`.
    pub fn new(store: impl RunStore) -> Self {
        Self::shared(Arc::new(store))
    }

    /// Keeps runs in a store that others use too.
    pub fn shared(store: Arc<dyn RunStore>) -> Self {
        Self {
            store,
            agents: BTreeMap::new(),
            settings: WorkerSettings::default(),
            prepare: None,
            in_doubt: None,
            on_approval: None,
            shared: Arc::default(),
        }
    }

    /// Adds an agent, or anything else that works on tasks. The name is the queue of its runs: give it the same name in each
    /// process.
    #[must_use]
    pub fn agent(mut self, name: impl Into<Arc<str>>, agent: impl Runnable) -> Self {
        self.agents.insert(name.into(), Arc::new(agent));
        self
    }

    /// Sets the settings of the worker.
    #[must_use]
    pub fn settings(self, settings: WorkerSettings) -> Self {
        Self { settings, ..self }
    }

    /// Sets a function that completes the builder of each run, for example with a budget, an account and observers. It is
    /// called each time that the run is claimed, and must not set the id, the journal or the cancellation.
    #[must_use]
    pub fn prepare(
        self,
        prepare: impl Fn(&StoredRun, &SubmittedTask, RunBuilder) -> RunBuilder + Send + Sync + 'static,
    ) -> Self {
        Self { prepare: Some(Arc::new(prepare)), ..self }
    }

    /// Sets what is done with a call of a tool with [`Effect::Once`](brigade_core::Effect::Once) that may have had its effect
    /// before a crash. The function gets the name of the tool. By default, the run waits until a person decides.
    ///
    /// ```
    /// use brigade_durable::{Durable, InDoubt, MemoryRunStore};
    ///
    /// let durable = Durable::new(MemoryRunStore::new()).in_doubt(|_run, tool| match tool {
    ///     "send_mail" => InDoubt::TellModel,
    ///     _ => InDoubt::Ask,
    /// });
    /// ```
    #[must_use]
    pub fn in_doubt(self, policy: impl Fn(&StoredRun, &str) -> InDoubt + Send + Sync + 'static) -> Self {
        Self { in_doubt: Some(Arc::new(policy)), ..self }
    }

    /// Sets a function that is called when a call begins to wait for an approval, for example to notify a person. It must not
    /// block. It is called once for each approval, also if other calls of the run are still at work.
    #[must_use]
    pub fn on_approval(self, notify: impl Fn(&Approval) + Send + Sync + 'static) -> Self {
        Self { on_approval: Some(Arc::new(notify)), ..self }
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn RunStore> {
        &self.store
    }

    /// Stores a run, which a worker then claims. When this returns, the run survives a crash.
    pub async fn submit(&self, submission: Submission) -> Result<Submitted, DurableError> {
        if !self.agents.contains_key(&submission.agent) {
            return Err(DurableError::UnknownAgent(submission.agent));
        }
        let submitted = self.store.submit(submission.into_queued_run()?).await?;
        self.shared.ready.notify_waiters();
        Ok(submitted)
    }

    /// Stores a run and claims it at once, for a program that starts it itself and has a [`RunStarter`](crate::RunStarter)
    /// for the runs of processes that died. Returns nothing if the run was submitted before, or is claimed elsewhere.
    pub async fn start(&self, submission: Submission) -> Result<Option<ClaimedRun>, DurableError> {
        let run = submission.into_queued_run()?;
        let request =
            ClaimRequest::new(Arc::clone(&self.settings.name), vec![Arc::clone(&run.queue)], 1, self.settings.lease);
        let _claiming = self.shared.claiming.lock().await;
        let Submitted::New(id) = self.store.submit(run).await? else { return Ok(None) };
        let claimed = Instant::now();
        match self.store.claim(&request.run(id)).await?.pop() {
            Some(claim) => Ok(ClaimedRun::open(self, claim, claimed).await?),
            None => Ok(None),
        }
    }

    /// Waits until the run has ended: until it has an outcome, failed, was cancelled or was set aside.
    pub async fn wait(&self, run: RunId) -> Result<StoredRun, DurableError> {
        self.wait_until(run, |run| run.status.is_ended()).await
    }

    /// Waits until the run is in a state that `matches`.
    pub async fn wait_until(
        &self,
        run: RunId,
        matches: impl Fn(&StoredRun) -> bool,
    ) -> Result<StoredRun, DurableError> {
        loop {
            let mut changed = std::pin::pin!(self.shared.changed.notified());
            changed.as_mut().enable();
            let found = self.store.find(run).await?.ok_or(DurableError::UnknownRun(run))?;
            if matches(&found) {
                return Ok(found);
            }
            // The run may be carried on by another process.
            let _ = tokio::time::timeout(self.settings.poll, changed).await;
        }
    }

    /// Cancels a run. One that is at work ends with a partial outcome.
    pub async fn cancel(&self, run: RunId) -> Result<Signalled, DurableError> {
        let signal = NewSignal::new(SignalKind::Cancel, RawJson::empty_object()).key("cancel");
        let signalled = self.signal(run, signal).await?;
        if let Some(held) = self.shared.held.get(run) {
            held.cancel.cancel();
        }
        Ok(signalled)
    }

    /// Sends a signal to a run, for example a [named](NewSignal::named) one. A run that waits goes on. A step that waits in this
    /// process for the signal goes on at once, in another process within a second. A run that does not receive its named signals
    /// keeps 1,000 of them, and 4 MiB; more are refused.
    pub async fn signal(&self, run: RunId, signal: NewSignal) -> Result<Signalled, DurableError> {
        if signal.kind == SignalKind::Message && self.is_full(run).await? {
            return Err(DurableError::TooManySignals(run));
        }
        let signalled = self.store.signal(run, signal).await?;
        self.shared.wake();
        Ok(signalled)
    }

    /// Resumes a run that failed or was set aside. With the path of a step, everything from this step on is done again,
    /// whatever effects it had.
    pub async fn resume(&self, run: RunId, from: Option<&str>) -> Result<(), DurableError> {
        let removed = match from {
            Some(from) => self.steps_from(run, from).await?,
            None => Vec::new(),
        };
        if !self.store.resume(run, &removed).await? {
            let found = self.store.find(run).await?;
            return Err(found.map_or(DurableError::UnknownRun(run), |run| DurableError::NotResumable(run.id)));
        }
        self.shared.ready.notify_waiters();
        Ok(())
    }

    /// The paths of the records from the step at `from` on.
    async fn steps_from(&self, run: RunId, from: &str) -> Result<Vec<String>, DurableError> {
        let journal = self.store.journal(run).await?;
        let is_step = |path: &str| path.strip_prefix(from).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        // A call that waits for its approval has no record.
        let asked = ApprovalQuery::default().run(run).path(from);
        let is_known =
            journal.iter().any(|record| is_step(&record.path)) || !self.store.approvals(&asked).await?.is_empty();
        if from.is_empty() || !is_known {
            self.store.find(run).await?.ok_or(DurableError::UnknownRun(run))?;
            return Err(DurableError::UnknownStep { run, path: from.to_owned() });
        }
        Ok(cut::records_after(&journal, from))
    }

    /// Decides that a step which may have had its effect before a crash is done again.
    pub async fn repeat_step(&self, run: RunId, path: &str) -> Result<Signalled, DurableError> {
        self.decide(run, StepDecision { path: path.to_owned(), answer: None }).await
    }

    /// Decides that a step which may have had its effect before a crash is not done again. The model reads `answer` in place
    /// of its output.
    pub async fn answer_step(&self, run: RunId, path: &str, answer: &str) -> Result<Signalled, DurableError> {
        self.decide(run, StepDecision { path: path.to_owned(), answer: Some(answer.to_owned()) }).await
    }

    /// Answers an approval. Edited arguments must match the schema that the tool had when it asked.
    pub async fn answer_approval(&self, id: &str, mut answer: ApprovalAnswer) -> Result<Answered, DurableError> {
        let Some(approval) = self.store.approvals(&ApprovalQuery::default().id(id)).await?.pop() else {
            return Ok(Answered::Unknown);
        };
        if let Some(arguments) = &answer.arguments {
            // A field with a name that `serde_json` reserves cannot be read back, once fields are sorted.
            let reserved =
                |_| DurableError::EditedArguments("a field has a name that is reserved; rename it".to_owned());
            let arguments: Value = serde_json::from_str(arguments.get()).map_err(reserved)?;
            let schema = Schema::compile(&approval.schema);
            let schema = schema.map_err(|error| DurableError::EditedArguments(error.to_string()))?;
            schema.check(&arguments).map_err(DurableError::EditedArguments)?;
            if answer.sha256.as_ref() == Some(&approval.sha256) {
                (answer.arguments, answer.sha256) = (None, None);
            }
        }
        let (decision, edited) = (if answer.is_approved { "approved" } else { "denied" }, answer.is_edited());
        let approver = Arc::clone(&answer.approver);
        let answered = self.store.answer_approval(id, answer).await?;
        if answered == Answered::Stored {
            let Approval { run, tool, .. } = &approval;
            let how = if edited { ", with other arguments" } else { "" };
            let text = format!("approval {id} of `{tool}` {decision} by {approver}{how}");
            tracing::info!(%run, approval = id, %tool, decision, %approver, "{text}");
        }
        self.shared.wake();
        Ok(answered)
    }

    /// Whether a run keeps as many signals as it may. Each claim reads all of them.
    async fn is_full(&self, run: RunId) -> Result<bool, RunStoreError> {
        let open = self.store.signals(run).await?;
        let bytes: usize = open.iter().map(|signal| signal.payload.get().len()).sum();
        Ok(open.len() >= MAX_OPEN_SIGNALS || bytes >= MAX_SIGNAL_BYTES)
    }

    async fn decide(&self, run: RunId, decision: StepDecision) -> Result<Signalled, DurableError> {
        let found = self.store.find(run).await?.ok_or(DurableError::UnknownRun(run))?;
        let journal = self.store.journal(run).await?;
        let is_open = |record: &StepRecord| record.path == decision.path && record.state == StepState::Began;
        if found.status.is_ended() || !journal.iter().any(is_open) {
            return Err(DurableError::NothingToDecide { run, path: decision.path });
        }
        let payload = RawJson::of(&decision)?;
        // The step may need another decision after a later claim.
        let key = format!("decision {} {}", found.epoch, decision.path);
        self.signal(run, NewSignal::new(SignalKind::Decision, payload).key(key)).await
    }
}

impl Shared {
    /// Runs may have become ready, and steps that wait in this process may go on.
    pub(super) fn wake(&self) {
        self.woken.notify_waiters();
        self.ready.notify_waiters();
    }
}

impl fmt::Debug for Durable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Durable")
            .field("store", &self.store)
            .field("agents", &self.agents.keys())
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
