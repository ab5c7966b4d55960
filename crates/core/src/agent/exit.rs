//! Why the loop of an agent ends.

use crate::{
    Interruption, JournalError, RunFailure, TranscriptError, agent::run_end::RunEnd, agent::session::LoadError,
};

/// Why a step of the loop does not lead to the next step.
pub(super) enum Exit {
    /// The run ends with an outcome.
    Ended(RunEnd),
    /// The run was cancelled, or its deadline has passed. It ends with an outcome too.
    Interrupted(Interruption),
    /// The run fails.
    Failed(RunFailure),
}

impl From<Interruption> for Exit {
    fn from(interruption: Interruption) -> Self {
        Self::Interrupted(interruption)
    }
}

impl From<RunFailure> for Exit {
    fn from(failure: RunFailure) -> Self {
        Self::Failed(failure)
    }
}

impl From<JournalError> for Exit {
    fn from(error: JournalError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<TranscriptError> for Exit {
    fn from(error: TranscriptError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<LoadError> for Exit {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Interrupted(interruption) => Self::Interrupted(interruption),
            LoadError::Memory(error) => Self::Failed(RunFailure::Memory(error)),
            LoadError::Journal(error) => error.into(),
        }
    }
}
