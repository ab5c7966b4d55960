//! Stores runs, their events and their costs.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use brigade_core::{Event, EventRecord, Ledger, Money, Observer, Run};
use tokio::sync::{oneshot, watch};

use super::{
    epoch::{self, Epoch},
    event_writer::{EventWriter, FlushRequest, QueueItem, QueuedEvent},
    idempotency::StoredKeys,
    known_spending::KnownSpending,
    request_recorder::RequestRecorder,
    run_row::RunRow,
    spending_log::SpendingLog,
};
use crate::{Database, RunHistory, StoreError, WriteBarrier, unpoisoned};

/// Stores every run with its events, cost and outcome, and all money that was settled or is reserved.
///
/// Events are queued, and a thread writes them in batches. Runs never wait for the disk. If the queue is full, events
/// are lost, which [`History::lost`] counts; a crash loses those of the last batch.
///
/// Spending is not queued but summed up, and written as soon as a call starts or ends. The reservation of a call is
/// written while the provider works on it, and the cost replaces the reservation in one transaction. After a crash, a
/// call counts as follows:
///
/// | the process dies | the call counts |
/// |---|---|
/// | within the commit after the start of the call, some milliseconds | not at all if it was not answered by then |
/// | later, but before the commit after its end | as uncertain, with the amount reserved |
/// | after [`History::flush`] has returned | exactly |
///
/// Wrap models with [`History::write_barrier`], so that the first case never concerns a call that was answered and
/// settled. Await [`History::flush`] before reporting to a caller that a run is over. While the disk is full, sums stay
/// in memory and are written again. So they do while the file is missing; if another file takes its place, all spending
/// that this process knows of is written to it.
///
/// Dropping the last clone writes the rest. Observers hold a clone.
///
/// ```
/// use brigade_core::{Agent, Event, Run, testing::{ScriptedModel, Turn}};
/// use brigade_store::{Database, History, RunFilter};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("brigade.db");
/// // `mask_event` of `brigade-observability` would mask credentials; a plain clone stores events as they are.
/// let history = History::start(Database::open(path)?, Event::clone).await?;
///
/// let model = history.write_barrier(ScriptedModel::new([Turn::text("Hello.")]));
/// let run = Run::builder().observer(history.of_account("ada's key")).build();
/// Agent::new("clerk", model).run_in(&run, "Say hello.").await?;
///
/// history.flush().await?;
/// let runs = history.runs().list(RunFilter::default().account("ada's key")).await?;
/// assert_eq!(runs[0].outcome.as_deref(), Some("finished"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct History(Arc<Inner>);

/// Settings of [`History`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistorySettings {
    /// How long events wait for others to be written with: the most that a crash loses. 200 ms, five commits a second.
    pub interval: Duration,
    /// The retention of events, which are most of the file. 30 days.
    pub keep_events: Duration,
    /// The retention of runs with their cost and outcome. 90 days. Spending by day is kept for ever.
    pub keep_runs: Duration,
    /// The retention of the outcomes of durable runs, which have their answers. 90 days.
    pub keep_answers: Duration,
}

/// The work that an earlier process left unfinished, for example because it crashed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InterruptedWork {
    /// The number of runs.
    pub runs: u64,
    /// The number of model calls.
    pub calls: u64,
    /// What these calls had reserved. It counts as uncertain, as the provider may bill it.
    pub uncertain: Money,
}

struct Inner {
    queue: Option<SyncSender<QueueItem>>,
    shared: Arc<Shared>,
    interrupted: InterruptedWork,
    database: Database,
    unowned: RunOwner,
    thread: Option<JoinHandle<()>>,
}

/// What observers and the writer share outside the queue, so that a full queue cannot lose it.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) spending: Mutex<SpendingLog>,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) flush_requests: Mutex<Vec<FlushRequest>>,
    /// The number of lost events.
    pub(super) lost: AtomicU64,
}

/// How far the spending is written.
#[derive(Debug)]
pub(super) struct Progress {
    /// The [revision](SpendingLog::revision) of the last write.
    pub(super) revision: u64,
    /// The result of that write.
    pub(super) result: Result<(), StoreError>,
}

impl Progress {
    /// The revision once the writer has ended.
    pub(super) const ENDED: u64 = u64::MAX;
}

/// The account that pays for a run, and the session that the run continues.
#[derive(Debug, Clone)]
pub(super) struct RunOwner {
    pub(super) account: Arc<str>,
    pub(super) session: Option<Arc<str>>,
}

