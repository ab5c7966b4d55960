//! Runs as a store keeps them.

use std::{sync::Arc, time::Duration};

use brigade_core::{RawJson, RunId, Spending, StepRecord};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{ClientCall, Fence, Signal};

/// A run to be stored.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct QueuedRun {
    /// Its id.
    pub id: RunId,
    /// The queue that workers claim it from: the name of the agent.
    pub queue: Arc<str>,
    /// The task, in a form that the submitting program chooses.
    pub input: RawJson,
    /// The owner of the idempotency key, such as an API key's name. Keys of different accounts never clash.
    pub account: Arc<str>,
    /// The key under which the caller may submit the same run again.
    pub key: Option<String>,
    /// A digest of the agent and the task, so that another request under the same key is refused.
    pub digest: u64,
    /// The run that submitted it.
    pub parent: Option<RunId>,
}

/// The result of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submitted {
    /// The run is new and ready.
    New(RunId),
    /// The same run was submitted before under this key, as this run.
    Same(RunId),
    /// Another request was submitted under this key, as this run. Nothing was stored.
    Clash(RunId),
}

/// The state of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunState {
    /// It can be claimed.
    Ready,
    /// A worker has a lease on it. When the lease has run out, it can be claimed.
    Running,
    /// It waits for a signal or a time, and holds nothing.
    Waiting,
    /// It has an outcome.
    Finished,
    /// It failed.
    Failed,
    /// It was cancelled before it had an outcome.
    Cancelled,
    /// It ended its worker's process too often. It keeps its journal and can be resumed.
    SetAside,
}

/// A run with its state.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StoredRun {
    /// Its id.
    pub id: RunId,
    /// The queue: the name of the agent.
    pub queue: Arc<str>,
    /// The owner of the run, such as an API key's name.
    pub account: Arc<str>,
    /// The state.
    pub status: RunState,
    /// The signal or time that it waits for, while it waits.
    pub waiting: Option<Waiting>,
    /// The task.
    pub input: RawJson,
    /// The outcome, once it has one.
    pub output: Option<RawJson>,
    /// Why it failed or was set aside.
    pub error: Option<String>,
    /// How often it was claimed since a step was last completed.
    pub attempt: u32,
    /// How often it was claimed.
    pub epoch: u64,
    /// The number of its last signal.
    pub signal_number: u64,
    /// The number of its last commit.
    pub commit_number: u64,
    /// The cost of its outermost steps, which includes the cost of the steps inside them.
    pub cost: Spending,
    /// When it was submitted, by the store's clock.
    pub submitted_at: Timestamp,
    /// The run that submitted it.
    pub parent: Option<RunId>,
}

/// The reason of a wait, and its place in the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Waiting {
    /// The kind of wait. If several steps wait for different things, it is the first of them in the order of
    /// [`WaitReason::ALL`].
    pub reason: WaitReason,
    /// The paths of the steps that wait.
    pub paths: Vec<String>,
    /// A sentence for people.
    pub note: String,
    /// The open calls of tools that the client runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<ClientCall>,
}

/// Why a run waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WaitReason {
    /// A step may have had its effect before a crash, and a person decides whether it is repeated.
    NeedsDecision,
    /// A client runs a tool and sends its result.
    ClientTool,
    /// A person approves or denies a call.
    Approval,
    /// Another program sends a named signal.
    Signal,
    /// The wait ends at a time.
    Timer,
}

/// A request for runs to carry on.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClaimRequest {
    /// The worker, a name that no other worker has.
    pub worker: Arc<str>,
    /// The queues to claim from.
    pub queues: Vec<Arc<str>>,
    /// Only this run; absent means any.
    pub run: Option<RunId>,
    /// The most runs to claim.
    pub limit: usize,
    /// How long the worker may write for them until it renews the lease.
    pub lease: Duration,
}

/// A claimed run, with its records and signals.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Claim {
    /// The run.
    pub run: StoredRun,
    /// The right to write for the run, sent with each commit.
    pub fence: Fence,
    /// The records of its steps.
    pub journal: Vec<StepRecord>,
    /// The signals that were not consumed yet, in order.
    pub signals: Vec<Signal>,
    /// The time of the claim by the store's clock. Timers of the run are measured against it.
    pub claimed_at: Timestamp,
}

/// Selects the runs to list.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RunQuery {
    /// Only runs with this status.
    pub status: Option<RunState>,
    /// Only runs of this account.
    pub account: Option<Arc<str>>,
    /// The most runs, newest first; absent means all.
    pub limit: Option<usize>,
}

