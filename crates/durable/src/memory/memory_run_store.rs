//! A store of runs inside one process.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use brigade_core::{RawJson, RunId, StepRecord};
use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::{
    Answered, Approval, ApprovalAnswer, ApprovalQuery, Claim, ClaimRequest, Commit, CommitError, Committed, Fence,
    NewApproval, NewSignal, NextState, QueuedRun, Renewed, RunQuery, RunState, RunStore, RunStoreError, Signal,
    Signalled, StoredRun, Submitted, cost_of,
};

/// A store of runs inside one process, for tests and programs that do not need to survive its end. It grows with each run.
/// Clones share the runs.
#[derive(Debug, Clone, Default)]
pub struct MemoryRunStore(Arc<Mutex<Runs>>);

#[derive(Debug, Default)]
struct Runs {
    runs: BTreeMap<RunId, Entry>,
    /// The runs by the idempotency keys of their accounts.
    keys: BTreeMap<(Arc<str>, String), RunId>,
}

#[derive(Debug)]
struct Entry {
    run: StoredRun,
    digest: u64,
    /// When it can be claimed: the time since which it is ready, the end of the lease, or the end of the wait.
    due: Option<Instant>,
    worker: Arc<str>,
    steps: BTreeMap<String, StepRecord>,
    signals: Vec<StoredSignal>,
    approvals: Vec<StoredApproval>,
}

#[derive(Debug)]
struct StoredApproval {
    approval: Approval,
    expires: Option<Instant>,
}

#[derive(Debug)]
struct StoredSignal {
    signal: Signal,
    key: Option<String>,
    is_consumed: bool,
}

impl MemoryRunStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Locks the runs even if a thread panicked while it held the lock: every method checks before it changes.
    fn lock(&self) -> MutexGuard<'_, Runs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl RunStore for MemoryRunStore {
    async fn submit(&self, run: QueuedRun) -> Result<Submitted, RunStoreError> {
        let mut runs = self.lock();
        if let Some(key) = &run.key {
            let key = (Arc::clone(&run.account), key.clone());
            if let Some(known) = runs.keys.get(&key).copied() {
                let is_same = runs.runs.get(&known).is_some_and(|entry| entry.digest == run.digest);
                return Ok(if is_same { Submitted::Same(known) } else { Submitted::Clash(known) });
            }
            runs.keys.insert(key, run.id);
        }
        let (id, digest) = (run.id, run.digest);
        if runs.runs.contains_key(&id) {
            return Ok(Submitted::Same(id));
        }
        let run = run.into_stored(Timestamp::now());
        let due = Some(Instant::now());
        runs.runs.insert(id, Entry::new(run, digest, due));
        Ok(Submitted::New(id))
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Vec<Claim>, RunStoreError> {
        let now = Instant::now();
        let mut runs = self.lock();
        let mut due: Vec<_> = runs
            .runs
            .values_mut()
            .filter(|entry| request.run.is_none_or(|run| entry.run.id == run))
            .filter(|entry| request.queues.contains(&entry.run.queue) && entry.is_due(now))
            .collect();
        due.sort_by_key(|entry| entry.due);
        Ok(due.into_iter().take(request.limit).map(|entry| entry.claim(request, now)).collect())
    }

    async fn renew(&self, fences: &[Fence], lease: Duration) -> Result<Vec<Renewed>, RunStoreError> {
        let mut runs = self.lock();
        let renewed = fences.iter().map(|fence| match runs.runs.get_mut(&fence.run) {
            Some(entry) if entry.is_held(fence) => {
                entry.due = Instant::now().checked_add(lease);
                Renewed::Held(entry.run.signal_number)
            }
            _ => Renewed::Lost,
        });
        Ok(renewed.collect())
    }

    async fn commit(&self, commit: &Commit) -> Result<Committed, CommitError> {
        let mut runs = self.lock();
        match runs.runs.get_mut(&commit.fence.run) {
            Some(entry) => entry.commit(commit),
            None => Err(CommitError::Fenced),
        }
    }

    async fn signal(&self, run: RunId, signal: NewSignal) -> Result<Signalled, RunStoreError> {
        Ok(self.lock().runs.get_mut(&run).map_or(Signalled::Unknown, |entry| entry.signal(signal)))
    }

    async fn signals(&self, run: RunId) -> Result<Vec<Signal>, RunStoreError> {
        Ok(self.lock().runs.get(&run).map(Entry::open_signals).unwrap_or_default())
    }

    async fn request_approval(&self, approval: NewApproval) -> Result<Approval, RunStoreError> {
        let mut runs = self.lock();
        let entry = runs.runs.get_mut(&approval.run);
        Ok(entry.ok_or_else(|| RunStoreError::new("the run of the approval is not stored"))?.request_approval(approval))
    }

    async fn answer_approval(&self, id: &str, answer: ApprovalAnswer) -> Result<Answered, RunStoreError> {
        let mut runs = self.lock();
        let has_it = |entry: &&mut Entry| entry.approvals.iter().any(|stored| stored.approval.id == id);
        Ok(runs.runs.values_mut().find(has_it).map_or(Answered::Unknown, |entry| entry.answer(id, answer)))
    }

    async fn approvals(&self, query: &ApprovalQuery) -> Result<Vec<Approval>, RunStoreError> {
        let runs = self.lock();
        let of_run =
            |entry: &Entry| entry.approvals.iter().rev().map(|stored| entry.current(stored)).collect::<Vec<_>>();
        let all = runs.runs.values().rev().flat_map(of_run);
        let mut found: Vec<_> = all.filter(|approval| query.matches(approval)).collect();
        found.sort_by_key(|approval| std::cmp::Reverse(approval.requested_at));
        found.truncate(query.limit.unwrap_or(usize::MAX));
        Ok(found)
    }

    async fn resume(&self, run: RunId, removed: &[String]) -> Result<bool, RunStoreError> {
        let mut runs = self.lock();
        let Some(entry) = runs.runs.get_mut(&run) else { return Ok(false) };
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
        Ok(self.lock().runs.get(&run).map(|entry| entry.run.clone()))
    }

    async fn journal(&self, run: RunId) -> Result<Vec<StepRecord>, RunStoreError> {
        let runs = self.lock();
        Ok(runs.runs.get(&run).map(|entry| entry.steps.values().cloned().collect()).unwrap_or_default())
    }

    async fn list(&self, filter: &RunQuery) -> Result<Vec<StoredRun>, RunStoreError> {
        let runs = self.lock();
        let found = runs.runs.values().rev().map(|entry| &entry.run).filter(|run| {
            filter.status.is_none_or(|status| status == run.status)
                && filter.account.as_ref().is_none_or(|account| *account == run.account)
        });
        Ok(found.take(filter.limit.unwrap_or(usize::MAX)).cloned().collect())
    }
}

