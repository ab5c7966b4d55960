//! Why a run ended, and which parts of it failed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a run ended. Reaching a limit is an outcome and not an error, so that work that was paid for is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The model finished its answer.
    Finished,
    /// The agent used all its turns.
    MaxTurns,
    /// A budget was exhausted.
    Budget,
    /// The deadline passed.
    Deadline,
    /// The run was cancelled.
    Cancelled,
    /// The agent repeated itself.
    LoopDetected,
    /// Agents delegated in a cycle, or one delegated the same task again and again.
    DelegationCycle,
    /// The model called too many tools that do not exist.
    UnknownToolLimit,
    /// The arguments of a tool call were cut off, even after the model was asked to send less.
    ToolArgumentsTruncated,
    /// The arguments of a tool call did not match the schema, even after the model was shown the error.
    ToolArgumentsInvalid,
    /// The model declined to answer.
    Refused,
    /// The answer was cut off at the limit of output tokens.
    Truncated,
    /// The model gave an empty answer.
    Empty,
    /// The answer did not match the schema, even after the model was asked again.
    InvalidOutput,
}

/// A part of a run that failed, while the run went on without it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct Degradation {
    /// The part: `worker:critic`, `model:claude-sonnet-4-5`, `tool:search`, `session`, `summary`, `budget`.
    pub part: String,
    /// What went wrong.
    pub reason: String,
}

impl Degradation {
    /// The failure of a part, for this reason.
    pub fn new(part: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { part: part.into(), reason: reason.into() }
    }
}

impl StopReason {
    /// A stable name for logs, metric labels and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::MaxTurns => "max_turns",
            Self::Budget => "budget",
            Self::Deadline => "deadline",
            Self::Cancelled => "cancelled",
            Self::LoopDetected => "loop_detected",
            Self::DelegationCycle => "delegation_cycle",
            Self::UnknownToolLimit => "unknown_tool_limit",
            Self::ToolArgumentsTruncated => "tool_arguments_truncated",
            Self::ToolArgumentsInvalid => "tool_arguments_invalid",
            Self::Refused => "refused",
            Self::Truncated => "truncated",
            Self::Empty => "empty",
            Self::InvalidOutput => "invalid_output",
        }
    }
}
