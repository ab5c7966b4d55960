//! The store: sessions, notes, run history and spending in one SQLite file.

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use brigade_config::Retention;
use brigade_core::{Degradation, ErrorChain, Ledger, Memory, Observer, Spending, Window};
use brigade_edge::{CheckResult, HealthCheck};
use brigade_observability::{Storage, mask_event};
use brigade_store::{
    Database, History, HistorySettings, MemorySettings, RecallSettings, RequestRecorder, RunHistory, SqliteMemory,
    SqliteRecall, SqliteResponses, SqliteRunStore, StoreError, StoredKeys, UsageBy, UsageFilter, UsageRow,
    WriteBarrier,
};
use futures::TryFutureExt;

use super::totals::{UsageKey, UsageSum};
use crate::setup::error::{SetupContext as _, SetupError};

/// Sessions, notes, run history and spending in one SQLite file. Cheap to clone.
///
/// ```
/// use brigade_core::Agent;
/// use brigade_config::Retention;
/// use brigade_server::{Api, ServedAgent, Store};
/// # use brigade_core::testing::{ScriptedModel, Turn};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (model, folder) = (ScriptedModel::new([Turn::text("Done.")]), tempfile::tempdir()?);
/// # let path = folder.path().join("brigade.db");
/// let store = Store::open(&path, Retention::default()).await?;
/// let api = Api::builder().agent(ServedAgent::new(Agent::new("clerk", model))).store(Some(store)).build().await?;
/// api.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Store {
    database: Database,
    memory: SqliteMemory,
    history: History,
    retention: Retention,
}

/// The interval of attempts to erase deleted data that a reader kept in the log.
const ERASE_INTERVAL: Duration = Duration::from_mins(1);

/// How long a read may wait for what was not written yet, for example because another program locks the file.
const READ_DELAY: Duration = Duration::from_secs(1);

/// A sweep comes after this many attempts to erase: once an hour.
const ERASURES_PER_SWEEP: usize = 60;

impl Store {
    /// Opens the file, or creates it. Reservations of calls that a crash interrupted count as spent.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be opened or is not a store.
    pub async fn open(path: &Path, retention: Retention) -> Result<Self, SetupError> {
        let owned = path.to_owned();
        let database = tokio::task::spawn_blocking(move || Database::open(owned)).await;
        let database = database.context("the task that opens the store failed")?;
        let database = database.map_err(SetupError::store(format!("cannot open the store {}", path.display())))?;
        let settings = MemorySettings::default().keep_for(retention.sessions);
        let memory = SqliteMemory::with_settings(database.clone(), settings);
        let settings = HistorySettings::default().keep_events(retention.events).keep_runs(retention.runs);
        let settings = settings.keep_answers(retention.answers);
        let history = History::start_with(database.clone(), mask_event, settings).await;
        let history = history.map_err(SetupError::store("cannot record the history of runs"))?;
        Ok(Self { database, memory, history, retention })
    }

    pub(crate) fn recall(&self, settings: RecallSettings) -> SqliteRecall {
        SqliteRecall::with_settings(self.database.clone(), settings)
    }

    /// Deletes expired data now and every hour, forever. Expired data is never shown, even before it is deleted.
    pub(crate) async fn sweep(self) {
        let recall = self.recall(RecallSettings::default().keep_for(self.retention.notes));
        loop {
            for result in [self.memory.sweep().await, recall.sweep().await, self.responses().sweep().await] {
                if let Err(error) = result {
                    tracing::warn!("cannot delete expired data, will retry in an hour: {error}");
                }
            }
            for _ in 0..ERASURES_PER_SWEEP {
                tokio::time::sleep(ERASE_INTERVAL).await;
                if let Err(error) = self.database.erase().await {
                    tracing::warn!("cannot erase deleted data from the store's log, will retry: {error}");
                }
            }
        }
    }

    /// Adds the spending that the store has for the account's current window: that of the key `name`, or of all keys.
    pub(crate) async fn restore(&self, account: &Ledger, name: Option<&str>) -> Result<(), SetupError> {
        self.flush().await;
        self.history
            .restore(account, name)
            .await
            .map_err(SetupError::store("cannot read earlier spending from the store"))
    }