impl Entry {
    fn new(run: StoredRun, digest: u64, due: Option<Instant>) -> Self {
        let (steps, signals, approvals) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { run, digest, due, worker: Arc::from(""), steps, signals, approvals }
    }

    fn is_due(&self, now: Instant) -> bool {
        !self.run.status.is_ended() && self.due.is_some_and(|due| due <= now)
    }

    fn is_held(&self, fence: &Fence) -> bool {
        self.run.status == RunState::Running && self.run.epoch == fence.epoch && self.worker == fence.worker
    }

    fn claim(&mut self, request: &ClaimRequest, now: Instant) -> Claim {
        self.run.status = RunState::Running;
        self.run.waiting = None;
        self.run.epoch += 1;
        self.run.attempt += 1;
        self.worker = Arc::clone(&request.worker);
        self.due = now.checked_add(request.lease);
        let fence = Fence::new(self.run.id, self.run.epoch, Arc::clone(&self.worker));
        Claim::new(self.run.clone(), fence, self.steps.values().cloned().collect(), self.open_signals())
    }

    fn commit(&mut self, commit: &Commit) -> Result<Committed, CommitError> {
        let (number, last) = (commit.number, self.run.commit_number);
        let is_last_writer = self.run.epoch == commit.fence.epoch && self.worker == commit.fence.worker;
        // The repeated commit may be the one that ended the run.
        if is_last_writer && number == last && number > 0 {
            let goes_on = matches!(commit.next, NextState::Wait { .. }) && self.run.status == RunState::Running;
            return Ok(if goes_on { Committed::Signalled } else { Committed::Written });
        }
        if !self.is_held(&commit.fence) {
            return Err(CommitError::Fenced);
        }
        if number != last + 1 {
            return Err(CommitError::Diverged { number, last });
        }
        self.run.commit_number = number;
        for record in &commit.steps {
            self.steps.insert(record.path.clone(), record.clone());
        }
        if !commit.steps.is_empty() {
            self.run.cost = cost_of(self.steps.values());
        }
        for stored in self.signals.iter_mut().filter(|stored| commit.consumed.contains(&stored.signal.number)) {
            stored.is_consumed = true;
        }
        if commit.makes_progress() {
            self.run.attempt = 1;
        }
        if commit.erase {
            self.erase();
        }
        Ok(self.go_on(&commit.next, commit.lease))
    }

    fn erase(&mut self) {
        self.run.input = RawJson::empty_object();
        self.steps.values_mut().for_each(erase_step);
        self.signals.iter_mut().for_each(|stored| stored.signal.payload = RawJson::empty_object());
        for StoredApproval { approval, .. } in &mut self.approvals {
            approval.arguments = RawJson::empty_object();
            if let Some(answer) = &mut approval.answer {
                answer.arguments = None;
            }
        }
    }

