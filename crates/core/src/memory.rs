//! Conversations that outlive a run.

use std::{collections::HashMap, fmt, sync::Mutex};

use async_trait::async_trait;

use crate::{Message, ledger::unpoisoned};

/// Keeps conversations across requests, by session.
#[async_trait]
pub trait Memory: fmt::Debug + Send + Sync + 'static {
    /// The conversation so far, oldest first; empty for a new session.
    async fn load(&self, session: &str) -> Result<Vec<Message>, MemoryError>;

    /// Adds the messages of one exchange, all of them or none.
    async fn append(&self, session: &str, messages: &[Message]) -> Result<(), MemoryError>;
}

/// Memory could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct MemoryError {
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Conversations in this process; they end with it.
#[derive(Debug, Default)]
pub struct LocalMemory {
    sessions: Mutex<HashMap<String, Vec<Message>>>,
}

impl MemoryError {
    /// What went wrong, and what to do about it.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None }
    }

    /// Keeps the cause.
    #[must_use]
    pub fn caused_by(self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..self }
    }
}

impl LocalMemory {
    /// The most messages kept of a session. Older exchanges are forgotten first; what a model is shown is far less.
    pub const MAX_MESSAGES: usize = 10_000;

    /// No sessions yet.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl Memory for LocalMemory {
    async fn load(&self, session: &str) -> Result<Vec<Message>, MemoryError> {
        Ok(unpoisoned(&self.sessions).get(session).cloned().unwrap_or_default())
    }

    async fn append(&self, session: &str, messages: &[Message]) -> Result<(), MemoryError> {
        let mut sessions = unpoisoned(&self.sessions);
        let kept = sessions.entry(session.to_owned()).or_default();
        kept.extend_from_slice(messages);
        let excess = kept.len().saturating_sub(Self::MAX_MESSAGES);
        kept.drain(..excess);
        Ok(())
    }
}
