//! How a tool call ended.

use serde::{Deserialize, Serialize};

/// How a tool call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolStatus {
    /// The tool returned a result.
    Ok,
    /// The worker failed, and the text of its failure policy was returned.
    Fallback,
    /// The tool returned an error.
    Error,
    /// The tool returned an error that ends the run.
    Fatal,
    /// The tool did not return in time.
    Timeout,
    /// The tool panicked.
    Panic,
    /// The arguments were malformed, too large, or did not match the schema. The tool was not run.
    InvalidArguments,
    /// The arguments were cut off. The tool was not run.
    TruncatedArguments,
    /// The tool had failed too often in this run. It was not run again.
    Disabled,
    /// The agent does not have this tool.
    UnknownTool,
    /// The run was stopped before the tool returned.
    Stopped,
    /// The budget of tool calls was exhausted. The tool was not run.
    Budget,
}

names! { ToolStatus:
    Ok => "ok", Fallback => "fallback", Error => "error", Fatal => "fatal", Timeout => "timeout", Panic => "panic",
    InvalidArguments => "invalid_arguments", TruncatedArguments => "truncated_arguments", Disabled => "disabled",
    UnknownTool => "unknown_tool", Stopped => "stopped", Budget => "budget",
}