/// Some seconds of a busy process, a few megabytes.
const QUEUE_LENGTH: usize = 8_192;

impl Default for HistorySettings {
    fn default() -> Self {
        let day = Duration::from_hours(24);
        Self {
            interval: Duration::from_millis(200),
            keep_events: 30 * day,
            keep_runs: 90 * day,
            keep_answers: 90 * day,
        }
    }
}

impl HistorySettings {
    /// Sets how long events wait for others to be written with.
    #[must_use]
    pub fn interval(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    /// Sets the retention of events.
    #[must_use]
    pub fn keep_events(self, keep_events: Duration) -> Self {
        Self { keep_events, ..self }
    }

    /// Sets the retention of runs.
    #[must_use]
    pub fn keep_runs(self, keep_runs: Duration) -> Self {
        Self { keep_runs, ..self }
    }

    /// Sets the retention of the outcomes of durable runs.
    #[must_use]
    pub fn keep_answers(self, keep_answers: Duration) -> Self {
        Self { keep_answers, ..self }
    }
}

impl History {
    /// Starts the history in `database`, once per process, and settles what an earlier process left unfinished. `mask`
    /// prepares each event for storage, on the writer's thread; it should mask credentials.
    pub async fn start(database: Database, mask: fn(&Event) -> Event) -> Result<Self, StoreError> {
        Self::start_with(database, mask, HistorySettings::default()).await
    }

    /// Like [`History::start`], with settings.
    pub async fn start_with(
        database: Database,
        mask: fn(&Event) -> Event,
        settings: HistorySettings,
    ) -> Result<Self, StoreError> {
        let (epoch, interrupted) = Epoch::start(&database).await?;
        if interrupted != InterruptedWork::default() {
            let InterruptedWork { runs, calls, uncertain } = interrupted;
            tracing::warn!(runs, calls, %uncertain, "an earlier process was interrupted: its open calls count as uncertain");
        }
        let known = database.write(KnownSpending::read).await?;
        let (queue, messages) = sync_channel(QUEUE_LENGTH);
        let shared = Arc::new(Shared {
            spending: Mutex::default(),
            progress: watch::Sender::new(Progress { revision: 0, result: Ok(()) }),
            flush_requests: Mutex::default(),
            lost: AtomicU64::new(0),
        });
        let writer = EventWriter {
            database: database.clone(),
            mask,
            settings,
            epoch,
            known,
            shared: Arc::clone(&shared),
            flushing: Vec::new(),
            is_broken: false,
        };
        let thread = std::thread::Builder::new()
            .name("brigade-history".to_owned())
            .spawn(move || writer.run(&messages))
            .map_err(|error| StoreError::Open { path: database.path().to_owned(), source: Arc::new(error) })?;
        let unowned = RunOwner { account: "".into(), session: None };
        Ok(Self(Arc::new(Inner { queue: Some(queue), shared, interrupted, database, unowned, thread: Some(thread) })))
    }

    /// The work that an earlier process left unfinished.
    pub fn interrupted(&self) -> InterruptedWork {
        self.0.interrupted
    }

    /// An observer for runs that `account` pays for, such as the name of an API key. [`History`] itself observes runs
    /// without an account.
    pub fn of_account(&self, account: impl Into<Arc<str>>) -> Arc<dyn Observer> {
        self.of_session(account, None)
    }

    /// An observer for runs that `account` pays for and that continue this session.
    pub fn of_session(&self, account: impl Into<Arc<str>>, session: Option<Arc<str>>) -> Arc<dyn Observer> {
        Arc::new(self.recorder(account, session))
    }

    /// Records the runs of one request, which `account` pays for and which continue this session. It is an observer, too.
    pub fn recorder(&self, account: impl Into<Arc<str>>, session: Option<Arc<str>>) -> RequestRecorder {
        RequestRecorder::new(self.clone(), RunOwner { account: account.into(), session })
    }

    /// The idempotency keys under which runs were started.
    pub fn idempotency_keys(&self) -> StoredKeys {
        StoredKeys::new(self.0.database.clone())
    }

    /// Wraps a model or embedder, so that its answers wait until their reservation is on disk. It belongs directly
    /// inside [`Metered`](brigade_core::Metered).
    pub fn write_barrier<M>(&self, model: M) -> WriteBarrier<M> {
        WriteBarrier::new(model, self.clone())
    }

    /// The number of changes of spending and reservations so far.
    pub(super) fn spending_revision(&self) -> u64 {
        unpoisoned(&self.0.shared.spending).revision()
    }

