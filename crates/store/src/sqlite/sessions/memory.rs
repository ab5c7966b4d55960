//! The session memory in SQLite.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use brigade_core::{Memory, MemoryError, Message};

use super::{
    locks::{SessionGuard, SessionLocks},
    session,
};
use crate::{
    Conversation, Database, Erasure, Exchange, SessionFilter, SessionInfo, StoreError, sqlite::database::now_ms,
    unpoisoned,
};

/// Stores conversations in SQLite.
///
/// ```
/// use brigade_core::{Memory, Message};
/// use brigade_store::{Database, Erasure, SqliteMemory};
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
/// assert_eq!(memory.delete("session-1").await?, Erasure::Complete);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SqliteMemory {
    database: Database,
    settings: MemorySettings,
    locks: Arc<SessionLocks>,
}

/// Settings of [`SqliteMemory`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemorySettings {
    /// The most tokens of a conversation to load, estimated at four bytes each. 200,000: twice the default of
    /// [`brigade_core::ContextWindow`], which selects what the model gets.
    pub window_tokens: u64,
    /// The retention of a session after its last use. For ever by default.
    pub keep_for: Option<Duration>,
    /// How long a request waits for another request with the same session. Two minutes by default, the time of a slow
    /// answer.
    pub wait: Duration,
}

/// The sessions of a store, for the memories of requests.
#[async_trait]
pub(crate) trait Sessions: std::fmt::Debug + Send + Sync {
    /// The newest part of a conversation.
    async fn conversation(&self, session: &str) -> Result<Conversation, StoreError>;

    /// Adds an exchange, and returns the new version of the session.
    async fn append_exchange(&self, session: &str, exchange: Exchange<'_>) -> Result<u64, StoreError>;
}

/// The memory for one request; see [`SqliteMemory::for_request`].
#[derive(Debug)]
pub struct RequestMemory {
    sessions: Arc<dyn Sessions>,
    locks: Arc<SessionLocks>,
    key: Option<String>,
    loaded: Mutex<HashMap<String, LoadedSession>>,
}

/// A session that the request has loaded.
#[derive(Debug)]
struct LoadedSession {
    version: u64,
    /// Makes other requests with this session wait until this request ends.
    guard: SessionGuard,
}

impl Default for MemorySettings {
    fn default() -> Self {
        Self { window_tokens: 200_000, keep_for: None, wait: Duration::from_mins(2) }
    }
}

impl MemorySettings {
    /// Sets the most tokens of a conversation to load.
    #[must_use]
    pub fn window_tokens(self, window_tokens: u64) -> Self {
        Self { window_tokens, ..self }
    }

    /// Sets the retention of a session after its last use; `None` is for ever.
    #[must_use]
    pub fn keep_for(self, keep_for: impl Into<Option<Duration>>) -> Self {
        Self { keep_for: keep_for.into(), ..self }
    }

    /// Sets how long a request waits for another request with the same session.
    #[must_use]
    pub fn wait(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }
}

impl SqliteMemory {
    /// The sessions in this database.
    pub fn new(database: Database) -> Self {
        Self::with_settings(database, MemorySettings::default())
    }

    /// The sessions in this database, with these settings.
    pub fn with_settings(database: Database, settings: MemorySettings) -> Self {
        let locks = Arc::new(SessionLocks::new(settings.wait));
        Self { database, settings, locks }
    }

    #[cfg(test)]
    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// The memory for one request. It locks the sessions that it loads until it is dropped, and other requests for them wait.
    /// It refuses to append to a session that was continued without the lock ([`StoreError::Conflict`]). `key` is the
    /// idempotency key of the request: the exchange of a repeated request is stored once.
    pub fn for_request(&self, key: Option<&str>) -> RequestMemory {
        RequestMemory::new(Arc::new(self.clone()), Arc::clone(&self.locks), key)
    }

    /// Loads the newest part of a conversation that fits in the window, with the version of the session.
    pub async fn conversation(&self, session: &str) -> Result<Conversation, StoreError> {
        let (session, window) = (session.to_owned(), self.settings.window_tokens.saturating_mul(4));
        let oldest_ms = self.oldest_ms();
        self.database.read(move |connection| session::load(connection, &session, window, oldest_ms)).await
    }

