//! How the process ends.

use std::process::ExitCode;

use brigade_core::{Outcome, StopReason};

/// How the process ends. Scripts read the code; `--help` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The answer is whole.
    Finished = 0,
    /// Something failed; standard error says what.
    Failed = 1,
    // 2 is clap's: the command line is wrong.
    /// A limit was met; what there is of an answer was printed.
    Partial = 3,
    /// The model declined to answer.
    Refused = 4,
    /// The run was cancelled.
    Cancelled = 130,
}

/// The list that `--help` shows.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
    0  the answer is whole
    1  something failed; standard error says what
    2  the command line is wrong
    3  a limit was met; what there is of an answer was printed
    4  the model declined to answer
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
