//! Approvals: calls that a person must allow before they are made.

use std::{sync::Arc, time::Duration};

use brigade_core::{RawJson, RunId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// A request to allow a call.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NewApproval {
    /// The id, which cannot be guessed. It is not a credential: a server checks who answers.
    pub id: String,
    /// The run.
    pub run: RunId,
    /// The path of the call within the run.
    pub path: String,
    /// The tool.
    pub tool: String,
    /// The arguments, with their fields in alphabetical order.
    pub arguments: RawJson,
    /// The digest of the arguments.
    pub sha256: String,
    /// The JSON Schema of the arguments; edited ones are checked against it.
    pub schema: RawJson,
    /// After this time the call is denied. 24 hours by default: a person sees it on the next day.
    pub expires_in: Duration,
}

/// A stored request to allow a call, and the answer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Approval {
    /// The id.
    pub id: String,
    /// The run.
    pub run: RunId,
    /// The queue of the run: the name of its agent.
    pub queue: Arc<str>,
    /// The owner of the run.
    pub account: Arc<str>,
    /// The path of the call within the run.
    pub path: String,
    /// The tool.
    pub tool: String,
    /// The arguments; an empty object once the content of the run is erased.
    pub arguments: RawJson,
    /// The digest of the arguments.
    pub sha256: String,
    /// The JSON Schema of the arguments.
    pub schema: RawJson,
    /// When it was requested, by the store's clock.
    pub requested_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
    /// The time until then by the store's clock; zero if it has expired.
    pub time_left: Duration,
    /// The status.
    pub status: ApprovalStatus,
    /// The answer of a person; absent while there is none.
    pub answer: Option<ApprovalAnswer>,
    /// When it was answered.
    pub answered_at: Option<Timestamp>,
}

/// The answer of a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ApprovalAnswer {
    /// Whether the call is made.
    pub is_approved: bool,
    /// Other arguments to make the call with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<RawJson>,
    /// The digest of the other arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The name of the person, or of the person's API key.
    pub approver: Arc<str>,
    /// Why. The model reads the reason of a denial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The status of an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ApprovalStatus {
    /// It can be answered.
    Pending,
    /// The call is made.
    Approved,
    /// The call is not made.
    Denied,
    /// No answer came in time, so the call is not made.
    Expired,
    /// The run ended or was cancelled before anybody answered.
    Closed,
}

/// The result of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// It was stored. A waiting run is ready now.
    Stored,
    /// The same answer was given before.
    Same,
    /// Another answer was given before.
    Clash,
    /// The approval has expired.
    Expired,
    /// The run has ended, or is about to because it was cancelled.
    Ended,
    /// There is no such approval.
    Unknown,
}

/// Selects approvals.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ApprovalQuery {
    /// Only the one with this id.
    pub id: Option<String>,
    /// Only those of this run.
    pub run: Option<RunId>,
    /// Only those of the call at this path within its run.
    pub path: Option<String>,
    /// Only those with this status.
    pub status: Option<ApprovalStatus>,
    /// Only those of runs of these accounts; absent means all.
    pub accounts: Option<Vec<Arc<str>>>,
    /// The most approvals, newest first; absent means all.
    pub limit: Option<usize>,
}

const DEFAULT_EXPIRY: Duration = Duration::from_hours(24);

impl NewApproval {
    /// Asks whether `tool` may be called with these arguments.
    pub fn new(run: RunId, path: impl Into<String>, tool: impl Into<String>, arguments: &Value) -> Self {
        let (arguments, sha256) = canonical(arguments);
        let id = format!("apr_{}", Uuid::new_v4().simple());
        Self { id, ..Self::stored(run, path, tool, arguments, sha256) }
    }

    /// A request that was stored with these arguments and their digest, for implementations of
    /// [`RunStore`](crate::RunStore). It has no id.
    pub fn stored(
        run: RunId,
        path: impl Into<String>,
        tool: impl Into<String>,
        arguments: RawJson,
        sha256: impl Into<String>,
    ) -> Self {
        Self {
            id: String::new(),
            run,
            path: path.into(),
            tool: tool.into(),
            arguments,
            sha256: sha256.into(),
            schema: RawJson::empty_object(),
            expires_in: DEFAULT_EXPIRY,
        }
    }

    /// Sets the JSON Schema of the arguments.
    #[must_use]
    pub fn schema(self, schema: RawJson) -> Self {
        Self { schema, ..self }
    }

    /// Sets the time after which the call is denied.
    #[must_use]
    pub fn expires_in(self, expires_in: Duration) -> Self {
        Self { expires_in, ..self }
    }

    /// The stored form, for implementations of [`RunStore`](crate::RunStore).
    pub fn into_stored(self, queue: Arc<str>, account: Arc<str>, requested_at: Timestamp) -> Approval {
        let expires_at = jiff::SignedDuration::try_from(self.expires_in)
            .ok()
            .and_then(|time| requested_at.checked_add(time).ok())
            .unwrap_or(Timestamp::MAX);
        Approval {
            id: self.id,
            run: self.run,
            queue,
            account,
            path: self.path,
            tool: self.tool,
            arguments: self.arguments,
            sha256: self.sha256,
            schema: self.schema,
            requested_at,
            expires_at,
            time_left: self.expires_in,
            status: ApprovalStatus::Pending,
            answer: None,
            answered_at: None,
        }
    }
}

