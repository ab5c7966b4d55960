//! The journal of a run, which lets it go on after a crash.

use std::{error::Error, fmt, sync::Arc};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{Effect, RawJson, Spending};

/// Keeps the records of the steps of one run, so that the run survives the end of its process.
///
/// A step is one thing with an effect: a model turn, a tool call, a summary, the load of a session. A run with a journal
/// ([`RunBuilder::journal`](crate::RunBuilder::journal)) writes a record when a step begins and another one when it is done.
/// After a crash the same agent is run again with the same [run id](crate::RunBuilder::id) and a journal that returns these
/// records. Steps that are done are answered from them. The others are handled by their [`Effect`].
///
/// ```
/// use std::sync::{Arc, Mutex};
///
/// use brigade_core::{Agent, Journal, JournalError, Run, StepRecord, async_trait};
/// # use brigade_core::testing::{ScriptedModel, Turn};
///
/// /// Keeps the newest record of each path.
/// #[derive(Debug, Default)]
/// struct NewestRecords(Mutex<Vec<StepRecord>>);
///
/// #[async_trait]
/// impl Journal for NewestRecords {
///     fn records(&self) -> Vec<StepRecord> {
///         self.0.lock().unwrap().clone()
///     }
///
///     async fn write(&self, record: StepRecord) -> Result<(), JournalError> {
///         let mut records = self.0.lock().unwrap();
///         records.retain(|kept| kept.path != record.path);
///         records.push(record);
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), brigade_core::RunError> {
/// let model = ScriptedModel::new([Turn::text("42")]);
/// let (agent, journal) = (Agent::new("oracle", model.clone()), Arc::new(NewestRecords::default()));
/// let run = Run::builder().journal(journal.clone()).build();
/// agent.run_in(&run, "What is six times seven?").await?;
///
/// // Another process would do this with the stored id and the stored records.
/// let again = Run::builder().id(run.id()).journal(journal).build();
/// assert_eq!(agent.run_in(&again, "What is six times seven?").await?.text, "42");
/// assert_eq!(model.requests().len(), 1, "the turn was answered from the journal");
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Journal: fmt::Debug + Send + Sync + 'static {
    /// Returns the records from which the run goes on, at most one for each path. A new run has none. It is called once,
    /// when the run is built.
    fn records(&self) -> Vec<StepRecord>;

    /// Stores a record in place of an earlier one of the same path. Steps in parallel branches call this at the same time.
    /// When it returns, the record must survive a crash: the effect of the step follows, or the next step relies on it.
    ///
    /// # Errors
    ///
    /// The run fails with this error and starts no further step.
    async fn write(&self, record: StepRecord) -> Result<(), JournalError>;
}

/// The entry of a journal about one step.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StepRecord {
    /// The place of the step in the tree of calls, the same each time the run is replayed: `2` is the second turn, `2/tool:1`
    /// its first tool call, and `2/tool:1/critic/1` the first turn of the worker that was called.
    pub path: String,
    /// The name of the tool or the model, for people who read the journal.
    pub name: String,
    /// Decides what happens with a step that began and is not done.
    pub effect: Effect,
    /// Identifies what the step adds to the run. A step with another digest at the same path means that the program has
    /// changed.
    pub digest: u64,
    /// How far the step has come.
    pub state: StepState,
    /// The output of a step that is done. Keep the text as it is, because digests are made of it.
    pub output: Option<RawJson>,
    /// The cost of the step, with the workers below it. While the step is not done, reservations of calls in flight count as
    /// uncertain.
    pub cost: Spending,
    /// The changes of the step to the state that runs share: cost by agent and model, counters, failed parts. Its member
    /// `shared` is content, as the output is: the changes of [`Run::record_change`](crate::Run::record_change).
    pub changes: RawJson,
    /// How long the run had been at work when this was written, in milliseconds, without the time after a crash.
    #[serde(default)]
    pub worked_ms: u64,
}

/// How far a step has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// It may have had its effect.
    Began,
    /// It ended without an output, for example because the model did not answer. If the run goes on, it is done again.
    Failed,
    /// It has an output.
    Done,
}

/// A run cannot go on with its journal.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The program does something else than it did when the record was written.
    #[error(
        "step `{path}` is not the one that was recorded: {reason}; start a new run, or resume from before this step"
    )]
    Diverged {
        /// The path of the step.
        path: String,
        /// How the step differs from the record.
        reason: String,
    },
    /// A step with [`Effect::Once`] began before a crash. It is not known whether it had its effect, so it is not repeated.
    #[error(
        "it is not known whether `{name}` (step `{path}`) had its effect before a crash; decide whether it is repeated"
    )]
    NeedsDecision {
        /// The path of the step.
        path: String,
        /// The tool.
        name: String,
    },
    /// A step waits for this, for example for a person. The run goes on later, and does the step again then.
    #[error("{0}")]
    Waiting(String),
    /// Another worker carries on the run, or the store has lost it.
    #[error("another worker carries on this run, or it is not in its store any more, because the store was replaced")]
    Fenced,
    /// The journal could not be written.
    #[error("the journal could not be written")]
    Unavailable(#[source] Arc<dyn Error + Send + Sync>),
}

impl JournalError {
    /// The journal could not be written, for this reason.
    pub fn unavailable(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unavailable(error.into().into())
    }

    /// Whether the run has not failed, but waits and goes on later.
    pub const fn is_wait(&self) -> bool {
        matches!(self, Self::Waiting(_) | Self::NeedsDecision { .. })
    }

    pub(crate) fn diverged(path: &str, reason: impl Into<String>) -> Self {
        Self::Diverged { path: path.to_owned(), reason: reason.into() }
    }
}
