//! What came of tool calls.

use crate::{BudgetExceeded, ToolCall, ToolResult, ToolStatus};

/// One call, done.
#[derive(Debug)]
pub struct Done {
    /// What the model gets to read.
    pub result: ToolResult,
    /// How it went.
    pub end: ToolStatus,
    /// Identifies the tool and its exact arguments; absent for a tool that is meant to be called with the same again.
    pub(crate) exact: Option<u64>,
    /// Identifies the tool and those arguments that its schema names.
    pub(crate) signature: u64,
    /// The same call stands before it in the same turn, and this is the result of that one.
    pub(crate) is_twin: bool,
    /// The tool's output is the answer of the run.
    pub ends_run: bool,
    /// The budget for want of which it was not run.
    pub(crate) used_up: Option<BudgetExceeded>,
}

impl Done {
    pub(super) fn new(result: ToolResult, end: ToolStatus) -> Self {
        Self { result, end, exact: None, signature: 0, is_twin: false, ends_run: false, used_up: None }
    }

    pub(super) fn failed(call: &ToolCall, end: ToolStatus, why: String) -> Self {
        Self::new(ToolResult::error(call, why), end)
    }

    /// The result of this call for another one that is the same.
    fn for_twin(&self, call: &ToolCall) -> Self {
        let result = ToolResult { call_id: call.id.clone(), ..self.result.clone() };
        let used_up = self.used_up.clone();
        Self { is_twin: true, ends_run: self.ends_run, used_up, ..Self::new(result, self.end) }
    }
}

/// Every call with its result, those too that were not run because another one is the same.
pub(super) fn with_twins(calls: &[&ToolCall], twins: &[Option<usize>], ran: Vec<Done>) -> Vec<Done> {
    let mut ran = ran.into_iter();
    let mut done: Vec<Done> = Vec::with_capacity(calls.len());
    for (call, twin) in calls.iter().zip(twins) {
        let next = match twin {
            Some(first) => done.get(*first).map(|first| first.for_twin(call)),
            None => ran.next(),
        };
        done.extend(next);
    }
    done
}
