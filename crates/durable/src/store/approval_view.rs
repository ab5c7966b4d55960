//! Approvals as clients see them.

use std::sync::Arc;

use brigade_core::{RawJson, RunId};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::{Approval, ApprovalAnswer, ApprovalStatus};

/// An approval as clients of a program see it: a JSON object without optional fields that have no value.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Approval")]
pub struct ApprovalView {
    id: String,
    #[schemars(extend("const" = "approval"))]
    object: &'static str,
    /// `expired`: no answer came in time, so the call is not made. `closed`: the run ended without an answer.
    #[schemars(extend("enum" = ApprovalStatus::ALL.map(ApprovalStatus::name)))]
    status: &'static str,
    /// The id of the run.
    #[schemars(with = "String", extend("format" = "uuid"))]
    run: RunId,
    /// The agent of the run.
    agent: Arc<str>,
    /// The name of the key that started the run.
    key: Arc<str>,
    /// The path of the call within the run.
    step: String,
    tool: String,
    /// Empty once the text of the run is erased.
    arguments: Value,
    /// The SHA-256 digest of the arguments.
    sha256: String,
    #[schemars(with = "String", extend("format" = "date-time"))]
    requested_at: Timestamp,
    #[schemars(with = "String", extend("format" = "date-time"))]
    expires_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    decided_at: Option<Timestamp>,
    /// The name of the key that answered, or `expiry`.
    #[serde(skip_serializing_if = "Option::is_none")]
    decided_by: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Whether the call is made with other arguments.
    edited: bool,
    /// The other arguments. Absent once the text of the run is erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    edited_arguments: Option<Value>,
}

impl From<Approval> for ApprovalView {
    fn from(approval: Approval) -> Self {
        let parsed = |json: &RawJson| serde_json::from_str(json.get()).unwrap_or_default();
        let is_expired = approval.status == ApprovalStatus::Expired;
        let answer = approval.answer;
        let edited = answer.as_ref().and_then(|answer| answer.arguments.as_ref());
        Self {
            object: "approval",
            status: approval.status.name(),
            run: approval.run,
            agent: approval.queue,
            key: approval.account,
            step: approval.path,
            tool: approval.tool,
            arguments: parsed(&approval.arguments),
            sha256: approval.sha256,
            requested_at: approval.requested_at,
            expires_at: approval.expires_at,
            decided_at: approval.answered_at.or(is_expired.then_some(approval.expires_at)),
            edited: answer.as_ref().is_some_and(ApprovalAnswer::is_edited),
            edited_arguments: edited.map(parsed),
            decided_by: match &answer {
                Some(answer) => Some(Arc::clone(&answer.approver)),
                None => is_expired.then(|| "expiry".into()),
            },
            reason: answer.and_then(|answer| answer.reason),
            id: approval.id,
        }
    }
}