    fn go_on(&mut self, next: &NextState, lease: Duration) -> Committed {
        match next {
            NextState::Continue => self.due = Instant::now().checked_add(lease),
            NextState::Release => {
                self.run.attempt = self.run.attempt.saturating_sub(1);
                self.make_ready();
            }
            NextState::Wait { seen, .. } if *seen != self.run.signal_number => {
                self.due = Instant::now().checked_add(lease);
                return Committed::Signalled;
            }
            NextState::Wait { waiting, within, .. } => {
                self.run.attempt = self.run.attempt.saturating_sub(1);
                self.run.status = RunState::Waiting;
                self.run.waiting = Some(waiting.clone());
                self.due = within.and_then(|within| Instant::now().checked_add(within));
            }
            NextState::Finish(output) => self.end(RunState::Finished, Some(output), None),
            NextState::Cancel(output) => self.end(RunState::Cancelled, Some(output), None),
            NextState::Fail(error) => self.end(RunState::Failed, None, Some(error)),
            NextState::SetAside(error) => self.end(RunState::SetAside, None, Some(error)),
        }
        Committed::Written
    }

    fn end(&mut self, status: RunState, output: Option<&RawJson>, error: Option<&String>) {
        self.run.status = status;
        self.run.output = output.cloned();
        self.run.error = error.cloned();
        self.due = None;
    }

    fn make_ready(&mut self) {
        self.run.status = RunState::Ready;
        self.run.waiting = None;
        self.due = Some(Instant::now());
    }

    fn signal(&mut self, signal: NewSignal) -> Signalled {
        let known = self.signals.iter().find(|stored| signal.key.is_some() && stored.key == signal.key);
        if let Some(StoredSignal { signal: known, .. }) = known {
            let is_same = known.kind == signal.kind && known.payload == signal.payload;
            return if is_same { Signalled::Same(known.number) } else { Signalled::Clash(known.number) };
        }
        // A run that was set aside or failed may be resumed, and then must know.
        if matches!(self.run.status, RunState::Finished | RunState::Cancelled) {
            return Signalled::Ended;
        }
        let number = self.wake();
        let stored = Signal::new(number, signal.kind, signal.payload);
        self.signals.push(StoredSignal { signal: stored, key: signal.key, is_consumed: false });
        Signalled::Stored(number)
    }

    /// Raises the signal number, and makes a waiting run ready.
    fn wake(&mut self) -> u64 {
        self.run.signal_number += 1;
        if self.run.status == RunState::Waiting {
            self.make_ready();
        }
        self.run.signal_number
    }

    fn request_approval(&mut self, new: NewApproval) -> Approval {
        let is_same = |stored: &&StoredApproval| {
            let known = &stored.approval;
            (&known.path, &known.tool, &known.sha256) == (&new.path, &new.tool, &new.sha256)
        };
        if let Some(known) = self.approvals.iter().find(is_same) {
            return self.current(known);
        }
        let expires = Instant::now().checked_add(new.expires_in);
        let (queue, account) = (Arc::clone(&self.run.queue), Arc::clone(&self.run.account));
        let approval = new.into_stored(queue, account, Timestamp::now());
        self.approvals.push(StoredApproval { approval: approval.clone(), expires });
        approval
    }

    /// The approval with its status at this time.
    fn current(&self, stored: &StoredApproval) -> Approval {
        let left = |expires: Instant| expires.saturating_duration_since(Instant::now());
        let time_left = stored.expires.map_or(Duration::MAX, left);
        stored.approval.clone().with_status(time_left, self.run.status.is_ended())
    }

    fn answer(&mut self, id: &str, answer: ApprovalAnswer) -> Answered {
        let Some(index) = self.approvals.iter().position(|stored| stored.approval.id == id) else {
            return Answered::Unknown;
        };
        let current = self.approvals.get(index).map(|stored| self.current(stored));
        if let Some(refusal) = current.and_then(|current| current.refusal(&answer)) {
            return refusal;
        }
        if let Some(stored) = self.approvals.get_mut(index) {
            stored.approval.answer = Some(answer);
            stored.approval.answered_at = Some(Timestamp::now());
        }
        self.wake();
        Answered::Stored
    }

    fn open_signals(&self) -> Vec<Signal> {
        let open = self.signals.iter().filter(|stored| !stored.is_consumed);
        open.map(|stored| stored.signal.clone()).collect()
    }
}

/// Erases the output of a step and its changes of shared values.
fn erase_step(record: &mut StepRecord) {
    record.output = None;
    let changes = serde_json::from_str::<Map<String, Value>>(record.changes.get()).ok();
    let erased = changes.and_then(|mut changes| changes.remove("shared").and_then(|_| RawJson::of(&changes).ok()));
    record.changes = erased.unwrap_or_else(|| record.changes.clone());
}

/// Whether one of the paths is the other, or inside it.
fn touches(one: &str, other: &str) -> bool {
    let is_inside = |path: &str, around: &str| path.strip_prefix(around).is_some_and(|rest| rest.starts_with('/'));
    one == other || is_inside(one, other) || is_inside(other, one)
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
