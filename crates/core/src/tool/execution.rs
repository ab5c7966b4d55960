//! The execution of one tool call.

use std::{any::Any, error::Error as _, panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt;
use serde_json::Value;

use crate::{
    ErrorChain, Interruption, Run, Tool, ToolCall, ToolError, ToolOutput, ToolStatus, tool::outcome::ToolCallOutcome,
};

/// The result of a call that was started.
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

/// The outcome of a call that returned an error. Its message may quote content, so only its cause is a reason for logs.
pub(super) fn failed(call: &ToolCall, error: &ToolError, output_bytes: usize) -> ToolCallOutcome {
    let status = if error.is_fatal() { ToolStatus::Fatal } else { ToolStatus::Error };
    let reason = error.source().map(|cause| ErrorChain(cause).to_string());
    ToolCallOutcome { reason, ..ToolCallOutcome::failed(call, status, cut(error.to_string(), output_bytes)) }
}

/// The outcome of a call that panicked. Only a message that is a literal quotes nothing.
pub(super) fn panicked(call: &ToolCall, panic: &(dyn Any + Send)) -> ToolCallOutcome {
    let reason = panic.downcast_ref::<&str>().map(|&literal| literal.to_owned());
    let why = "The tool failed with an internal error.";
    ToolCallOutcome { reason, ..ToolCallOutcome::failed(call, ToolStatus::Panic, why) }
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
