//! Persistent storage in one SQLite file: sessions, notes, durable runs, and the history of runs with their costs.
//!
//! | stores | type | used as |
//! |---|---|---|
//! | the file | [`Database`] | opened once, shared by all below |
//! | conversations | [`SqliteMemory`] | [`Memory`](brigade_core::Memory) |
//! | long-term notes | [`SqliteRecall`], optionally with an [`Embedder`](brigade_core::Embedder) | [`Recall`](brigade_notes::Recall) |
//! | runs, events, spending | [`History`], queried with [`RunHistory`] | [`Observer`](brigade_core::Observer), and [`WriteBarrier`] around a model |
//! | backups | [`StoreFile`] | |
//! | responses that clients may read and continue | [`SqliteResponses`] | |
//! | runs that survive a crash | [`SqliteRunStore`] | [`RunStore`](brigade_durable::RunStore) |
//!
//! With the feature `postgres`, `PostgresRunStore`, `PostgresMemory` and `PostgresRecall` keep durable runs, conversations and
//! notes in a PostgreSQL database that several processes share.
//!
//! One thread writes everything, in groups that share a commit; reads use connections of their own. So no task blocks,
//! and data is on disk when a call returns. A file that is damaged, from a newer version, or of another program is
//! refused and not changed. One process writes the file; others may read its history with [`RunHistory::open`].
//!
//! ```
//! use brigade_core::{Agent, Budget, Event, Ledger, Run, Task, Window, testing::{ScriptedModel, Turn}};
//! use brigade_store::{Database, History, RunFilter, SqliteMemory};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("brigade.db");
//! let database = Database::open(path)?;
//! let memory = SqliteMemory::new(database.clone());
//! let history = History::start(database, Event::clone).await?;
//!
//! // What a key has spent this month still counts after a restart.
//! let limit = Budget::unlimited().tokens(1_000_000).per(Window::Month);
//! let account = Ledger::root("ada's key", limit);
//! history.restore(&account, Some("ada's key")).await?;
//!
//! let model = ScriptedModel::new([Turn::text("Hello, Ada.")]);
//! let clerk = Agent::new("clerk", model).memory(memory.for_request(Some("request-1")));
//! let run = Run::builder().account(account).observer(history.of_account("ada's key")).build();
//! clerk.run_in(&run, Task::from("I am Ada.").session("session-1")).await?;
//!
//! history.flush().await?;
//! let runs = history.runs().list(RunFilter::default()).await?;
//! assert_eq!(runs[0].outcome.as_deref(), Some("finished"));
//! assert_eq!(memory.read("session-1", 0, 10).await?.len(), 2);
//! # Ok(())
//! # }
//! ```

mod error;
#[cfg(feature = "postgres")]
mod postgres;
mod sqlite;

pub use error::{ErrorCause, StoreError};
#[cfg(feature = "postgres")]
pub use postgres::{
    database::{PostgresDatabase, PostgresReport, PostgresSettings},
    notes::recall::PostgresRecall,
    runs::run_store::PostgresRunStore,
    sessions::memory::PostgresMemory,
};
pub use sqlite::database::{Database, DatabaseSettings, Erasure};
pub use sqlite::history::history::{History, HistorySettings, InterruptedWork};
pub use sqlite::history::idempotency::{KeyedRun, StoredKeys};
pub use sqlite::history::request_recorder::RequestRecorder;
pub use sqlite::history::run_history::{
    AgentModelCost, NumberedEvent, RunFilter, RunHistory, RunInfo, RunStatus, TraceHistory,
};
pub use sqlite::history::usage::{UsageBy, UsageFilter, UsageRow};
pub use sqlite::history::write_barrier::WriteBarrier;
pub use sqlite::notes::recall::{RecallSettings, SqliteRecall};
pub use sqlite::responses::responses::{SqliteResponses, StoredResponse};
pub use sqlite::runs::run_store::SqliteRunStore;
pub use sqlite::runs::stored_runs::StoredRuns;
pub use sqlite::sessions::locks::{SessionGuard, SessionLocks};
pub use sqlite::sessions::memory::{MemorySettings, RequestMemory, SqliteMemory};
pub use sqlite::sessions::session::{Conversation, Exchange, SessionFilter, SessionInfo};
pub use sqlite::store_file::{StoreFile, StoreReport, TableSize};

#[cfg(any(test, feature = "testing"))]
pub mod testing;

/// Locks a mutex. A panic while it was locked cannot have left a broken value behind.
pub(crate) fn unpoisoned<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