    /// Records the runs of one request of an account.
    pub(crate) fn recorder(&self, account: &Arc<str>, session: Option<&Arc<str>>) -> RequestRecorder {
        self.history.recorder(Arc::clone(account), session.cloned())
    }

    /// Responses that clients may read and continue.
    pub(crate) fn responses(&self) -> SqliteResponses {
        SqliteResponses::new(self.database.clone()).keep_for(self.retention.sessions)
    }

    /// Durable runs.
    pub(crate) fn durable_runs(&self) -> SqliteRunStore {
        SqliteRunStore::new(self.database.clone())
    }

    /// The idempotency keys under which runs were started.
    pub(crate) fn idempotency_keys(&self) -> StoredKeys {
        self.history.idempotency_keys()
    }

    /// What an account has spent in its current window of this kind.
    pub(crate) async fn spent(&self, window: Window, account: &str) -> Result<Spending, SetupError> {
        self.flush().await;
        self.runs()
            .spent_in_window(window, Some(account))
            .await
            .map_err(SetupError::store("cannot read earlier spending from the store"))
    }

    /// Records a run of an account.
    pub(crate) fn observer(&self, account: &Arc<str>, session: Option<&Arc<str>>) -> Arc<dyn Observer> {
        self.history.of_session(Arc::clone(account), session.cloned())
    }

    /// A model whose replies are returned only once their cost is recorded. Put it directly inside its meter.
    pub(crate) fn booked<M>(&self, model: M) -> WriteBarrier<M> {
        self.history.write_barrier(model)
    }

    /// Sessions for one request. Requests of the same session wait for each other.
    pub(crate) fn memory(&self) -> impl Memory + use<> {
        self.memory.for_request(None)
    }

    /// The recorded runs.
    pub(crate) fn runs(&self) -> RunHistory {
        self.history.runs()
    }

    /// The sum of all spending that the filter selects, and a page of it by day, key, agent and model.
    pub(crate) async fn usage(&self, filter: UsageFilter) -> Result<(Spending, Vec<UsageSum>), StoreError> {
        let by = [UsageBy::Day, UsageBy::Account, UsageBy::TopAgent, UsageBy::Model];
        let mut all = filter.clone();
        all.offset = 0;
        let total = self.runs().usage(all, &[]).await?.into_iter().next();
        let sum = |row: UsageRow| {
            let [day, key, agent, model] = <[String; 4]>::try_from(row.group).ok()?;
            let key = UsageKey { day: day.parse().ok()?, key: key.into(), agent: agent.into(), model };
            Some(UsageSum { key, spending: row.spending })
        };
        let sums = self.runs().usage(filter, &by).await?.into_iter().filter_map(sum).collect();
        Ok((total.map(|row| row.spending).unwrap_or_default(), sums))
    }

    /// Writes pending history to disk before a read, unless that takes longer than a read may wait.
    pub(crate) async fn flush_for_read(&self) {
        if !self.history.is_failing() {
            let _ = tokio::time::timeout(READ_DELAY, self.flush()).await;
        }
    }

    /// What the store could not write.
    pub(crate) fn sample(&self) -> Storage {
        let lost = self.history.lost() + self.database.dropped_writes();
        Storage::working().failing(self.history.is_failing()).lost_writes(lost)
    }

    /// Writes pending history to disk. A failure is logged by the history, which retries.
    pub(crate) async fn flush(&self) {
        if let Err(error) = self.history.flush().await {
            tracing::debug!("cannot write the history yet: {error}");
        }
    }

    /// Writes the cost of a run to disk before its end is reported. Returns a degradation if it could not be written.
    pub(crate) async fn settle(&self) -> Option<Degradation> {
        let error = self.history.flush().await.err()?;
        Some(Degradation::new("history", format!("the run's cost is not on disk yet: {error}")))
    }

    /// Writes pending history to disk before the process ends, and closes the file. Its log is copied into it.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be written.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.history.close().await
    }
}

#[async_trait]
impl HealthCheck for Store {
    async fn check(&self) -> Vec<CheckResult> {
        let history = self.database.check_writable().and_then(|()| self.history.check());
        vec![match history.await {
            Ok(()) => CheckResult::passed("store"),
            Err(error) => CheckResult::failed("store", ErrorChain(&error).to_string()),
        }]
    }
}
