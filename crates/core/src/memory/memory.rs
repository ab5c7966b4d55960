//! Conversations across requests.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;

use crate::{Message, Role, memory::recent::RecentMap, sync::unpoisoned};

/// Stores conversations across requests, by session. [`Agent::memory`](crate::Agent::memory) gives an agent a memory.
///
/// ```
/// use brigade_core::{LocalMemory, Memory, Message};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), brigade_core::MemoryError> {
/// let memory = LocalMemory::new();
/// memory.append("session-1", &[Message::user("I am Ada."), Message::assistant("Hello, Ada.")]).await?;
/// assert_eq!(memory.load("session-1").await?.len(), 2);
/// assert!(memory.load("session-2").await?.is_empty());
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Memory: fmt::Debug + Send + Sync + 'static {
    /// Loads the conversation of a session, oldest message first. A new session is empty.
    async fn load(&self, session: &str) -> Result<Vec<Message>, MemoryError>;

    /// Appends the messages of one exchange, all of them or none.
    async fn append(&self, session: &str, messages: &[Message]) -> Result<(), MemoryError>;
}

#[async_trait]
impl<M: Memory + ?Sized> Memory for Arc<M> {
    async fn load(&self, session: &str) -> Result<Vec<Message>, MemoryError> {
        (**self).load(session).await
    }

    async fn append(&self, session: &str, messages: &[Message]) -> Result<(), MemoryError> {
        (**self).append(session, messages).await
    }
}

/// A session or a note could not be stored, loaded or deleted.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct MemoryError {
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// A memory within this process.
///
/// It is bounded: a full memory evicts the least recently continued session, and a full session its oldest exchanges.
#[derive(Debug)]
pub struct LocalMemory {
    sessions: Mutex<RecentMap<String, Vec<Message>>>,
}

impl MemoryError {
    /// An error with a message that says what failed and what to do.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None }
    }

    /// Sets the cause.
    #[must_use]
    pub fn caused_by(self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..self }
    }
}

impl LocalMemory {
    /// The most sessions stored.
    pub const MAX_SESSIONS: usize = 10_000;
    /// The most messages stored per session. A model is sent far fewer.
    pub const MAX_MESSAGES: usize = 10_000;

    /// An empty memory.
    pub fn new() -> Self {
        Self { sessions: Mutex::new(RecentMap::new(Self::MAX_SESSIONS)) }
    }
}

impl Default for LocalMemory {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Memory for LocalMemory {
    async fn load(&self, session: &str) -> Result<Vec<Message>, MemoryError> {
        Ok(unpoisoned(&self.sessions).get(&session.to_owned()).cloned().unwrap_or_default())
    }

    async fn append(&self, session: &str, messages: &[Message]) -> Result<(), MemoryError> {
        let mut sessions = unpoisoned(&self.sessions);
        let stored = sessions.write(&session.to_owned());
        stored.extend_from_slice(messages);
        let excess = stored.len().saturating_sub(Self::MAX_MESSAGES);
        if excess > 0 {
            // The remaining messages must begin with a question, not with the answer to a removed one.
            let question = stored.iter().skip(excess).position(|message| message.role() == Role::User);
            stored.drain(..excess + question.unwrap_or(0));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sessions_are_separate_and_in_order() {
        let memory = LocalMemory::new();
        memory.append("a", &[Message::user("1"), Message::assistant("2")]).await.unwrap();
        memory.append("b", &[Message::user("other")]).await.unwrap();
        memory.append("a", &[Message::user("3")]).await.unwrap();
        let expected = [Message::user("1"), Message::assistant("2"), Message::user("3")];
        assert_eq!(memory.load("a").await.unwrap(), expected);
        assert!(memory.load("new").await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_long_session_loses_whole_exchanges() {
        let memory = LocalMemory::new();
        let exchange = [Message::user("q"), Message::assistant("a"), Message::assistant("b")];
        for _ in 0..LocalMemory::MAX_MESSAGES / 3 {
            memory.append("long", &exchange).await.unwrap();
        }
        memory.append("long", &exchange).await.unwrap();
        let kept = memory.load("long").await.unwrap();
        assert_eq!(kept.len(), LocalMemory::MAX_MESSAGES / 3 * 3);
        assert_eq!(kept[0].role(), Role::User);
    }
}
