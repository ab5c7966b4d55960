//! A run in the memory of a process, with its journal, signals and approvals.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use brigade_core::{RawJson, StepRecord};
use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::{
    Answered, Approval, ApprovalAnswer, Claim, ClaimRequest, Commit, CommitError, Committed, Fence, NewApproval,
    NewSignal, NextState, RunState, Signal, SignalKind, Signalled, StoredRun, cost_of, waiting::run_waits::later,
};

/// The clock of a store. It follows tokio's clock, which a test can pause.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    started_at: Timestamp,
    started: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { started_at: Timestamp::now(), started: Instant::now() }
    }

    pub(super) fn now(&self) -> Timestamp {
        later(self.started_at, self.started.elapsed())
    }
}

/// A run with its journal, signals and approvals.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) run: StoredRun,
    pub(super) digest: u64,
    clock: Clock,
    /// When it can be claimed: the time since which it is ready, the end of the lease, or the end of the wait.
    pub(super) due: Option<Instant>,
    ended: Option<Instant>,
    worker: Arc<str>,
    pub(super) steps: BTreeMap<String, StepRecord>,
    signals: Vec<StoredSignal>,
    pub(super) approvals: Vec<StoredApproval>,
}

#[derive(Debug)]
pub(super) struct StoredApproval {
    pub(super) approval: Approval,
    expires: Option<Instant>,
}

#[derive(Debug)]
struct StoredSignal {
    signal: Signal,
    key: Option<String>,
    is_consumed: bool,
}

impl Entry {
    /// A new run, which is ready.
    pub(super) fn new(run: StoredRun, digest: u64, clock: Clock) -> Self {
        let (steps, signals, approvals) = (BTreeMap::new(), Vec::new(), Vec::new());
        let due = Some(Instant::now());
        Self { run, digest, clock, due, ended: None, worker: Arc::from(""), steps, signals, approvals }
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        !self.run.status.is_ended() && self.due.is_some_and(|due| due <= now)
    }

    pub(super) fn is_held(&self, fence: &Fence) -> bool {
        self.run.status == RunState::Running && self.run.epoch == fence.epoch && self.worker == fence.worker
    }

    pub(super) fn claim(&mut self, request: &ClaimRequest, now: Instant) -> Claim {
        self.run.status = RunState::Running;
        self.run.waiting = None;
        self.run.epoch += 1;
        self.run.attempt += 1;
        self.worker = Arc::clone(&request.worker);
        self.due = now.checked_add(request.lease);
        let fence = Fence::new(self.run.id, self.run.epoch, Arc::clone(&self.worker));
        let claim = Claim::new(self.run.clone(), fence, self.steps.values().cloned().collect(), self.open_signals());
        claim.claimed_at(self.clock.now())
    }

    pub(super) fn commit(&mut self, commit: &Commit) -> Result<Committed, CommitError> {
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
        (self.due, self.ended) = (None, Some(Instant::now()));
    }

    pub(super) fn make_ready(&mut self) {
        self.run.status = RunState::Ready;
        self.run.waiting = None;
        (self.due, self.ended) = (Some(Instant::now()), None);
    }

    pub(super) fn signal(&mut self, signal: NewSignal) -> Signalled {
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

    pub(super) fn request_approval(&mut self, new: NewApproval) -> Approval {
        let is_same = |stored: &&StoredApproval| {
            let known = &stored.approval;
            (&known.path, &known.tool, &known.sha256) == (&new.path, &new.tool, &new.sha256)
        };
        if let Some(known) = self.approvals.iter().find(is_same) {
            return self.current(known);
        }
        let expires = Instant::now().checked_add(new.expires_in);
        let (queue, account) = (Arc::clone(&self.run.queue), Arc::clone(&self.run.account));
        let approval = new.into_stored(queue, account, self.clock.now());
        self.approvals.push(StoredApproval { approval: approval.clone(), expires });
        approval
    }

    /// The approval with its status at this time.
    pub(super) fn current(&self, stored: &StoredApproval) -> Approval {
        let left = |expires: Instant| expires.saturating_duration_since(Instant::now());
        let time_left = stored.expires.map_or(Duration::MAX, left);
        let was_open = |ended: Instant| stored.expires.is_none_or(|expires| ended < expires);
        let is_cancel = |stored: &StoredSignal| stored.signal.kind == SignalKind::Cancel && !stored.is_consumed;
        let is_closed = self.ended.is_some_and(was_open) || self.signals.iter().any(is_cancel);
        stored.approval.clone().with_status(time_left, is_closed)
    }

    pub(super) fn answer(&mut self, id: &str, answer: ApprovalAnswer) -> Answered {
        let Some(index) = self.approvals.iter().position(|stored| stored.approval.id == id) else {
            return Answered::Unknown;
        };
        let current = self.approvals.get(index).map(|stored| self.current(stored));
        if let Some(refusal) = current.and_then(|current| current.refusal(&answer)) {
            return refusal;
        }
        let now = self.clock.now();
        if let Some(stored) = self.approvals.get_mut(index) {
            stored.approval.answer = Some(answer);
            stored.approval.answered_at = Some(now);
        }
        self.wake();
        Answered::Stored
    }

    pub(super) fn open_signals(&self) -> Vec<Signal> {
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
pub(super) fn touches(one: &str, other: &str) -> bool {
    let is_inside = |path: &str, around: &str| path.strip_prefix(around).is_some_and(|rest| rest.starts_with('/'));
    one == other || is_inside(one, other) || is_inside(other, one)
}
