//! Sessions without a store.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use brigade_core::{LocalMemory, Memory, MemoryError, Message};
use brigade_store::{SessionGuard, SessionLocks};
use parking_lot::Mutex;

/// Sessions in the memory of this process, for all agents. Requests of the same session wait for each other, as with a
/// store. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct LocalSessions {
    memory: Arc<LocalMemory>,
    locks: Arc<SessionLocks>,
}

/// The sessions of one request. They are unlocked when it is dropped.
#[derive(Debug)]
struct RequestSessions {
    sessions: LocalSessions,
    locked: Mutex<HashMap<String, SessionGuard>>,
}

/// The time of a slow answer, as with a store.
const WAIT: Duration = Duration::from_mins(2);

impl LocalSessions {
    pub(crate) fn new() -> Self {
        Self { memory: Arc::default(), locks: Arc::new(SessionLocks::new(WAIT)) }
    }

    /// Sessions for one request.
    pub(crate) fn memory(&self) -> impl Memory + use<> {
        RequestSessions { sessions: self.clone(), locked: Mutex::default() }
    }
}

#[async_trait]
impl Memory for RequestSessions {
    async fn load(&self, session: &str) -> Result<Vec<Message>, MemoryError> {
        let is_locked = self.locked.lock().contains_key(session);
        if !is_locked {
            let guard = self.sessions.locks.lock(session).await?;
            self.locked.lock().insert(session.to_owned(), guard);
        }
        self.sessions.memory.load(session).await
    }

    async fn append(&self, session: &str, messages: &[Message]) -> Result<(), MemoryError> {
        self.sessions.memory.append(session, messages).await
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn requests_of_a_session_wait_for_each_other() {
        let sessions = LocalSessions::new();
        let (first, second, other) = (sessions.memory(), sessions.memory(), sessions.memory());
        assert!(first.load("s").await.unwrap().is_empty());
        assert!(first.load("s").await.unwrap().is_empty(), "it has the lock already");
        let mut waiting = second.load("s");
        assert!(waiting.as_mut().now_or_never().is_none());
        other.load("t").await.unwrap();
        first.append("s", &[Message::user("hello")]).await.unwrap();
        drop(first);
        assert_eq!(waiting.await.unwrap(), [Message::user("hello")]);
    }
}
