//! What outlives the process, where the configuration names a file for it: sessions, the history of runs, and what was
//! spent.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use brigade_core::{Degradation, Ledger, Memory, Observer, Spending};
use brigade_observability::mask_event;
use brigade_store::{
    Database, History, HistorySettings, MemorySettings, RecallSettings, RunHistory, SqliteMemory, SqliteRecall,
    StoreError, UsageBy, UsageFilter, WriteBarrier,
};

use crate::{
    config::{Loaded, Retention},
    health::providers::Check,
    runs::totals::Post,
};

/// Sessions, history and spending in one file. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    database: Database,
    memory: SqliteMemory,
    history: History,
}

/// Retention counts in days.
const SWEEP_INTERVAL: Duration = Duration::from_hours(1);

impl Store {
    /// Opens the file that the configuration names, if it names one.
    pub(crate) async fn of(loaded: &Loaded) -> anyhow::Result<Option<Self>> {
        let Some(path) = &loaded.config.store else { return Ok(None) };
        Self::open(&loaded.folder.join(path), &loaded.config.retention).await.map(Some)
    }

    /// Opens the file, or makes it. What calls of a process that was cut off had reserved counts as spent.
    async fn open(path: &Path, keep: &Retention) -> anyhow::Result<Self> {
        let owned = path.to_owned();
        let database = tokio::task::spawn_blocking(move || Database::open(owned)).await?;
        let database = database.with_context(|| format!("the store {}", path.display()))?;
        let settings = MemorySettings::default().keep_for(keep.sessions);
        let memory = SqliteMemory::with_settings(database.clone(), settings);
        let settings = HistorySettings::default().keep_events(keep.events).keep_runs(keep.runs);
        let history = History::start_with(database.clone(), mask_event, settings).await;
        let history = history.context("the history of runs cannot be kept")?;
        Ok(Self { database, memory, history })
    }

    /// Long-term memory.
    pub(crate) fn recall(&self, settings: RecallSettings) -> SqliteRecall {
        SqliteRecall::with_settings(self.database.clone(), settings)
    }

    /// Deletes what has expired, now and once an hour, for ever; `notes_for` is how long notes are kept. Nobody is shown
    /// it any more in any case.
    pub(crate) async fn sweep(self, notes_for: Option<Duration>) {
        let recall = self.recall(RecallSettings::default().keep_for(notes_for));
        loop {
            for swept in [self.memory.sweep().await, recall.sweep().await] {
                if let Err(error) = swept {
                    tracing::warn!("what has expired could not be deleted; it is tried again in an hour: {error}");
                }
            }
            tokio::time::sleep(SWEEP_INTERVAL).await;
        }
    }

    /// Tells an account what was spent from it in its window until now, but not by this account; without a name, what
    /// all spent.
    pub(crate) async fn restore(&self, account: &Ledger, name: Option<&str>) -> anyhow::Result<()> {
        self.flush().await;
        self.history.restore(account, name).await.context("earlier spending cannot be read")
    }

    /// Keeps a run of whoever spends from this account.
    pub(crate) fn observer(&self, account: &Arc<str>, session: Option<&Arc<str>>) -> Arc<dyn Observer> {
        self.history.of_session(Arc::clone(account), session.cloned())
    }

    /// The model, whose answers wait until they are known to be paid for. It belongs directly inside of its meter.
    pub(crate) fn booked<M>(&self, model: M) -> WriteBarrier<M> {
        self.history.write_barrier(model)
    }

    /// Sessions, for one request: others of the same session wait for their turn.
    pub(crate) fn memory(&self) -> impl Memory + use<> {
        self.memory.for_request(None)
    }

    /// The runs of this process until now, and of those before it.
    pub(crate) fn runs(&self) -> RunHistory {
        self.history.runs()
    }

    /// What was spent on each thing. The agent is the one that was asked, not a worker of it.
    pub(crate) async fn spending(&self, filter: UsageFilter) -> Result<Vec<(Post, Spending)>, StoreError> {
        let by = [UsageBy::Day, UsageBy::Account, UsageBy::Agent, UsageBy::Model];
        let lines = self.history.runs().usage(filter, &by).await?;
        let post = |on: &[String]| {
            let [day, key, agent, model] = on else { return None };
            let asked = agent.split('/').next().unwrap_or_default();
            Some(Post { day: day.parse().ok()?, key: key.as_str().into(), agent: asked.into(), model: model.clone() })
        };
        Ok(lines.into_iter().filter_map(|line| Some((post(&line.group)?, line.spending))).collect())
    }

    /// Writes down what has happened until now. What cannot be written is in the log, and is tried again.
    pub(crate) async fn flush(&self) {
        if let Err(error) = self.history.flush().await {
            tracing::debug!("the history is behind: {error}");
        }
    }

    /// The same before somebody is told that a run is over. Answers what is missing.
    pub(crate) async fn settle(&self) -> Option<Degradation> {
        let error = self.history.flush().await.err()?;
        Some(Degradation::new("history", format!("the run's cost is not on disk yet: {error}")))
    }

    /// Whether the file can be written to.
    pub(crate) async fn check(&self) -> Check {
        let written = self.database.check_writable().await;
        Check::new("store", written.is_ok(), written.err().map(|error| error.to_string()).unwrap_or_default())
    }

    /// Writes down what is left to write.
    pub(crate) async fn close(&self) {
        if let Err(error) = self.history.flush().await {
            tracing::error!("the last of the history is lost: {error}");
        }
    }
}
