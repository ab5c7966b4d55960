//! How a tool call went.

/// How a tool call went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ToolStatus {
    /// It worked.
    Ok,
    /// It failed and said why.
    Error,
    /// It failed in a way that makes going on pointless.
    Fatal,
    /// It took too long.
    Timeout,
    /// It panicked.
    Panic,
    /// The arguments were malformed, too large, or did not match the schema. The tool was not run.
    InvalidArguments,
    /// The arguments broke off before their end. The tool was not run.
    TruncatedArguments,
    /// It has failed too often in this run, and was not run again.
    Disabled,
    /// There is no such tool.
    UnknownTool,
    /// The run was stopped before it was done.
    Stopped,
    /// The budget of tool calls was used up. The tool was not run.
    Budget,
}

impl ToolStatus {
    /// A stable name for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
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
        }
    }
}
