//! What outlives the process, where the configuration names a file for it: sessions, and what was spent.

use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use brigade_core::{Event, Ledger, Memory, Observer};
use brigade_observability::Entry;
use brigade_store::{Database, History, SqliteMemory};

/// Sessions and spending in one file.
#[derive(Debug)]
pub(crate) struct Store {
    memory: SqliteMemory,
    history: History,
}

impl Store {
    /// Opens the file, or makes it. What calls of a process that was cut off had reserved counts as spent.
    pub(crate) async fn open(path: &Path) -> anyhow::Result<Self> {
        let owned = path.to_owned();
        let database = tokio::task::spawn_blocking(move || Database::open(owned)).await?;
        let database = database.with_context(|| format!("the store {}", path.display()))?;
        let memory = SqliteMemory::new(database.clone());
        memory.sweep().await.context("expired sessions cannot be deleted")?;
        let history = History::start(database, describe).await.context("the history of runs cannot be kept")?;
        Ok(Self { memory, history })
    }

    /// Tells an account what was spent from it in its window before this process began; without a name, what all spent.
    pub(crate) async fn restore(&self, account: &Ledger, name: Option<&str>) -> anyhow::Result<()> {
        self.history.restore(account, name).await.context("earlier spending cannot be read")
    }

    /// Keeps the runs of whoever spends from this account.
    pub(crate) fn observer(&self, account: &Arc<str>) -> Arc<dyn Observer> {
        self.history.of_account(Arc::clone(account))
    }

    /// Sessions, for one request: others of the same session wait for their turn.
    pub(crate) fn memory(&self) -> impl Memory + use<> {
        self.memory.for_request(None)
    }

    /// Writes down what is left to write.
    pub(crate) async fn close(&self) {
        if let Err(error) = self.history.flush().await {
            tracing::error!("the last of the history is lost: {error}");
        }
    }
}

/// What is kept of an event: no prompts, no answers.
fn describe(event: &Event) -> Option<String> {
    Entry::of(event).and_then(|entry| serde_json::to_string(&entry).ok())
}
