//! The approvals of a claimed run, in its store.

use std::sync::Arc;

use brigade_core::{Run, RunId};

use super::approver::Ruling;
use crate::{
    Approval, ApprovalQuery, ApprovalStatus, NewApproval, RunStoreError, WaitReason,
    waiting::run_waits::{OpenWait, RunWaits},
};

/// The approvals of a claimed run.
#[derive(Debug)]
pub(crate) struct StoredApprovals(Arc<RunWaits>);

impl StoredApprovals {
    pub(crate) fn new(waits: Arc<RunWaits>) -> Self {
        Self(waits)
    }

    pub(super) fn run(&self) -> RunId {
        self.0.run()
    }

    /// What is done with a call. Absent if it needs no approval and none was requested before.
    pub(super) async fn rule_on(&self, new: NewApproval, needs_approval: bool, run: &Run) -> Option<Ruling> {
        let (waits, path) = (&self.0, new.path.clone());
        loop {
            let woken = waits.listen();
            let approval = match self.stored(&new, needs_approval).await {
                Ok(approval) => approval?,
                Err(error) => {
                    waits.fail(&error);
                    return Some(Ruling::Wait);
                }
            };
            if approval.status != ApprovalStatus::Pending {
                waits.close(&path);
                return Some(Ruling::of(&approval));
            }
            let (name, time_left) = (approval.tool, Some(approval.time_left));
            let open = OpenWait { reason: WaitReason::Approval, name, time_left, call: None };
            if !waits.stays(&path, open, run, woken).await {
                return Some(Ruling::Wait);
            }
        }
    }

    async fn stored(&self, new: &NewApproval, needs_approval: bool) -> Result<Option<Approval>, RunStoreError> {
        let store = self.0.store();
        if needs_approval {
            return store.request_approval(new.clone()).await.map(Some);
        }
        // A person may have been asked before the rule was changed, and that answer counts.
        let known = store.approvals(&ApprovalQuery::default().run(self.run())).await?;
        let is_same =
            |known: &Approval| (&known.path, &known.tool, &known.sha256) == (&new.path, &new.tool, &new.sha256);
        Ok(known.into_iter().find(is_same))
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
