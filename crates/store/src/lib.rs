//! What outlives the process: sessions, notes, and the history of runs with what they cost, in one SQLite file.
//!
//! | what | type | seen as |
//! |---|---|---|
//! | the file | [`Database`] | opened once, shared by all below |
//! | conversations | [`SqliteMemory`] | [`Memory`](brigade_core::Memory) |
//! | long-term notes | [`SqliteRecall`], with an [`Embedder`](brigade_core::Embedder) by meaning, too | [`Recall`](brigade_core::Recall) |
//! | runs, events, money | [`History`] writes, [`Runs`] tells | [`Observer`](brigade_core::Observer), and [`Booked`] around a model |
//!
//! Everything is written by one thread in groups that share a commit, and read on connections of their own, so no task
//! ever blocks. What a call has answered is on disk. A file that is damaged, from a newer version or somebody else's is
//! refused and left as it is. One process writes it; others may look at its history with [`Runs::open`].
//!
//! ```
//! use std::sync::Arc;
//!
//! use brigade_core::{Agent, Budget, Event, Ledger, Run, Task, Window, testing::{ScriptedModel, Turn}};
//! use brigade_store::{Database, History, RunFilter, SqliteMemory};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("brigade.db");
//! let database = Database::open(path)?;
//! let memory = SqliteMemory::new(database.clone());
//! // What is kept of an event is the program's choice; a name is little.
//! let describe = |event: &Event| matches!(event, Event::RunStarted).then(|| "\"run_started\"".to_owned());
//! let history = History::start(database, describe).await?;
//!
//! // What a key has spent this month counts also after a restart.
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
mod sqlite;

pub use error::{Cause, StoreError};
pub use sqlite::database::{Database, DatabaseSettings};
pub use sqlite::history::booked::Booked;
pub use sqlite::history::history::{CutOff, Describe, History, HistorySettings};
pub use sqlite::history::runs::{EventInfo, RunFilter, RunInfo, RunStatus, Runs, TraceHistory};
pub use sqlite::history::usage::{UsageBy, UsageFilter, UsageLine};
pub use sqlite::notes::recall::{RecallSettings, SqliteRecall};
pub use sqlite::sessions::memory::{MemorySettings, RequestMemory, SqliteMemory};
pub use sqlite::sessions::session::{Conversation, Exchange, SessionFilter, SessionInfo};

#[cfg(any(test, feature = "testing"))]
pub mod testing;

/// A panic while the lock was held leaves whole values behind.
pub(crate) fn unpoisoned<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