impl QueuedRun {
    /// A run of the agent called `queue`, with a new id and without an idempotency key.
    pub fn new(queue: impl Into<Arc<str>>, input: RawJson) -> Self {
        let account = Arc::from("");
        Self { id: RunId::new(), queue: queue.into(), input, account, key: None, digest: 0, parent: None }
    }

    /// Sets the id.
    #[must_use]
    pub fn id(self, id: RunId) -> Self {
        Self { id, ..self }
    }

    /// Sets the key under which the same run may be submitted again by this account, and the digest of what is asked.
    #[must_use]
    pub fn key(self, account: impl Into<Arc<str>>, key: Option<String>, digest: u64) -> Self {
        Self { account: account.into(), key, digest, ..self }
    }

    /// The stored form of a new run.
    pub fn into_stored(self, submitted_at: Timestamp) -> StoredRun {
        StoredRun {
            id: self.id,
            queue: self.queue,
            account: self.account,
            status: RunState::Ready,
            waiting: None,
            input: self.input,
            output: None,
            error: None,
            attempt: 0,
            epoch: 0,
            signal_number: 0,
            commit_number: 0,
            cost: Spending::default(),
            submitted_at,
            parent: self.parent,
        }
    }
}

impl Submitted {
    /// The id of the run.
    pub const fn id(self) -> RunId {
        match self {
            Self::New(id) | Self::Same(id) | Self::Clash(id) => id,
        }
    }
}

impl RunState {
    /// All states.
    pub const ALL: [Self; 7] =
        [Self::Ready, Self::Running, Self::Waiting, Self::Finished, Self::Failed, Self::Cancelled, Self::SetAside];

    /// A stable name for tables, logs and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::SetAside => "set_aside",
        }
    }

    /// Whether it will not go on by itself. A run that failed or was set aside can be resumed.
    pub const fn is_ended(self) -> bool {
        match self {
            Self::Finished | Self::Failed | Self::Cancelled | Self::SetAside => true,
            Self::Ready | Self::Running | Self::Waiting => false,
        }
    }
}

impl WaitReason {
    /// All reasons.
    pub const ALL: [Self; 5] = [Self::NeedsDecision, Self::ClientTool, Self::Approval, Self::Signal, Self::Timer];

    /// A stable name for logs and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NeedsDecision => "needs_decision",
            Self::ClientTool => "client_tool",
            Self::Approval => "approval",
            Self::Signal => "signal",
            Self::Timer => "timer",
        }
    }
}

impl Waiting {
    /// Waits for this reason at the steps with these paths.
    pub fn new(reason: WaitReason, paths: Vec<String>, note: impl Into<String>) -> Self {
        Self { reason, paths, note: note.into(), calls: Vec::new() }
    }

    /// Sets the open calls of tools that the client runs.
    #[must_use]
    pub fn calls(self, calls: Vec<ClientCall>) -> Self {
        Self { calls, ..self }
    }
}

impl ClaimRequest {
    /// Claims at most `limit` runs from these queues for `worker`.
    pub fn new(worker: impl Into<Arc<str>>, queues: Vec<Arc<str>>, limit: usize, lease: Duration) -> Self {
        Self { worker: worker.into(), queues, run: None, limit, lease }
    }

    /// Claims only this run.
    #[must_use]
    pub fn run(self, run: RunId) -> Self {
        Self { run: Some(run), ..self }
    }
}

impl Claim {
    /// A claimed run. The time is that of this process until [`Claim::claimed_at`] sets another one.
    pub fn new(run: StoredRun, fence: Fence, journal: Vec<StepRecord>, signals: Vec<Signal>) -> Self {
        Self { run, fence, journal, signals, claimed_at: Timestamp::now() }
    }

    /// Sets the time of the claim by the store's clock.
    #[must_use]
    pub fn claimed_at(self, claimed_at: Timestamp) -> Self {
        Self { claimed_at, ..self }
    }
}

impl RunQuery {
    /// Only runs with this status.
    #[must_use]
    pub fn status(self, status: RunState) -> Self {
        Self { status: Some(status), ..self }
    }

    /// Only runs of this account.
    #[must_use]
    pub fn account(self, account: impl Into<Arc<str>>) -> Self {
        Self { account: Some(account.into()), ..self }
    }

    /// At most this many runs.
    #[must_use]
    pub fn limit(self, limit: usize) -> Self {
        Self { limit: Some(limit), ..self }
    }
}
