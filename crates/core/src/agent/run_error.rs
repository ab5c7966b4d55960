//! Why a run failed.

use std::{error::Error, fmt, sync::Arc};

use crate::{
    CostSummary, DepthExceeded, ErrorChain, JournalError, MemoryError, ModelError, Run, ToolboxError, TraceId,
    Transcript, TranscriptError,
};

/// A run failed. The error keeps the conversation and the cost until then.
#[derive(Debug)]
pub struct RunError(Box<FailedRun>);

#[derive(Debug)]
struct FailedRun {
    cause: RunFailure,
    transcript: Transcript,
    cost: CostSummary,
    trace: TraceId,
    agent: Arc<str>,
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunFailure {
    /// The model did not answer, although every configured retry and fallback was tried.
    #[error("the model did not answer")]
    Model(#[source] ModelError),
    /// A tool or a required worker failed, and going on without it is pointless.
    #[error("{tool} failed: {reason}")]
    Tool {
        /// The tool's name.
        tool: String,
        /// What went wrong, in the words of the tool. They may quote arguments, so they are in no log.
        message: String,
        /// What went wrong, for logs.
        reason: String,
    },
    /// The session could not be loaded.
    #[error("the session could not be loaded")]
    Memory(#[source] MemoryError),
    /// The agent has an invalid tool or output schema.
    #[error("the agent cannot run")]
    Setup(#[source] ToolboxError),
    /// A group of agents failed for a reason of its own, such as too few answers.
    #[error(transparent)]
    Group(Box<dyn Error + Send + Sync>),
    /// A group has no agents.
    #[error("there is no agent to run; add one")]
    NothingToRun,
    /// Agents delegated too deep.
    #[error(transparent)]
    Depth(#[from] DepthExceeded),
    /// The run cannot go on with its journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A provider's reply does not fit the conversation.
    #[error("the conversation could not go on")]
    Transcript(#[from] TranscriptError),
}

impl RunError {
    pub(crate) fn new(run: &Run, cause: RunFailure, transcript: Transcript) -> Self {
        let (cost, trace, agent) = (run.ledger().summary(), run.trace(), Arc::clone(run.agent()));
        Self(Box::new(FailedRun { cause, transcript, cost, trace, agent }))
    }

    /// The failure of a run that had no conversation, for implementations of [`Runnable`](crate::Runnable).
    pub fn before(run: &Run, cause: impl Into<RunFailure>) -> Self {
        Self::new(run, cause.into(), Transcript::new())
    }

    /// Replaces the cost by all that `run` has spent. A group's run has spent more than the member that failed.
    pub(crate) fn of_run(mut self, run: &Run) -> Self {
        self.0.cost = run.ledger().summary();
        self
    }

    /// Returns why the run failed.
    pub fn cause(&self) -> &RunFailure {
        &self.0.cause
    }

    /// Returns the conversation until the failure. It is valid: [`Task::resume`](crate::Task::resume) continues it.
    pub fn transcript(&self) -> &Transcript {
        &self.0.transcript
    }

    /// Returns what the run spent before it failed.
    pub fn cost(&self) -> &CostSummary {
        &self.0.cost
    }

    /// Returns the trace id, which is on every log line of the run.
    pub fn trace(&self) -> TraceId {
        self.0.trace
    }

    /// Returns the path of the agent that failed, such as `desk/billing`.
    pub fn agent(&self) -> &str {
        &self.0.agent
    }

    /// Removes the conversation, for callers that keep errors of many runs in memory.
    #[must_use]
    pub fn without_transcript(mut self) -> Self {
        self.0.transcript = Transcript::new();
        self
    }

    /// Returns the error and its causes in one line.
    pub fn chain(&self) -> String {
        ErrorChain(self).to_string()
    }

    /// Returns the model error that made the run fail, if one did.
    pub fn model_error(&self) -> Option<&ModelError> {
        let RunFailure::Model(error) = &self.0.cause else { return None };
        Some(error)
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FailedRun { agent, cause, trace, cost, .. } = &*self.0;
        let agent = if agent.is_empty() { "the run" } else { agent };
        write!(f, "{agent}: {cause} (trace {}, spent {})", trace.short(), cost.total.total())
    }
}

impl Error for RunError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.cause.source()
    }
}
