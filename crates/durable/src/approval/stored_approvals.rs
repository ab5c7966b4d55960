//! The approvals of a claimed run, in its store.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use brigade_core::{Run, RunId};
use tokio::{sync::Notify, time::Instant};

use super::approver::Ruling;
use crate::{Approval, ApprovalQuery, ApprovalStatus, NewApproval, RunStore, RunStoreError, WaitReason, Waiting};

/// The approvals of a claimed run.
pub(crate) struct StoredApprovals {
    store: Arc<dyn RunStore>,
    run: RunId,
    /// Approvals may have been answered in this process.
    answered: Arc<Notify>,
    /// Until when calls wait in this process before the run waits in the store.
    hold_until: Mutex<Option<Instant>>,
    waiting: Mutex<BTreeMap<String, WaitingCall>>,
    has_failed: AtomicBool,
}

/// A call that waits for an answer.
#[derive(Debug)]
struct WaitingCall {
    tool: String,
    time_left: Duration,
}

/// How often the store is asked for answers that were given in another process, while a call waits in this one.
const POLL: Duration = Duration::from_secs(1);

/// A call that waits in this process leaves this much time until the deadline of its agent.
const MARGIN: Duration = Duration::from_secs(1);

impl StoredApprovals {
    pub(crate) fn new(store: Arc<dyn RunStore>, run: RunId, answered: Arc<Notify>) -> Self {
        Self {
            store,
            run,
            answered,
            hold_until: Mutex::default(),
            waiting: Mutex::default(),
            has_failed: AtomicBool::new(false),
        }
    }

    pub(super) fn run(&self) -> RunId {
        self.run
    }

    /// Lets calls wait in this process for this long before the run waits in the store.
    pub(crate) fn hold(&self, hold: Duration) {
        *self.hold_until.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now().checked_add(hold);
    }

    /// What the run waits for, and for how long at most. Absent if the store failed.
    pub(crate) fn waiting(&self) -> Option<(Waiting, Option<Duration>)> {
        if self.has_failed.load(Ordering::Relaxed) {
            return None;
        }
        let calls = self.calls();
        let tools: Vec<_> = calls.values().map(|call| format!("`{}`", call.tool)).collect();
        let note = match tools.as_slice() {
            [tool] => format!("the call of {tool} waits for an approval"),
            _ => format!("{} calls wait for approvals: {}", tools.len(), tools.join(", ")),
        };
        let waiting = Waiting::new(WaitReason::Approval, calls.keys().cloned().collect(), note);
        Some((waiting, calls.values().map(|call| call.time_left).min()))
    }

    /// What is done with a call. Absent if it needs no approval and none was requested before.
    pub(super) async fn rule_on(&self, new: NewApproval, needs_approval: bool, run: &Run) -> Option<Ruling> {
        let path = new.path.clone();
        loop {
            let mut answered = std::pin::pin!(self.answered.notified());
            answered.as_mut().enable();
            let approval = match self.stored(&new, needs_approval).await {
                Ok(approval) => approval?,
                Err(error) => {
                    tracing::warn!(run = %self.run, "a call cannot ask for its approval: {error}");
                    self.has_failed.store(true, Ordering::Relaxed);
                    return Some(Ruling::Wait);
                }
            };
            if approval.status != ApprovalStatus::Pending {
                self.calls().remove(&path);
                return Some(Ruling::of(&approval));
            }
            let call = WaitingCall { tool: approval.tool.clone(), time_left: approval.time_left };
            self.calls().insert(path.clone(), call);
            let time = self.hold_left(run).min(approval.time_left);
            if time.is_zero() {
                return Some(Ruling::Wait);
            }
            let _ = tokio::time::timeout(time.min(POLL), answered).await;
        }
    }

    async fn stored(&self, new: &NewApproval, needs_approval: bool) -> Result<Option<Approval>, RunStoreError> {
        if needs_approval {
            return self.store.request_approval(new.clone()).await.map(Some);
        }
        // A person may have been asked before the rule was changed, and that answer counts.
        let known = self.store.approvals(&ApprovalQuery::default().run(self.run)).await?;
        let is_same =
            |known: &Approval| (&known.path, &known.tool, &known.sha256) == (&new.path, &new.tool, &new.sha256);
        Ok(known.into_iter().find(is_same))
    }

    /// How long a call of `run` may still wait in this process.
    fn hold_left(&self, run: &Run) -> Duration {
        let until = *self.hold_until.lock().unwrap_or_else(PoisonError::into_inner);
        let left = until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
        run.time_left().map_or(left, |time| left.min(time.saturating_sub(MARGIN)))
    }

    fn calls(&self) -> MutexGuard<'_, BTreeMap<String, WaitingCall>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for StoredApprovals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredApprovals")
            .field("run", &self.run)
            .field("waiting", &self.calls())
            .finish_non_exhaustive()
    }
}

impl Ruling {
    /// A person has denied the call.
    pub(super) fn denied(reason: Option<&str>) -> Self {
        let reason = reason.map(str::trim).filter(|reason| !reason.is_empty());
        let because = reason.map(|reason| format!(" Their reason: {reason}")).unwrap_or_default();
        Self::Refuse(format!("A person denied this call, so it was not made.{because}"))
    }

    /// What is done with a call whose approval was answered or has expired.
    fn of(approval: &Approval) -> Self {
        let answer = approval.answer.as_ref();
        match approval.status {
            ApprovalStatus::Approved => {
                let edited = answer.and_then(|answer| answer.arguments.as_ref());
                let arguments = edited.unwrap_or(&approval.arguments);
                serde_json::from_str(arguments.get()).map_or_else(
                    |error| Self::Refuse(format!("The approved arguments cannot be read: {error}. It was not made.")),
                    Self::Make,
                )
            }
            ApprovalStatus::Denied => Self::denied(answer.and_then(|answer| answer.reason.as_deref())),
            ApprovalStatus::Expired => {
                Self::Refuse("No person approved this call in time, so it was not made.".to_owned())
            }
            ApprovalStatus::Pending | ApprovalStatus::Closed => Self::Wait,
        }
    }
}
