//! A store of runs inside one process.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use brigade_core::{RunId, StepRecord};
use tokio::time::Instant;

use super::entry::{Clock, Entry, touches};
use crate::{
    Answered, Approval, ApprovalAnswer, ApprovalQuery, Claim, ClaimRequest, Commit, CommitError, Committed, Fence,
    NewApproval, NewSignal, QueuedRun, Renewed, RunQuery, RunState, RunStore, RunStoreError, Signal, Signalled,
    StoredRun, Submitted, cost_of,
};

/// A store of runs inside one process, for tests and programs that do not need to survive its end. Clones share the runs.
/// It keeps each run, unless [`MemoryRunStore::keep_ended`] limits that.
#[derive(Debug, Clone)]
pub struct MemoryRunStore(Arc<Mutex<Runs>>);

#[derive(Debug)]
struct Runs {
    all: BTreeMap<RunId, Entry>,
    /// The runs by the idempotency keys of their accounts.
    keys: BTreeMap<(Arc<str>, String), RunId>,
    clock: Clock,
    /// The runs that have ended, the oldest first.
    ended: VecDeque<RunId>,
    max_ended: usize,
}

impl Default for MemoryRunStore {
    fn default() -> Self {
        let (all, keys, ended) = (BTreeMap::new(), BTreeMap::new(), VecDeque::new());
        let runs = Runs { all, keys, clock: Clock::start(), ended, max_ended: usize::MAX };
        Self(Arc::new(Mutex::new(runs)))
    }
}

impl MemoryRunStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps at most this many runs that have finished or were cancelled, and forgets the oldest ones. A program that does not
    /// end needs a limit. Runs that are at work, wait, failed or were set aside are always kept.
    #[must_use]
    pub fn keep_ended(self, max: usize) -> Self {
        self.lock().max_ended = max;
        self
    }

    /// Locks the runs even if a thread panicked while it held the lock: every method checks before it changes.
    fn lock(&self) -> MutexGuard<'_, Runs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Runs {
    /// Forgets the oldest ended runs, now that this one has ended.
    fn forget_after(&mut self, ended: RunId) {
        self.ended.push_back(ended);
        while self.ended.len() > self.max_ended {
            let Some(oldest) = self.ended.pop_front() else { return };
            self.all.remove(&oldest);
            self.keys.retain(|_, run| *run != oldest);
        }
    }
}

