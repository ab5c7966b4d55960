//! The execution of one tool call.

use std::{any::Any, panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt;
use serde_json::Value;

use crate::{Interruption, Run, Tool, ToolCall, ToolError, ToolOutput, ToolStatus, tool::outcome::ToolCallOutcome};

/// What became of a call that was started.
pub(super) enum Execution {
    Returned(Result<ToolOutput, ToolError>),
    Panicked(Box<dyn Any + Send>),
    TimedOut,
}

/// Calls the tool. Panics are caught, and the call is dropped after `timeout`.
pub(super) async fn execution(tool: &dyn Tool, input: Value, run: &Run, timeout: Duration) -> Execution {
    let work = AssertUnwindSafe(tool.call(input, run)).catch_unwind();
    match tokio::time::timeout(timeout, work).await {
        Ok(Ok(result)) => Execution::Returned(result),
        Ok(Err(panic)) => Execution::Panicked(panic),
        Err(_) => Execution::TimedOut,
    }
}

pub(super) fn interrupted(call: &ToolCall, interruption: Interruption, run: &Run) -> ToolCallOutcome {
    let why = match interruption {
        Interruption::Cancelled if run.is_out_of_budget() => "The budget was used up before the tool was done.",
        Interruption::Cancelled => "The run was cancelled before the tool was done.",
        Interruption::Deadline => "The time of the run was up before the tool was done.",
    };
    ToolCallOutcome::failed(call, ToolStatus::Stopped, why)
}

/// Cuts text at a character boundary and appends a marker. The allocation of the long text is freed.
pub(super) fn cut(text: String, limit: usize) -> String {
    if text.len() <= limit {
        return text;
    }
    let kept = text.get(..text.floor_char_boundary(limit)).unwrap_or_default();
    format!("{kept}\n[cut: {limit} of {} bytes shown]", text.len())
}
