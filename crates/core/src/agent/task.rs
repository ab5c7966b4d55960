//! The input of an agent.

use std::sync::Arc;

use crate::{Message, Transcript};

/// What an agent is given to do.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Task {
    /// The question; absent to continue where the history ends.
    pub message: Option<Message>,
    /// What was said before.
    pub history: Transcript,
    /// The session whose conversation this continues, if the agent has a memory. A history given beside it takes the
    /// place of the stored one; what is said now is stored in any case.
    pub session: Option<Arc<str>>,
}

impl Task {
    /// Goes on where `history` ends.
    pub fn resume(history: Transcript) -> Self {
        Self { message: None, history, session: None }
    }

    /// Continues the conversation of this session.
    #[must_use]
    pub fn session(self, session: impl Into<Arc<str>>) -> Self {
        Self { session: Some(session.into()), ..self }
    }

    /// What was said before.
    #[must_use]
    pub fn history(self, history: Transcript) -> Self {
        Self { history, ..self }
    }
}

impl From<Message> for Task {
    fn from(message: Message) -> Self {
        Self { message: Some(message), ..Self::default() }
    }
}

impl From<&str> for Task {
    fn from(text: &str) -> Self {
        Message::user(text).into()
    }
}

impl From<String> for Task {
    fn from(text: String) -> Self {
        Message::user(text).into()
    }
}