    /// Waits until the spending up to this revision is on disk, or could not be written.
    pub(super) async fn spending_written(&self, revision: u64) -> Result<(), StoreError> {
        let mut progress = self.0.shared.progress.subscribe();
        let written = async {
            let progress = progress.wait_for(|progress| progress.revision >= revision).await;
            progress.map_err(|_| StoreError::Closed)?.result.clone()
        };
        self.0.database.unless_locked(written).await
    }

    /// Waits until everything that has happened so far is on disk. Fails with [`StoreError::Locked`] if another program
    /// locks the file for longer than the busy timeout; what has happened is written once the lock is released.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let (request, written) = oneshot::channel();
        unpoisoned(&self.0.shared.flush_requests).push(request);
        self.0.wake();
        // A writer that ended before the request was pushed does not answer it.
        if self.0.shared.progress.borrow().revision == Progress::ENDED {
            return Err(StoreError::Closed);
        }
        self.0.database.unless_locked(async { written.await.map_err(|_| StoreError::Closed)? }).await
    }

    /// Like [`History::flush`], before the process ends, and closes the database. If the file was removed, it is created
    /// again, because the spending would be lost with the process.
    pub async fn close(&self) -> Result<(), StoreError> {
        let written = match self.flush().await {
            Err(StoreError::Missing(path)) => {
                tracing::error!("the database {} was removed; creating it again for the spending", path.display());
                match self.0.database.create_if_missing() {
                    Ok(()) => self.flush().await,
                    Err(error) => Err(error),
                }
            }
            result => result,
        };
        self.0.database.close().await?;
        written
    }

    /// True while the history cannot be written.
    pub fn is_failing(&self) -> bool {
        self.0.database.is_locked() || self.0.shared.progress.borrow().result.is_err()
    }

    /// Checks that the history can be written now, for readiness checks.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.0.shared.progress.borrow().result.clone()?;
        self.0.database.probe(epoch::probe).await
    }

    /// The number of lost events: the disk was full or too slow.
    pub fn lost(&self) -> u64 {
        self.0.shared.lost.load(Ordering::Relaxed)
    }

    /// Queries over the stored runs.
    pub fn runs(&self) -> RunHistory {
        RunHistory::new(&self.0.database)
    }

    /// Adds to a ledger the spending of its current window before this process started, by `account` or by all. Call it
    /// before the first run.
    pub async fn restore(&self, ledger: &Ledger, account: Option<&str>) -> Result<(), StoreError> {
        let spent = self.runs().spent_in_window(ledger.budget().window, account).await?;
        ledger.restore(spent);
        Ok(())
    }

    /// Without a `number`, the event gets the next number of its run.
    pub(super) fn store(&self, run: &Run, owner: &RunOwner, event: &Event, number: Option<u64>) {
        if !event.is_stored() {
            return;
        }
        if let Event::AttemptStarted { model } = event {
            unpoisoned(&self.0.shared.spending).call_started(run, &owner.account, model);
        } else if let Event::AttemptEnded { model, charge, .. } = event {
            unpoisoned(&self.0.shared.spending).call_ended(run, owner, model, charge.as_ref());
        }
        let has_no_cost = matches!(event, Event::RunFailed { .. } | Event::RunWaiting { .. });
        self.0.send(QueuedEvent {
            record: EventRecord::new(run, event.clone()),
            row: RunRow::new(run, owner),
            number,
            spent: has_no_cost.then(|| run.ledger().spending()),
        });
    }
}

impl Inner {
    fn send(&self, event: QueuedEvent) {
        let Some(queue) = &self.queue else { return };
        if queue.try_send(QueueItem::Event(Box::new(event))).is_err()
            && self.shared.lost.fetch_add(1, Ordering::Relaxed) == 0
        {
            tracing::warn!("the history cannot keep up: events are lost, spending is not");
        }
    }

    /// Wakes the writer. If the queue is full, it is awake.
    fn wake(&self) {
        if let Some(queue) = &self.queue {
            drop(queue.try_send(QueueItem::Flush));
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Without a sender, the thread ends when it has written everything.
        drop(self.queue.take());
        if self.database.is_locked() {
            tracing::error!(
                "another program locks the database; the rest of the history is stored only if it releases the lock soon"
            );
            return;
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes the history panicked");
        }
    }
}

impl Observer for History {
    fn on_event(&self, run: &Run, event: &Event) {
        self.store(run, &self.0.unowned, event, None);
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("shared", &self.shared).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
