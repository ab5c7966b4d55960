//! Why a group of agents failed.

use std::sync::Arc;

use brigade_core::{Run, RunError, RunFailure};

use crate::BusError;

/// Why a group of agents failed. It is the source in [`RunFailure::Group`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TeamError {
    /// Too few workers of a quorum answered.
    #[error("{answered} of {asked} workers answered, {needed} must")]
    Quorum {
        /// How many answered.
        answered: usize,
        /// How many must answer.
        needed: usize,
        /// How many were asked.
        asked: usize,
    },
    /// A remote agent could not be reached.
    #[error("the agent on the bus did not answer")]
    Bus(#[source] BusError),
    /// A remote agent failed.
    #[error("{name} failed: {message}")]
    Remote {
        /// The agent's name.
        name: Arc<str>,
        /// Its error message.
        message: String,
    },
}

impl TeamError {
    /// The failure of `run` for this reason.
    pub(crate) fn of(self, run: &Run) -> RunError {
        RunError::before(run, RunFailure::Group(Box::new(self)))
    }
}
