//! Writes the steps of a claimed run to the store.

use std::{
    collections::BTreeSet,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use brigade_core::{Effect, Journal, JournalError, StepRecord, StepState};
use tokio::{sync::Mutex as AsyncMutex, time::Instant};

use super::lease::Lease;
use crate::{Commit, CommitError, Committed, Fence, NextState, RunStore, waiting::run_waits::RunWaits};

/// The journal of a claimed run. Steps that end at the same time share a commit.
#[derive(Debug)]
pub(crate) struct StoreJournal {
    store: Arc<dyn RunStore>,
    fence: Fence,
    lease: Arc<Lease>,
    records: Vec<StepRecord>,
    /// The paths of the calls that had to ask for an approval.
    approvals: BTreeSet<String>,
    /// The signals that steps use.
    waits: Arc<RunWaits>,
    pending: Mutex<Pending>,
    writer: AsyncMutex<Writer>,
}

/// Records that wait for the next commit.
#[derive(Debug, Default)]
struct Pending {
    records: Vec<StepRecord>,
    /// The numbers of the signals that were used by these steps.
    consumed: Vec<u64>,
    /// How many records were added in all.
    added: u64,
}

#[derive(Debug)]
struct Writer {
    /// The number of the last commit that was written.
    number: u64,
    /// How many records were written in all.
    written: u64,
    /// A commit that was sent, and whose answer is not known. Its caller may have been dropped while it waited.
    unclear: Option<SentCommit>,
}

/// A commit that was sent to the store.
#[derive(Debug, Clone)]
struct SentCommit {
    commit: Commit,
    /// How many records are written in all once this commit is written.
    written: u64,
}

/// How long a worker waits before it repeats a commit that the store could not take.
const RETRY_DELAY: Duration = Duration::from_millis(200);

impl StoreJournal {
    /// The journal of a run that has these records, and whose last commit has this number.
    pub(crate) fn new(
        store: Arc<dyn RunStore>,
        (fence, lease): (Fence, Arc<Lease>),
        (records, commit_number): (Vec<StepRecord>, u64),
        approvals: BTreeSet<String>,
        waits: Arc<RunWaits>,
    ) -> Self {
        let writer = AsyncMutex::new(Writer { number: commit_number, written: 0, unclear: None });
        Self { store, fence, lease, records, approvals, waits, pending: Mutex::default(), writer }
    }

    /// Commits the next state of the run. No step is in progress any more, so records of steps that began are left out if
    /// they were not written: such a step had no effect yet.
    pub(crate) async fn end(&self, next: NextState, consumed: Vec<u64>, erase: bool) -> Result<Committed, CommitError> {
        let mut writer = self.writer.lock().await;
        self.repeat_unclear(&mut writer).await?;
        self.pending().records.retain(|record| record.state != StepState::Began);
        self.pending().consumed.extend(consumed);
        let (commit, written) = self.next_commit(&writer, next);
        self.send(&mut writer, SentCommit { commit: commit.erase(erase), written }).await
    }

    /// Commits the records that a decision has changed.
    pub(crate) async fn decide(&self, steps: Vec<StepRecord>, consumed: Vec<u64>) -> Result<Committed, CommitError> {
        let mut writer = self.writer.lock().await;
        {
            let mut pending = self.pending();
            pending.records.extend(steps);
            pending.consumed.extend(consumed);
        }
        let (commit, written) = self.next_commit(&writer, NextState::Continue);
        self.send(&mut writer, SentCommit { commit, written }).await
    }

    async fn repeat_unclear(&self, writer: &mut Writer) -> Result<(), CommitError> {
        if let Some(sent) = writer.unclear.clone() {
            self.send(writer, sent).await?;
        }
        Ok(())
    }

    /// The commit of the pending records, and the number of all records that are then written.
    fn next_commit(&self, writer: &Writer, next: NextState) -> (Commit, u64) {
        let mut pending = self.pending();
        let commit = Commit::new(self.fence.clone(), writer.number + 1, next, self.lease.length());
        let commit = commit.steps(mem::take(&mut pending.records)).consumed(mem::take(&mut pending.consumed));
        (commit, pending.added)
    }

    /// Sends a commit, and repeats it while the store cannot take it and the lease lasts.
    async fn send(&self, writer: &mut Writer, sent: SentCommit) -> Result<Committed, CommitError> {
        writer.unclear = Some(sent.clone());
        loop {
            let now = Instant::now();
            match self.store.commit(&sent.commit).await {
                Ok(committed) => {
                    self.lease.renewed(now);
                    *writer = Writer { number: sent.commit.number, written: sent.written, unclear: None };
                    return Ok(committed);
                }
                Err(CommitError::Unavailable(error)) if self.lease.is_held() => {
                    tracing::warn!(run = %self.fence.run, "the store did not take a commit, which is sent again: {error}");
                    tokio::time::sleep(RETRY_DELAY).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Fails if a call that had to ask for an approval is made without one, because `ApprovedTool` was removed from its tool
    /// since then: an answer, which may be a denial, would have no effect.
    fn check_approvals(&self, record: &StepRecord) -> Result<(), JournalError> {
        let path = record.path.as_str();
        let own = Some(path).filter(|_| record.effect != Effect::Composite);
        let around = path.match_indices('/').filter_map(|(end, _)| {
            let (call, inside) = path.split_at_checked(end)?;
            (inside != "/call" && !inside.starts_with("/call/")).then_some(call)
        });
        let Some(call) = own.into_iter().chain(around).find(|call| self.approvals.contains(*call)) else {
            return Ok(());
        };
        let reason = format!("`{}` needed an approval when the call was made, and needs none now", record.name);
        Err(JournalError::Diverged { path: call.to_owned(), reason })
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Journal for StoreJournal {
    fn records(&self) -> Vec<StepRecord> {
        self.records.clone()
    }

    async fn write(&self, record: StepRecord) -> Result<(), JournalError> {
        // A worker that was frozen must not begin anything: another one may carry on the run by now.
        if record.state == StepState::Began && !self.lease.is_held() {
            return Err(JournalError::Fenced);
        }
        self.check_approvals(&record)?;
        let added = {
            let mut pending = self.pending();
            if record.state == StepState::Done {
                pending.consumed.extend(self.waits.used_at(&record.path));
            }
            pending.records.push(record);
            pending.added += 1;
            pending.added
        };
        let mut writer = self.writer.lock().await;
        let written = async {
            self.repeat_unclear(&mut writer).await?;
            if writer.written < added {
                let (commit, written) = self.next_commit(&writer, NextState::Continue);
                self.send(&mut writer, SentCommit { commit, written }).await?;
            }
            Ok(())
        };
        written.await.map_err(|error| match error {
            CommitError::Fenced => JournalError::Fenced,
            CommitError::Diverged { .. } | CommitError::Unavailable(_) => JournalError::unavailable(error),
        })
    }
}