#[async_trait]
impl RunStore for MemoryRunStore {
    async fn submit(&self, run: QueuedRun) -> Result<Submitted, RunStoreError> {
        let mut runs = self.lock();
        if let Some(key) = &run.key {
            let key = (Arc::clone(&run.account), key.clone());
            if let Some(known) = runs.keys.get(&key).copied() {
                let is_same = runs.all.get(&known).is_some_and(|entry| entry.digest == run.digest);
                return Ok(if is_same { Submitted::Same(known) } else { Submitted::Clash(known) });
            }
            runs.keys.insert(key, run.id);
        }
        let (id, digest) = (run.id, run.digest);
        if runs.all.contains_key(&id) {
            return Ok(Submitted::Same(id));
        }
        let clock = runs.clock;
        runs.all.insert(id, Entry::new(run.into_stored(clock.now()), digest, clock));
        Ok(Submitted::New(id))
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Vec<Claim>, RunStoreError> {
        let now = Instant::now();
        let mut runs = self.lock();
        let mut due: Vec<_> = runs
            .all
            .values_mut()
            .filter(|entry| request.run.is_none_or(|run| entry.run.id == run))
            .filter(|entry| request.queues.contains(&entry.run.queue) && entry.is_due(now))
            .collect();
        due.sort_by_key(|entry| entry.due);
        Ok(due.into_iter().take(request.limit).map(|entry| entry.claim(request, now)).collect())
    }

    async fn renew(&self, fences: &[Fence], lease: Duration) -> Result<Vec<Renewed>, RunStoreError> {
        let mut runs = self.lock();
        let renewed = fences.iter().map(|fence| match runs.all.get_mut(&fence.run) {
            Some(entry) if entry.is_held(fence) => {
                entry.due = Instant::now().checked_add(lease);
                Renewed::Held(entry.run.signal_number)
            }
            _ => Renewed::Lost,
        });
        Ok(renewed.collect())
    }

    async fn commit(&self, commit: &Commit) -> Result<Committed, CommitError> {
        let (mut runs, id) = (self.lock(), commit.fence.run);
        let entry = runs.all.get_mut(&id).ok_or(CommitError::Fenced)?;
        let had_ended = entry.run.status.is_ended();
        let committed = entry.commit(commit)?;
        if !had_ended && matches!(entry.run.status, RunState::Finished | RunState::Cancelled) {
            runs.forget_after(id);
        }
        Ok(committed)
    }

    async fn signal(&self, run: RunId, signal: NewSignal) -> Result<Signalled, RunStoreError> {
        Ok(self.lock().all.get_mut(&run).map_or(Signalled::Unknown, |entry| entry.signal(signal)))
    }

    async fn signals(&self, run: RunId) -> Result<Vec<Signal>, RunStoreError> {
        Ok(self.lock().all.get(&run).map(Entry::open_signals).unwrap_or_default())
    }

    async fn request_approval(&self, approval: NewApproval) -> Result<Approval, RunStoreError> {
        let mut runs = self.lock();
        let entry = runs.all.get_mut(&approval.run);
        Ok(entry.ok_or_else(|| RunStoreError::new("the run of the approval is not stored"))?.request_approval(approval))
    }

    async fn answer_approval(&self, id: &str, answer: ApprovalAnswer) -> Result<Answered, RunStoreError> {
        let mut runs = self.lock();
        let has_it = |entry: &&mut Entry| entry.approvals.iter().any(|stored| stored.approval.id == id);
        Ok(runs.all.values_mut().find(has_it).map_or(Answered::Unknown, |entry| entry.answer(id, answer)))
    }

    async fn approvals(&self, query: &ApprovalQuery) -> Result<Vec<Approval>, RunStoreError> {
        let runs = self.lock();
        let of_run =
            |entry: &Entry| entry.approvals.iter().rev().map(|stored| entry.current(stored)).collect::<Vec<_>>();
        let all = runs.all.values().rev().flat_map(of_run);
        let mut found: Vec<_> = all.filter(|approval| query.matches(approval)).collect();
        found.sort_by_key(|approval| std::cmp::Reverse(approval.requested_at));
        found.truncate(query.limit.unwrap_or(usize::MAX));
        Ok(found)
    }

    async fn resume(&self, run: RunId, removed: &[String]) -> Result<bool, RunStoreError> {
        let mut runs = self.lock();
        let Some(entry) = runs.all.get_mut(&run) else { return Ok(false) };
        match entry.run.status {
            RunState::Failed | RunState::SetAside | RunState::Waiting => {}
            RunState::Ready | RunState::Running | RunState::Finished | RunState::Cancelled => return Ok(false),
        }
        entry.steps.retain(|path, _| !removed.contains(path));
        entry.approvals.retain(|stored| !removed.iter().any(|path| touches(path, &stored.approval.path)));
        entry.run.cost = cost_of(entry.steps.values());
        entry.run.attempt = 0;
        entry.run.error = None;
        entry.make_ready();
        Ok(true)
    }

    async fn find(&self, run: RunId) -> Result<Option<StoredRun>, RunStoreError> {
        Ok(self.lock().all.get(&run).map(|entry| entry.run.clone()))
    }

    async fn journal(&self, run: RunId) -> Result<Vec<StepRecord>, RunStoreError> {
        let runs = self.lock();
        Ok(runs.all.get(&run).map(|entry| entry.steps.values().cloned().collect()).unwrap_or_default())
    }

    async fn list(&self, filter: &RunQuery) -> Result<Vec<StoredRun>, RunStoreError> {
        let runs = self.lock();
        let found = runs.all.values().rev().map(|entry| &entry.run).filter(|run| {
            filter.status.is_none_or(|status| status == run.status)
                && filter.account.as_ref().is_none_or(|account| *account == run.account)
        });
        Ok(found.take(filter.limit.unwrap_or(usize::MAX)).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::run_store_contract;

    #[tokio::test(start_paused = true)]
    async fn the_memory_store_passes_the_contract() {
        run_store_contract(&MemoryRunStore::new(), tokio::time::sleep).await;
    }
}
