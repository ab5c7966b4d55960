//! Exit codes.

use std::process::ExitCode;

use brigade_core::{Outcome, StopReason};

/// The exit code of the process. `--help` lists the codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The answer is complete.
    Finished = 0,
    /// Something failed; standard error says what.
    Failed = 1,
    // 2 is clap's, for an invalid command line.
    /// A limit was reached; the partial answer was printed.
    Partial = 3,
    /// The model declined to answer.
    Refused = 4,
    /// A second signal stopped the server before its runs had ended.
    Forced = 5,
    /// Some cost could not be written to the store.
    CostLost = 6,
    /// The run was cancelled.
    Cancelled = 130,
}

/// The list that `--help` shows.
pub const EXIT_CODES: &str = "\
Exit codes:
    0  the answer is complete
    1  something failed; standard error says what
    2  the command line is not valid
    3  a limit was reached; the partial answer was printed
    4  the model declined to answer
    5  a second signal stopped the server; running requests are lost
    6  some cost could not be written to the store; the log says why
  130  the run was cancelled";

impl From<&Outcome> for Exit {
    fn from(outcome: &Outcome) -> Self {
        match outcome.stop {
            StopReason::Finished => Self::Finished,
            StopReason::Refused => Self::Refused,
            StopReason::Cancelled => Self::Cancelled,
            StopReason::MaxTurns
            | StopReason::Budget
            | StopReason::Deadline
            | StopReason::LoopDetected
            | StopReason::DelegationCycle
            | StopReason::UnknownToolLimit
            | StopReason::ToolArgumentsTruncated
            | StopReason::ToolArgumentsInvalid
            | StopReason::Truncated
            | StopReason::Empty
            | StopReason::InvalidOutput => Self::Partial,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
