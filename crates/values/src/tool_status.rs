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
    /// The call waits, for example until a person allows it, and is made when the run goes on.
    Waiting,
}

impl ToolStatus {
    /// A stable name for logs, metric labels and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Fallback => "fallback",
            Self::Error => "error",
            Self::Fatal => "fatal",
            Self::Timeout => "timeout",
            Self::Panic => "panic",
            Self::InvalidArguments => "invalid_arguments",
            Self::TruncatedArguments => "truncated_arguments",
            Self::Disabled => "disabled",
            Self::UnknownTool => "unknown_tool",
            Self::Stopped => "stopped",
            Self::Budget => "budget",
            Self::Waiting => "waiting",
        }
    }
}
