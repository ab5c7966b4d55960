//! The session memory in PostgreSQL.

use std::sync::Arc;

use async_trait::async_trait;
use brigade_core::{Memory, MemoryError, Message};

use super::session;
use crate::{
    Conversation, Exchange, MemorySettings, PostgresDatabase, RequestMemory, SessionFilter, SessionInfo, SessionLocks,
    StoreError,
    postgres::values::{us, values},
    sqlite::sessions::{memory::Sessions, session::ExchangeRows},
};

/// Stores conversations in PostgreSQL.
///
/// Requests of one process with the same session wait for each other. If two processes continue a session at the same time,
/// the second one to end is refused with [`StoreError::Conflict`], so that no exchange answers a conversation that it has
/// not seen.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use brigade_core::{Memory, Message};
/// use brigade_store::{PostgresDatabase, PostgresMemory};
///
/// let memory = PostgresMemory::new(PostgresDatabase::open(&std::env::var("DATABASE_URL")?).await?);
/// memory.append("session-1", &[Message::user("I am Ada."), Message::assistant("Hello, Ada.")]).await?;
/// assert_eq!(memory.load("session-1").await?.len(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PostgresMemory {
    database: PostgresDatabase,
    settings: MemorySettings,
    locks: Arc<SessionLocks>,
}

impl PostgresMemory {
    /// The sessions in this database.
    pub fn new(database: PostgresDatabase) -> Self {
        Self::with_settings(database, MemorySettings::default())
    }

    /// The sessions in this database, with these settings.
    pub fn with_settings(database: PostgresDatabase, settings: MemorySettings) -> Self {
        let locks = Arc::new(SessionLocks::new(settings.wait));
        Self { database, settings, locks }
    }

    /// The memory for one request, which sees that no other request continues a session between its load and its append.
    /// `key` is the idempotency key of the request: the exchange of a repeated request is stored once.
    pub fn for_request(&self, key: Option<&str>) -> RequestMemory {
        RequestMemory::new(Arc::new(self.clone()), Arc::clone(&self.locks), key)
    }

    /// Loads the newest part of a conversation that fits in the window, with the version of the session.
    pub async fn conversation(&self, session: &str) -> Result<Conversation, StoreError> {
        let window = self.settings.window_tokens.saturating_mul(4);
        let connection = self.database.session().await?;
        let loaded = session::load(&connection, session, window, self.keep_us()).await;
        connection.end(loaded).await
    }

    /// Adds an exchange, atomically. Returns the new version of the session. An exchange with a known key changes nothing.
    pub async fn append_exchange(&self, session: &str, exchange: Exchange<'_>) -> Result<u64, StoreError> {
        let exchange = ExchangeRows::new(session, exchange)?;
        let connection = self.database.session().await?;
        let appended = session::append(&connection, &exchange, self.keep_us()).await;
        connection.end(appended).await
    }

    /// Lists sessions, the last used first.
    pub async fn list(&self, filter: SessionFilter) -> Result<Vec<SessionInfo>, StoreError> {
        let connection = self.database.session().await?;
        let listed = session::list(&connection, &filter, self.keep_us()).await;
        connection.done(listed)
    }

    /// Reads messages of a session for display: at most `limit`, beginning with the message at index `from`.
    pub async fn read(&self, session: &str, from: u64, limit: u32) -> Result<Vec<Message>, StoreError> {
        let connection = self.database.session().await?;
        let read = session::read(&connection, session, from, limit).await;
        connection.end(read).await
    }

    /// Deletes a session. Returns whether there was one. Its rows are gone from the files of the database after a vacuum, and from
    /// backups and replicas as these are deleted.
    pub async fn delete(&self, session: &str) -> Result<bool, StoreError> {
        let delete = "DELETE FROM brigade.sessions WHERE name = $1";
        Ok(self.database.execute(delete, values![session]).await? > 0)
    }

    /// Deletes expired sessions, and returns their number. Reads never return expired sessions, so this only frees their
    /// space; call it now and then, in any of the processes.
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        // A few at a time, so that others do not wait long.
        let delete = "DELETE FROM brigade.sessions WHERE id IN (
             SELECT id FROM brigade.sessions WHERE updated_us < brigade.now_us() - $1
             ORDER BY updated_us LIMIT 100 FOR UPDATE SKIP LOCKED)";
        let mut deleted = 0;
        loop {
            let some = self.database.execute(delete, values![self.keep_us()]).await?;
            deleted += some;
            if some == 0 {
                return Ok(deleted);
            }
        }
    }

    /// How long sessions are kept; absent means for ever.
    fn keep_us(&self) -> Option<i64> {
        self.settings.keep_for.map(us)
    }
}