    /// Adds an exchange, atomically. Returns the new version of the session. An exchange with a known key changes nothing.
    pub async fn append_exchange(&self, session: &str, exchange: Exchange<'_>) -> Result<u64, StoreError> {
        let exchange = session::ExchangeRows::new(session, exchange)?;
        let oldest_ms = self.oldest_ms();
        self.database.write(move |connection| session::append(connection, &exchange, oldest_ms)).await
    }

    /// Lists sessions, the last used first.
    pub async fn list(&self, filter: SessionFilter) -> Result<Vec<SessionInfo>, StoreError> {
        let oldest_ms = self.oldest_ms();
        self.database.read(move |connection| session::list(connection, &filter, oldest_ms)).await
    }

    /// Reads messages of a session for display: at most `limit`, beginning with the message at index `from`.
    pub async fn read(&self, session: &str, from: u64, limit: u32) -> Result<Vec<Message>, StoreError> {
        let session = session.to_owned();
        self.database.read(move |connection| session::read(connection, &session, from, limit)).await
    }

    /// Deletes a session and overwrites its data in the file, except for large parts that other sessions contain too.
    /// The result says whether it is gone from the database's log, too.
    pub async fn delete(&self, session: &str) -> Result<Erasure, StoreError> {
        let session = session.to_owned();
        let is_known = self.database.write(move |connection| session::delete(connection, &session)).await?;
        // A second call for the same session asks whether its data is gone now.
        if is_known { self.database.erase_deleted().await } else { self.database.erase().await }
    }

    /// Deletes expired sessions, and returns their number. Reads never return expired sessions, so this only frees their
    /// space; call it now and then.
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        let oldest_ms = self.oldest_ms();
        let mut deleted = 0;
        loop {
            // A few at a time, so that other writers do not wait long.
            let some = self.database.write(move |connection| session::sweep(connection, oldest_ms)).await?;
            deleted += some;
            if some == 0 {
                break;
            }
        }
        if deleted > 0 {
            let _ = self.database.erase_deleted().await?;
        }
        Ok(deleted)
    }

    /// Sessions that were last used before this time, in milliseconds since 1970, have expired.
    fn oldest_ms(&self) -> i64 {
        let Some(keep_for) = self.settings.keep_for else { return i64::MIN };
        now_ms().saturating_sub(i64::try_from(keep_for.as_millis()).unwrap_or(i64::MAX))
    }
}

#[async_trait]
impl Memory for SqliteMemory {
    async fn load(&self, session: &str) -> Result<Vec<Message>, MemoryError> {
        Ok(self.conversation(session).await?.messages)
    }

    async fn append(&self, session: &str, messages: &[Message]) -> Result<(), MemoryError> {
        self.append_exchange(session, Exchange::new(messages)).await?;
        Ok(())
    }
}

#[async_trait]
impl Sessions for SqliteMemory {
    async fn conversation(&self, session: &str) -> Result<Conversation, StoreError> {
        self.conversation(session).await
    }

    async fn append_exchange(&self, session: &str, exchange: Exchange<'_>) -> Result<u64, StoreError> {
        self.append_exchange(session, exchange).await
    }
}

impl RequestMemory {
    pub(crate) fn new(sessions: Arc<dyn Sessions>, locks: Arc<SessionLocks>, key: Option<&str>) -> Self {
        Self { sessions, locks, key: key.map(str::to_owned), loaded: Mutex::default() }
    }
}

#[async_trait]
impl Memory for RequestMemory {
    async fn load(&self, session: &str) -> Result<Vec<Message>, MemoryError> {
        // A request that loads a session again already holds its lock.
        let known = unpoisoned(&self.loaded).remove(session);
        let guard = match known {
            Some(loaded) => loaded.guard,
            None => self.locks.lock(session).await?,
        };
        let Conversation { messages, version } = self.sessions.conversation(session).await?;
        unpoisoned(&self.loaded).insert(session.to_owned(), LoadedSession { version, guard });
        Ok(messages)
    }

    async fn append(&self, session: &str, messages: &[Message]) -> Result<(), MemoryError> {
        let after = unpoisoned(&self.loaded).get(session).map(|loaded| loaded.version);
        let exchange = Exchange { messages, key: self.key.as_deref(), after };
        let version = self.sessions.append_exchange(session, exchange).await?;
        if let Some(loaded) = unpoisoned(&self.loaded).get_mut(session) {
            loaded.version = version;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
