//! Why runs end, and what they had to do without.

use serde::{Deserialize, Serialize};

use crate::Interruption;

/// Why a run ended. Meeting a limit is an outcome, not an error: what was paid for is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The model said all it had to say.
    Finished,
    /// The agent used all its turns.
    MaxTurns,
    /// A budget was used up.
    Budget,
    /// The time was up.
    Deadline,
    /// Somebody cancelled the run.
    Cancelled,
    /// The agent repeated itself.
    LoopDetected,
    /// Agents asked each other in a circle, or one gave the same task to another again and again.
    DelegationCycle,
    /// The model asked too often for tools that it does not have.
    UnknownToolLimit,
    /// The model wrote arguments that broke off, also after it was told to send less.
    ToolArgumentsTruncated,
    /// The model wrote arguments that do not fit the tool, also after it was told what is wrong.
    ToolArgumentsInvalid,
    /// The model declined to answer.
    Refused,
    /// The answer was cut off at the limit of output tokens.
    Truncated,
    /// The model answered with nothing.
    Empty,
    /// The answer did not match the schema, also after being asked again.
    InvalidOutput,
}

/// A part of a run that did not work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Degradation {
    /// Which part: `worker:critic`, `model:claude-sonnet-4-5`, `tool:search`, `session`, `summary`, `budget`.
    pub part: String,
    /// What went wrong.
    pub reason: String,
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

impl From<Interruption> for StopReason {
    fn from(stopped: Interruption) -> Self {
        match stopped {
            Interruption::Cancelled => Self::Cancelled,
            Interruption::Deadline => Self::Deadline,
        }
    }
}
