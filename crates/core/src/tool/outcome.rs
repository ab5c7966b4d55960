//! How tool calls ended.

use serde::{Deserialize, Serialize};

use crate::{
    Arguments, BudgetExceeded, JournalError, RawJson, StepRecord, StepState, ToolCall, ToolResult, ToolStatus,
};

/// How one tool call ended.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ToolCallOutcome {
    /// The result that the model reads.
    pub(crate) result: ToolResult,
    pub(crate) status: ToolStatus,
    /// Why the call failed, without content.
    pub(crate) reason: Option<String>,
    /// Identifies the tool and the arguments that it may read.
    pub(crate) signature: u64,
    /// An earlier call of the same turn is identical, and this is a copy of its result.
    pub(crate) is_duplicate: bool,
    /// The tool's output is the answer of the run.
    pub(crate) ends_run: bool,
    /// The budget that did not allow the call.
    pub(crate) used_up: Option<BudgetExceeded>,
}

impl StepRecord {
    /// The record of a tool call that is not made again. The model reads `why` as its error: for example, that it is not
    /// known whether the call had its effect.
    pub fn answered(mut self, why: impl Into<String>) -> Result<Self, JournalError> {
        let call = ToolCall::new("", self.name.as_str(), Arguments::default());
        let outcome = ToolCallOutcome::failed(&call, ToolStatus::Stopped, why);
        self.output = Some(RawJson::of(&outcome).map_err(JournalError::unavailable)?);
        self.state = StepState::Done;
        Ok(self)
    }
}

impl ToolCallOutcome {
    /// The recorded outcome of `call`.
    pub(super) fn of_call(mut self, call: &ToolCall) -> Self {
        self.result.call_id.clone_from(&call.id);
        self
    }

    pub(super) fn new(result: ToolResult, status: ToolStatus) -> Self {
        Self { result, status, reason: None, signature: 0, is_duplicate: false, ends_run: false, used_up: None }
    }

    /// A failure whose explanation for the model quotes no content.
    pub(super) fn failed(call: &ToolCall, status: ToolStatus, why: impl Into<String>) -> Self {
        let why = why.into();
        Self { reason: Some(why.clone()), ..Self::new(ToolResult::error(call, why), status) }
    }

    /// A call whose outcome cannot be recorded. The run ends with the error, or waits.
    pub(super) fn not_recorded(call: &ToolCall, error: &JournalError) -> Self {
        let status = if error.is_wait() { ToolStatus::Waiting } else { ToolStatus::Stopped };
        Self::failed(call, status, error.to_string())
    }

    /// The outcome of `call`, which is identical to this one.
    pub(super) fn duplicate_for(&self, call: &ToolCall) -> Self {
        let result = ToolResult { call_id: call.id.clone(), ..self.result.clone() };
        let used_up = self.used_up.clone();
        Self { is_duplicate: true, ends_run: self.ends_run, used_up, ..Self::new(result, self.status) }
    }
}