impl Approval {
    /// Sets the status from the answer and the time that is left, for implementations of [`RunStore`](crate::RunStore).
    /// `is_closed` says whether the run ended before the approval expired, or has got a signal to cancel it.
    #[must_use]
    pub fn with_status(self, time_left: Duration, is_closed: bool) -> Self {
        let status = match &self.answer {
            Some(answer) if answer.is_approved => ApprovalStatus::Approved,
            Some(_) => ApprovalStatus::Denied,
            None if is_closed => ApprovalStatus::Closed,
            None if time_left.is_zero() => ApprovalStatus::Expired,
            None => ApprovalStatus::Pending,
        };
        Self { time_left, status, ..self }
    }

    /// The result of this answer, if it is not stored.
    pub fn refusal(&self, answer: &ApprovalAnswer) -> Option<Answered> {
        match (self.status, &self.answer) {
            (ApprovalStatus::Expired, _) => Some(Answered::Expired),
            (ApprovalStatus::Closed, _) => Some(Answered::Ended),
            (_, Some(known)) if known.is_approved == answer.is_approved && known.sha256 == answer.sha256 => {
                Some(Answered::Same)
            }
            (_, Some(_)) => Some(Answered::Clash),
            (_, None) => None,
        }
    }
}

impl ApprovalAnswer {
    /// The call is made.
    pub fn approve(approver: impl Into<Arc<str>>) -> Self {
        Self { is_approved: true, arguments: None, sha256: None, approver: approver.into(), reason: None }
    }

    /// The call is not made.
    pub fn deny(approver: impl Into<Arc<str>>) -> Self {
        Self { is_approved: false, ..Self::approve(approver) }
    }

    /// Sets other arguments to make the call with.
    #[must_use]
    pub fn arguments(self, arguments: &Value) -> Self {
        let (arguments, sha256) = canonical(arguments);
        Self { arguments: Some(arguments), sha256: Some(sha256), ..self }
    }

    /// Whether the call is made with other arguments. True also when those were erased with the text of the run.
    pub fn is_edited(&self) -> bool {
        self.sha256.is_some()
    }

    /// Sets the reason.
    #[must_use]
    pub fn reason(self, reason: Option<String>) -> Self {
        Self { reason, ..self }
    }
}

impl ApprovalStatus {
    /// All statuses.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Approved, Self::Denied, Self::Expired, Self::Closed];

    /// A stable name for tables, logs and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Closed => "closed",
        }
    }
}

impl Answered {
    /// Why the answer has no effect; absent if it has.
    pub const fn refusal(self) -> Option<&'static str> {
        match self {
            Self::Stored | Self::Same => None,
            Self::Clash => Some("another answer was given before; it stays"),
            Self::Expired => Some("the approval has expired, so the call was denied; ask the agent again"),
            Self::Ended => Some("the run has ended or was cancelled, so the call is not made any more"),
            Self::Unknown => Some("there is not an approval with this id; list the ones that wait"),
        }
    }
}

impl ApprovalQuery {
    /// Only the approval with this id.
    #[must_use]
    pub fn id(self, id: impl Into<String>) -> Self {
        Self { id: Some(id.into()), ..self }
    }

    /// Only approvals of this run.
    #[must_use]
    pub fn run(self, run: RunId) -> Self {
        Self { run: Some(run), ..self }
    }

    /// Only approvals of the call at this path within its run.
    #[must_use]
    pub fn path(self, path: impl Into<String>) -> Self {
        Self { path: Some(path.into()), ..self }
    }

    /// Only approvals with this status.
    #[must_use]
    pub fn status(self, status: ApprovalStatus) -> Self {
        Self { status: Some(status), ..self }
    }

    /// Only approvals of runs of these accounts; absent means all.
    #[must_use]
    pub fn accounts(self, accounts: Option<Vec<Arc<str>>>) -> Self {
        Self { accounts, ..self }
    }

    /// At most this many approvals.
    #[must_use]
    pub fn limit(self, limit: usize) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// Whether an approval is selected, apart from the limit.
    pub fn matches(&self, approval: &Approval) -> bool {
        self.id.as_ref().is_none_or(|id| *id == approval.id)
            && self.run.is_none_or(|run| run == approval.run)
            && self.path.as_ref().is_none_or(|path| *path == approval.path)
            && self.status.is_none_or(|status| status == approval.status)
            && self.accounts.as_ref().is_none_or(|accounts| accounts.contains(&approval.account))
    }
}

/// Arguments with their fields in alphabetical order, and their digest.
pub(crate) fn canonical(arguments: &Value) -> (RawJson, String) {
    let mut sorted = arguments.clone();
    sorted.sort_all_objects();
    let text = sorted.to_string();
    let digest = Sha256::digest(text.as_bytes());
    let sha256 = digest.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    // A value always is JSON.
    (RawJson::parse(text).unwrap_or_else(|_| RawJson::empty_object()), sha256)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_order_of_fields_does_not_change_the_digest_but_a_value_does() {
        let digest = |value: Value| canonical(&value).1;
        assert_eq!(digest(json!({"a": 1, "b": {"c": 2, "d": 3}})), digest(json!({"b": {"d": 3, "c": 2}, "a": 1})));
        assert_ne!(digest(json!({"amount": 100})), digest(json!({"amount": 101})));
        assert_eq!(digest(json!({})), "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
    }
}
