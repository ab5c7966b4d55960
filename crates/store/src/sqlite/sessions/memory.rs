//! Sessions in the database.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use async_trait::async_trait;
use brigade_core::{Memory, MemoryError, Message};
use tokio::sync::Mutex as AsyncMutex;

use super::session;
use crate::{
    Conversation, Database, Exchange, SessionFilter, SessionInfo, StoreError, sqlite::database::now_ms, unpoisoned,
};

/// Conversations that outlive the process.
///
/// ```
/// use brigade_core::{Memory, Message};
/// use brigade_store::{Database, SqliteMemory};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("brigade.db");
/// let memory = SqliteMemory::new(Database::open(&path)?);
/// memory.append("session-1", &[Message::user("I am Ada."), Message::assistant("Hello, Ada.")]).await?;
/// drop(memory);
///
/// let memory = SqliteMemory::new(Database::open(&path)?);
/// assert_eq!(memory.load("session-1").await?.len(), 2);
/// assert!(memory.delete("session-1").await?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SqliteMemory {
    database: Database,
    settings: MemorySettings,
    busy: Arc<Mutex<HashMap<String, Weak<AsyncMutex<()>>>>>,
}

/// How sessions are kept and shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemorySettings {
    /// How much of a conversation is loaded, in tokens estimated at four bytes each. Twice the default of
    /// [`brigade_core::ContextWindow`], which decides what a model is shown, so that it finds all it can use.
    pub window_tokens: u64,
    /// For how long a session is kept after it was last continued; for ever if absent.
    pub keep_for: Option<Duration>,
    /// How long a request waits for another one of the same session. Two minutes are a slow answer; who waits longer
    /// has given up.
    pub wait: Duration,
}

/// Sessions as one request sees them: see [`SqliteMemory::for_request`].
#[derive(Debug)]
pub struct RequestMemory {
    memory: SqliteMemory,
    key: Option<String>,
    seen: Mutex<HashMap<String, Seen>>,
}

/// A session that a request has loaded.
#[derive(Debug)]
struct Seen {
    version: u64,
    /// Keeps others out until the request is over.
    _turn: tokio::sync::OwnedMutexGuard<()>,
}

impl Default for MemorySettings {
    fn default() -> Self {
        Self { window_tokens: 200_000, keep_for: None, wait: Duration::from_mins(2) }
    }
}

impl SqliteMemory {
    /// The sessions in this database.
    pub fn new(database: Database) -> Self {
        Self::with_settings(database, MemorySettings::default())
    }

    /// The same with other settings.
    pub fn with_settings(database: Database, settings: MemorySettings) -> Self {
        Self { database, settings, busy: Arc::default() }
    }

    /// The sessions for one request: what it loads nobody else continues until it is done, as the others wait, and what
    /// it appends is refused if the session has gone on all the same ([`StoreError::Conflict`]). `key` names the
    /// request: sent twice, it is kept once. Drop it with the request.
    pub fn for_request(&self, key: Option<&str>) -> RequestMemory {
        RequestMemory { memory: self.clone(), key: key.map(str::to_owned), seen: Mutex::default() }
    }

    /// The end of a conversation, as much as the window holds, and which version of the session it is.
    pub async fn conversation(&self, session: &str) -> Result<Conversation, StoreError> {
        let (session, window) = (session.to_owned(), self.settings.window_tokens.saturating_mul(4));
        let oldest_ms = self.oldest_ms();
        self.database.read(move |connection| session::load(connection, &session, window, oldest_ms)).await
    }

    /// Adds an exchange, all of it or nothing. Answers the version of the session after it; a key that the session
    /// knows already changes nothing.
    pub async fn append_exchange(&self, session: &str, exchange: Exchange<'_>) -> Result<u64, StoreError> {
        let exchange = session::Written::of(session, exchange)?;
        let oldest_ms = self.oldest_ms();
        self.database.write(move |connection| session::append(connection, &exchange, oldest_ms)).await
    }

