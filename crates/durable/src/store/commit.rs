//! Commits: the writes of a worker for a run.

use std::{sync::Arc, time::Duration};

use brigade_core::{Effect, RawJson, RunId, Spending, StepRecord, StepState};

use crate::{RunStoreError, Waiting};

/// The right to write for a run. A store refuses a commit whose fence is not that of the last claim.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fence {
    /// The run.
    pub run: RunId,
    /// The number of the claim.
    pub epoch: u64,
    /// The worker that claimed it.
    pub worker: Arc<str>,
}

/// Everything that one write changes, all of it or nothing.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Commit {
    /// The right to write.
    pub fence: Fence,
    /// The number of this commit within the run: one more than the last. A commit that repeats the last number changes
    /// nothing, so that a worker may repeat it after an unclear answer.
    pub number: u64,
    /// Records of steps. A record replaces an earlier one of the same path.
    pub steps: Vec<StepRecord>,
    /// The numbers of the signals that were used and must not be seen again.
    pub consumed: Vec<u64>,
    /// The state of the run after the commit.
    pub next: NextState,
    /// The lease from now on, if the run goes on.
    pub lease: Duration,
    /// Whether the content of the run is erased, for a run that needs it no more: its input becomes an empty object, the
    /// outputs of its steps absent, as the member `shared` of their changes, and the payloads of its signals empty objects.
    pub erase: bool,
}

/// The state of a run after a commit. Exhaustive, because a store that does not know a state would lose the run.
#[derive(Debug, Clone)]
pub enum NextState {
    /// The worker goes on with it.
    Continue,
    /// Any worker may claim it at once. The claim that ends does not count as an attempt.
    Release,
    /// It waits for a signal, and for no longer than `within`. This holds only if no signal was sent after number `seen`:
    /// else the worker goes on with it, so that no signal is overlooked.
    Wait {
        /// What it waits for.
        waiting: Waiting,
        /// The number of the last signal that the worker knew of.
        seen: u64,
        /// The time after which it is ready again without a signal.
        within: Option<Duration>,
    },
    /// It has finished, with this outcome.
    Finish(RawJson),
    /// It has failed, for this reason.
    Fail(String),
    /// It was cancelled.
    Cancel(RawJson),
    /// It ended its worker's process too often, or for another reason must not be claimed until a person resumes it.
    SetAside(String),
}

/// The result of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// It was written, or had been before.
    Written,
    /// It was written, but the run does not wait, because it has signals that the worker has not seen.
    Signalled,
}

/// A commit was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// Another worker has claimed the run, or the run is not running any more. Nothing may be written for this claim again.
    #[error("another worker has claimed this run; stop the work on it here")]
    Fenced,
    /// The number is neither the next one nor the last one.
    #[error("commit {number} does not follow commit {last}; claim the run again")]
    Diverged {
        /// The number of the commit.
        number: u64,
        /// The number of the last commit.
        last: u64,
    },
    /// The store could not be reached or failed. Whether the commit was written is not known; repeat it.
    #[error(transparent)]
    Unavailable(#[from] RunStoreError),
}

impl Fence {
    /// The right of `worker` to write for a run that it claimed with this epoch.
    pub fn new(run: RunId, epoch: u64, worker: impl Into<Arc<str>>) -> Self {
        Self { run, epoch, worker: worker.into() }
    }
}

impl Commit {
    /// A commit without steps.
    pub fn new(fence: Fence, number: u64, next: NextState, lease: Duration) -> Self {
        Self { fence, number, steps: Vec::new(), consumed: Vec::new(), next, lease, erase: false }
    }

    /// Sets whether the content of the run is erased.
    #[must_use]
    pub fn erase(self, erase: bool) -> Self {
        Self { erase, ..self }
    }

    /// Sets the records of steps.
    #[must_use]
    pub fn steps(self, steps: Vec<StepRecord>) -> Self {
        Self { steps, ..self }
    }

    /// Sets the numbers of the signals that were used.
    #[must_use]
    pub fn consumed(self, consumed: Vec<u64>) -> Self {
        Self { consumed, ..self }
    }

    /// Whether it completes a step. Then the number of attempts of the run starts again.
    pub fn makes_progress(&self) -> bool {
        self.steps.iter().any(|record| record.state == StepState::Done)
    }
}

/// The cost of the outermost steps of a journal, for implementations of [`RunStore`](crate::RunStore). The steps inside a
/// delegation that is done are in its cost.
pub fn cost_of<'a>(records: impl Iterator<Item = &'a StepRecord> + Clone) -> Spending {
    let delegations: Vec<&str> = records
        .clone()
        .filter(|record| record.effect == Effect::Composite && record.state == StepState::Done)
        .map(|record| record.path.as_str())
        .collect();
    let is_inside =
        |path: &str| delegations.iter().any(|above| path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/')));
    let mut total = Spending::default();
    records.filter(|record| !is_inside(&record.path)).for_each(|record| total += record.cost);
    total
}
