//! The input of a run.

use std::sync::Arc;

use crate::{Message, Transcript};

/// What an agent is asked to do: a message, and the conversation before it.
///
/// ```
/// use brigade_core::Task;
///
/// let task = Task::from("And who pays for it?").session("ticket-4711");
/// assert_eq!(task.session.as_deref(), Some("ticket-4711"));
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Task {
    /// The question. Absent to continue where the history ends.
    pub message: Option<Message>,
    /// The conversation before the message.
    pub history: Transcript,
    /// The session that the task continues, if the agent has a memory. A history that is not empty replaces the stored
    /// one for this run. New messages are stored in either case.
    pub session: Option<Arc<str>>,
}

setters!(Task { history: Transcript });

impl Task {
    /// Continues where `history` ends.
    pub fn resume(history: Transcript) -> Self {
        Self { history, ..Self::default() }
    }

    /// Sets the session to continue.
    #[must_use]
    pub fn session(self, session: impl Into<Arc<str>>) -> Self {
        Self { session: Some(session.into()), ..self }
    }

    /// Returns the text of the message, or an empty text without one.
    pub fn text(&self) -> String {
        self.message.as_ref().map(|message| message.text().into_owned()).unwrap_or_default()
    }
}

impl<M: Into<Message>> From<M> for Task {
    fn from(message: M) -> Self {
        Self { message: Some(message.into()), ..Self::default() }
    }
}