    /// Sessions, the last used first.
    pub async fn list(&self, filter: SessionFilter) -> Result<Vec<SessionInfo>, StoreError> {
        let oldest_ms = self.oldest_ms();
        self.database.read(move |connection| session::list(connection, &filter, oldest_ms)).await
    }

    /// All messages of a session from number `from` on, counted from 0, at most `limit`; for showing, not for models.
    pub async fn read(&self, session: &str, from: u64, limit: u32) -> Result<Vec<Message>, StoreError> {
        let session = session.to_owned();
        self.database.read(move |connection| session::read(connection, &session, from, limit)).await
    }

    /// Deletes a session for good: its rows are overwritten, large parts that no other session holds as well. Answers
    /// whether there was one.
    pub async fn delete(&self, session: &str) -> Result<bool, StoreError> {
        let session = session.to_owned();
        let deleted = self.database.write(move |connection| session::delete(connection, &session)).await?;
        self.database.empty_log().await?;
        Ok(deleted)
    }

    /// Deletes the sessions that were not continued for as long as they are kept, and answers how many. Expired
    /// sessions are not shown any more in any case; this makes room, so call it now and then.
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        let oldest_ms = self.oldest_ms();
        let mut deleted = 0;
        loop {
            // Little at a time, so that others get to write in between.
            let some = self.database.write(move |connection| session::sweep(connection, oldest_ms)).await?;
            deleted += some;
            if some == 0 {
                break;
            }
        }
        if deleted > 0 {
            self.database.empty_log().await?;
        }
        Ok(deleted)
    }

    /// Sessions last used before this are expired.
    fn oldest_ms(&self) -> i64 {
        let Some(keep_for) = self.settings.keep_for else { return i64::MIN };
        now_ms().saturating_sub(i64::try_from(keep_for.as_millis()).unwrap_or(i64::MAX))
    }

    /// Waits until no other request has the session.
    async fn turn(&self, session: &str) -> Result<tokio::sync::OwnedMutexGuard<()>, StoreError> {
        let turn = {
            let mut busy = unpoisoned(&self.busy);
            busy.retain(|_, turn| turn.strong_count() > 0);
            let known = busy.get(session).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let turn = Arc::new(AsyncMutex::new(()));
                busy.insert(session.to_owned(), Arc::downgrade(&turn));
                turn
            })
        };
        let waited = tokio::time::timeout(self.settings.wait, turn.lock_owned()).await;
        waited.map_err(|_| StoreError::SessionBusy(session.to_owned()))
    }
}

#[async_trait]
impl Memory for SqliteMemory {
    async fn load(&self, session: &str) -> Result<Vec<Message>, MemoryError> {
        Ok(self.conversation(session).await?.messages)
    }

    async fn append(&self, session: &str, messages: &[Message]) -> Result<(), MemoryError> {
        self.append_exchange(session, Exchange::of(messages)).await?;
        Ok(())
    }
}

#[async_trait]
impl Memory for RequestMemory {
    async fn load(&self, session: &str) -> Result<Vec<Message>, MemoryError> {
        // A request that loads twice has the session already.
        let known = unpoisoned(&self.seen).remove(session);
        let turn = match known {
            Some(seen) => seen._turn,
            None => self.memory.turn(session).await?,
        };
        let Conversation { messages, version } = self.memory.conversation(session).await?;
        unpoisoned(&self.seen).insert(session.to_owned(), Seen { version, _turn: turn });
        Ok(messages)
    }

    async fn append(&self, session: &str, messages: &[Message]) -> Result<(), MemoryError> {
        let after = unpoisoned(&self.seen).get(session).map(|seen| seen.version);
        let exchange = Exchange { messages, key: self.key.as_deref(), after };
        let version = self.memory.append_exchange(session, exchange).await?;
        if let Some(seen) = unpoisoned(&self.seen).get_mut(session) {
            seen.version = version;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
