//! Notes that are added to the tasks of an agent.

use std::fmt;

use async_trait::async_trait;

use crate::{MemoryError, Message, Run, Transcript};

/// Finds what is known about a task from earlier runs. [`Agent::notes`](crate::Agent::notes) adds it to each task of an
/// agent. The crate `brigade-notes` implements this trait for its long-term memory.
///
/// ```
/// use brigade_core::{MemoryError, Message, Run, TaskNotes, Transcript, async_trait};
///
/// /// Adds the opening hours to tasks that ask for them.
/// #[derive(Debug)]
/// struct OpeningHours;
///
/// #[async_trait]
/// impl TaskNotes for OpeningHours {
///     async fn find(&self, task: &Message, _: &Transcript, _: &Run) -> Result<Option<String>, MemoryError> {
///         Ok(task.text().contains("open").then(|| "Open from 8 to 17.".to_owned()))
///     }
/// }
/// ```
#[async_trait]
pub trait TaskNotes: fmt::Debug + Send + Sync + 'static {
    /// Returns the text to add to `task`, or `None` if there is none. `history` is the conversation before the task; it may
    /// contain earlier notes.
    ///
    /// # Errors
    ///
    /// The run goes on without notes and is degraded.
    async fn find(&self, task: &Message, history: &Transcript, run: &Run) -> Result<Option<String>, MemoryError>;
}