#[async_trait]
impl Memory for PostgresMemory {
    async fn load(&self, session: &str) -> Result<Vec<Message>, MemoryError> {
        Ok(self.conversation(session).await?.messages)
    }

    async fn append(&self, session: &str, messages: &[Message]) -> Result<(), MemoryError> {
        self.append_exchange(session, Exchange::new(messages)).await?;
        Ok(())
    }
}

#[async_trait]
impl Sessions for PostgresMemory {
    async fn conversation(&self, session: &str) -> Result<Conversation, StoreError> {
        self.conversation(session).await
    }

    async fn append_exchange(&self, session: &str, exchange: Exchange<'_>) -> Result<u64, StoreError> {
        self.append_exchange(session, exchange).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::{memory_contract, postgres_database};

    async fn open(test: &str) -> Option<PostgresMemory> {
        let database = PostgresDatabase::open(&postgres_database(test).await?).await.unwrap();
        Some(PostgresMemory::new(database))
    }

    fn exchange(text: &str) -> [Message; 2] {
        [Message::user(text), Message::assistant("Yes.")]
    }

    #[tokio::test]
    async fn the_postgres_memory_passes_the_contract() {
        let Some(memory) = open("the_postgres_memory_passes_the_contract").await else { return };
        memory_contract(Arc::new(memory)).await;
    }

    #[tokio::test]
    async fn a_session_that_another_process_continued_is_not_overwritten() {
        let Some(memory) = open("a_session_that_another_process_continued_is_not_overwritten").await else { return };
        // Locks of its own, as in another process.
        let other = PostgresMemory::new(memory.database.clone());
        let (one, two) = (memory.for_request(Some("k")), other.for_request(None));
        one.load("s").await.unwrap();
        two.load("s").await.unwrap();
        one.append("s", &exchange("first")).await.unwrap();
        let late = two.append("s", &exchange("second")).await.unwrap_err();
        let cause = std::error::Error::source(&late).and_then(|cause| cause.downcast_ref::<StoreError>());
        assert!(matches!(cause, Some(StoreError::Conflict { seen: 0, found: 1, .. })), "{late:?}");
        let again = memory.append_exchange("s", Exchange::new(&exchange("first")).key("k")).await.unwrap();
        assert_eq!(again, 1, "the same request is stored once");
        assert_eq!(memory.read("s", 1, 1).await.unwrap(), [Message::assistant("Yes.")]);
        let names = |list: Vec<SessionInfo>| list.into_iter().map(|session| session.name).collect::<Vec<_>>();
        memory.append("t", &exchange("third")).await.unwrap();
        assert_eq!(names(memory.list(SessionFilter::default().limit(1)).await.unwrap()), ["t"]);
        let last = memory.list(SessionFilter::default().limit(1)).await.unwrap().remove(0);
        assert_eq!(names(memory.list(SessionFilter::default().after(last)).await.unwrap()), ["s"]);
        assert!(memory.delete("s").await.unwrap() && !memory.delete("s").await.unwrap());
        assert!(memory.load("s").await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn only_the_newest_exchanges_that_fit_are_loaded_and_expired_sessions_are_not() {
        let Some(memory) = open("only_the_newest_exchanges_that_fit_are_loaded_in_postgres").await else { return };
        for number in 0..20 {
            memory.append("s", &exchange(&format!("{number} {}", "x".repeat(400)))).await.unwrap();
        }
        let settings = MemorySettings::default().window_tokens(1_000);
        let small = PostgresMemory::with_settings(memory.database.clone(), settings);
        let loaded = small.conversation("s").await.unwrap();
        assert_eq!(loaded.version, 20);
        assert!((4..20).contains(&loaded.messages.len()), "{}", loaded.messages.len());
        assert!(loaded.messages[0].text().contains('x'), "it starts with a question");
        let settings = MemorySettings::default().keep_for(Duration::from_hours(1));
        let kept = PostgresMemory::with_settings(memory.database.clone(), settings);
        assert_eq!((kept.load("s").await.unwrap().len(), kept.sweep().await.unwrap()), (40, 0));
        let old = "UPDATE brigade.sessions SET updated_us = updated_us - 7200000000";
        memory.database.execute(old, &[]).await.unwrap();
        assert!(kept.load("s").await.unwrap().is_empty());
        assert_eq!(kept.sweep().await.unwrap(), 1);
        assert!(memory.load("s").await.unwrap().is_empty(), "it was deleted");
    }
}
