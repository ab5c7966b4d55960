//! The trait of a store of runs.

use std::{error::Error, fmt, time::Duration};

use async_trait::async_trait;
use brigade_core::{RunId, StepRecord};

use crate::{
    Answered, Approval, ApprovalAnswer, ApprovalQuery, Claim, ClaimRequest, Commit, CommitError, Committed, Fence,
    NewApproval, NewSignal, QueuedRun, RunQuery, Signal, Signalled, StoredRun, Submitted,
};

/// Keeps runs, their journals and their signals. Each method is one transaction. All times are by the store's clock.
///
/// The states of a run:
///
/// ```text
/// submit ─► ready ─claim─► running ─commit─► finished, failed, cancelled, set aside
///             ▲               │  ▲
///             │            wait  └─claim (the lease has run out)
///             │               ▼
///             └──signal─── waiting
/// ```
///
/// `testing::run_store_contract` checks an implementation.
///
/// ```
/// use std::time::Duration;
///
/// use brigade_core::RawJson;
/// use brigade_durable::{ClaimRequest, Commit, MemoryRunStore, QueuedRun, NextState, RunState, RunStore, Submitted};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryRunStore::new();
/// let input = RawJson::parse(r#"{"text": "Is Kafka faster?"}"#.to_owned())?;
/// let Submitted::New(id) = store.submit(QueuedRun::new("desk", input)).await? else { panic!("the id is new") };
///
/// let lease = Duration::from_secs(15);
/// let claims = store.claim(&ClaimRequest::new("worker 1", vec!["desk".into()], 10, lease)).await?;
/// let fence = claims[0].fence.clone();
/// let outcome = RawJson::parse(r#"{"text": "It depends."}"#.to_owned())?;
/// store.commit(&Commit::new(fence, 1, NextState::Finish(outcome), lease)).await?;
/// assert_eq!(store.find(id).await?.map(|run| run.status), Some(RunState::Finished));
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait RunStore: fmt::Debug + Send + Sync + 'static {
    /// Stores a run, which is ready at once, unless its account has submitted a run under the same key.
    async fn submit(&self, run: QueuedRun) -> Result<Submitted, RunStoreError>;

    /// Claims runs: ready ones, waiting ones whose time has come, and running ones whose lease has run out. The run that is
    /// due longest comes first. A claim raises the epoch and the attempt of the run. Two workers never get the same run. Each
    /// claim has the time of the store's clock ([`Claim::claimed_at`]), against which the timers of the run are measured: a
    /// wait that has ended by the store's clock must have ended by this time too.
    async fn claim(&self, request: &ClaimRequest) -> Result<Vec<Claim>, RunStoreError>;

    /// Renews the leases of runs, and returns the result for each in the same order.
    async fn renew(&self, fences: &[Fence], lease: Duration) -> Result<Vec<Renewed>, RunStoreError>;

    /// Writes for a run, all of a commit or nothing. A commit that [makes progress](Commit::makes_progress) sets the
    /// attempt to 1. One by which the run is [released](crate::NextState::Release) or [waits](crate::NextState::Wait) lowers it
    /// by one.
    async fn commit(&self, commit: &Commit) -> Result<Committed, CommitError>;

    /// Sends a signal. It raises the signal number, and makes a waiting run ready, whatever it waits for. The numbers of the
    /// signals of a run are those of its signal number, so answers to approvals leave gaps in them. Its commits consume the
    /// signals that were used, in the transaction that stores the record of their step.
    async fn signal(&self, run: RunId, signal: NewSignal) -> Result<Signalled, RunStoreError>;

    /// Returns the signals that were not consumed yet, in order.
    async fn signals(&self, run: RunId) -> Result<Vec<Signal>, RunStoreError>;

    /// Stores an approval, unless the run has one for the same path, tool and arguments. Returns the stored one.
    ///
    /// # Errors
    ///
    /// There is no such run, or the store failed.
    async fn request_approval(&self, approval: NewApproval) -> Result<Approval, RunStoreError>;

    /// Stores the answer to an approval. It raises the signal number of the run, and makes a waiting run ready. The same
    /// answer again changes nothing, and another one is refused. So is an answer after a signal to cancel the run: of the
    /// two, the later one sees the earlier one.
    async fn answer_approval(&self, id: &str, answer: ApprovalAnswer) -> Result<Answered, RunStoreError>;

    /// Lists approvals, newest first.
    async fn approvals(&self, query: &ApprovalQuery) -> Result<Vec<Approval>, RunStoreError>;

    /// Makes a run ready that failed, was set aside or waits, after removing the records of these paths from its journal,
    /// and the approvals at these paths, inside them and around them. Its attempts start again. Returns false, and changes
    /// nothing, if it is in another state.
    async fn resume(&self, run: RunId, removed: &[String]) -> Result<bool, RunStoreError>;

    /// Returns a run.
    async fn find(&self, run: RunId) -> Result<Option<StoredRun>, RunStoreError>;

    /// Returns the records of the steps of a run, by path.
    async fn journal(&self, run: RunId) -> Result<Vec<StepRecord>, RunStoreError>;

    /// Lists runs, newest first.
    async fn list(&self, filter: &RunQuery) -> Result<Vec<StoredRun>, RunStoreError>;
}

/// The result of renewing a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewed {
    /// It was renewed. The run has got signals up to this number.
    Held(u64),
    /// The run was claimed by another worker, or is not running any more.
    Lost,
}

/// A store of runs failed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct RunStoreError {
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl RunStoreError {
    /// An error with a message that says what failed and what to do.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None }
    }

    /// Sets the cause.
    #[must_use]
    pub fn caused_by(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..self }
    }
}
