//! The approvals of a claimed run, in its store.

use std::{sync::Arc, time::Duration};

use brigade_core::{Run, RunId};

use super::approver::CallAction;
use crate::{
    Approval, ApprovalQuery, ApprovalStatus, NewApproval, RunStoreError, WaitReason,
    waiting::run_waits::{OpenWait, RunWaits},
};

/// The approvals of a claimed run.
pub(crate) struct StoredApprovals {
    waits: Arc<RunWaits>,
    on_request: Option<OnRequest>,
}

/// Is called for each approval that is requested.
pub(crate) type OnRequest = Arc<dyn Fn(&Approval) + Send + Sync>;

/// What a call does that has no answer yet.
const WAITS: &str = "waits for an approval";

/// How long a call whose approval is closed waits until its run is cancelled: longer than a lease.
const CANCELLATION: Duration = Duration::from_secs(20);

impl StoredApprovals {
    pub(crate) fn new(waits: Arc<RunWaits>, on_request: Option<OnRequest>) -> Self {
        Self { waits, on_request }
    }

    pub(super) fn run(&self) -> RunId {
        self.waits.run()
    }

    /// What is done with a call. Absent if it needs no approval and none was requested before.
    pub(super) async fn action_for(&self, new: NewApproval, needs_approval: bool, run: &Run) -> Option<CallAction> {
        let (waits, path) = (&self.waits, new.path.clone());
        let mut known = None;
        loop {
            let woken = waits.listen();
            let approval = match self.stored(&new, needs_approval, known.as_deref()).await {
                Ok(approval) => approval?,
                Err(error) => {
                    waits.fail(&error);
                    return Some(CallAction::Wait("cannot ask for an approval, because the store failed"));
                }
            };
            // The stored one has another id if the call asked before.
            if known.is_none() && approval.id == new.id {
                self.on_request.iter().for_each(|on_request| on_request(&approval));
            }
            if approval.status == ApprovalStatus::Closed {
                // A worker learns that its run is to be cancelled when it renews the lease, at the latest.
                return Some(match tokio::time::timeout(CANCELLATION, run.cancelled()).await {
                    Ok(()) => CallAction::refuse("The run was cancelled before the call was made."),
                    Err(_) => CallAction::Wait(WAITS),
                });
            }
            if approval.status != ApprovalStatus::Pending {
                waits.close(&path);
                return Some(CallAction::of_approval(&approval));
            }
            known = Some(approval.id);
            let (name, time_left) = (approval.tool, Some(approval.time_left));
            let open = OpenWait { reason: WaitReason::Approval, name, time_left, call: None };
            if !waits.stays(&path, open, run, woken).await {
                return Some(CallAction::Wait(WAITS));
            }
        }
    }

    /// The approval of a call. `known` is its id, if it was requested by this process: then nothing is written.
    async fn stored(
        &self,
        new: &NewApproval,
        needs_approval: bool,
        known: Option<&str>,
    ) -> Result<Option<Approval>, RunStoreError> {
        let store = self.waits.store();
        if let Some(id) = known
            && let Some(approval) = store.approvals(&ApprovalQuery::default().id(id)).await?.pop()
        {
            return Ok(Some(approval));
        }
        if needs_approval {
            return store.request_approval(new.clone()).await.map(Some);
        }
        // A person may have been asked before the rule was changed, and that answer counts.
        let of_call = ApprovalQuery::default().run(self.run()).path(&*new.path);
        let is_same = |known: &Approval| (&known.tool, &known.sha256) == (&new.tool, &new.sha256);
        Ok(store.approvals(&of_call).await?.into_iter().find(is_same))
    }
}

impl CallAction {
    /// What is done with a call whose approval does not wait for an answer any more.
    fn of_approval(approval: &Approval) -> Self {
        match (&approval.answer, approval.status) {
            (Some(answer), _) => Self::of_answer(answer, &approval.arguments),
            (None, ApprovalStatus::Expired) => {
                Self::refuse("No person approved this call in time, so it was not made.")
            }
            // The run is about to end.
            (None, _) => Self::Wait(WAITS),
        }
    }
}
