//! Keeps what ran, what happened and what it cost.

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

use brigade_core::{Event, Ledger, Money, Observer, Run};
use tokio::sync::{oneshot, watch};

use super::{
    books::{self, Books},
    chronicle::{Chronicle, Happening},
};
use crate::{Booked, Database, Runs, StoreError, sqlite::database::now_us, unpoisoned};

/// Writes an event as JSON, or leaves it out. It decides what of an event is kept; it is called off the run's task.
pub type Describe = fn(&Event) -> Option<String>;

/// Keeps every run with its events, what it cost and how it ended, and all money that was settled or is reserved.
///
/// Events are queued, and written in batches by a thread of its own. A run never waits for the disk: a queue that is
/// full makes events go missing, which [`History::lost`] counts, and so does a crash with those of the last batch.
///
/// Money is not queued but added up, and on its way to the disk the moment a call begins and ends. What a call reserves
/// is written while the provider still works on it; what it costs replaces that in one transaction. What a crash makes
/// of a call depends on how far that has come:
///
/// | the process ends | the call counts |
/// |---|---|
/// | within the commit that follows a call's start, some milliseconds | not, if it was not answered by then |
/// | later, but before the commit that follows its end | as uncertain, with what was reserved for it |
/// | after [`History::flush`] has answered | exactly |
///
/// So that the first of these is never a call that was answered and settled, models are given to agents as
/// [`History::booked`]: then an answer waits for its reservation to be on disk, which it is long before most answers
/// come. Before telling a caller that a run is over, await [`History::flush`]. While the disk is full, sums stay in
/// memory and are tried again.
///
/// Dropping the last clone writes what is left. Observers hold on to it.
#[derive(Debug, Clone)]
pub struct History(Arc<Inner>);

/// How history is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistorySettings {
    /// How long events wait for others to be written with; the most that a crash loses of them. A fifth of a second is
    /// short to people who look, and five commits a second are little to any disk.
    pub interval: Duration,
    /// For how long events are kept. A month is when people still ask what happened; they are most of the file.
    pub keep_events: Duration,
    /// For how long runs are kept after their events, with their cost and outcome. Spending by day is kept for ever.
    pub keep_runs: Duration,
}

/// What was found of a process that did not end by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CutOff {
    /// Runs that were going on.
    pub runs: u64,
    /// Calls that were under way.
    pub calls: u64,
    /// What these had reserved. It counts as uncertain now, as they may be billed.
    pub uncertain: Money,
}

struct Inner {
    queue: Option<SyncSender<Option<Happening>>>,
    pending: Arc<Pending>,
    cut_off: CutOff,
    database: Database,
    nobody: Arc<str>,
    chronicler: Option<JoinHandle<()>>,
}

/// What does not pass through the queue, because it must not be lost when that is full.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) books: Mutex<Books>,
    pub(crate) written: watch::Sender<Written>,
    /// Those who wait until everything is written.
    pub(crate) waiting: Mutex<Vec<oneshot::Sender<Result<(), StoreError>>>>,
    /// Events that are missing.
    pub(crate) lost: AtomicU64,
}

/// How far the books have come.
#[derive(Debug)]
pub(crate) struct Written {
    /// Of [`Books::noted`].
    pub(crate) noted: u64,
    /// Whether it is on disk.
    pub(crate) result: Result<(), StoreError>,
}

impl Written {
    /// What was noted when the writer has ended: more than ever will be.
    pub(crate) const ENDED: u64 = u64::MAX;
}

/// Watches the runs of one account.
#[derive(Debug)]
struct AccountHistory {
    history: History,
    account: Arc<str>,
    session: Option<Arc<str>>,
}

/// Some seconds of a busy process, a few megabytes.
const QUEUE: usize = 8_192;

impl Default for HistorySettings {
    fn default() -> Self {
        let day = Duration::from_hours(24);
        Self { interval: Duration::from_millis(200), keep_events: 30 * day, keep_runs: 90 * day }
    }
}

impl History {
    /// Begins to keep history in `database`, once a process, and settles what an earlier process left open.
    pub async fn start(database: Database, describe: Describe) -> Result<Self, StoreError> {
        Self::start_with(database, describe, HistorySettings::default()).await
    }

    /// The same with other settings.
    pub async fn start_with(
        database: Database,
        describe: Describe,
        settings: HistorySettings,
    ) -> Result<Self, StoreError> {
        let (epoch, cut_off) = database.write(begin).await?;
        if cut_off != CutOff::default() {
            let CutOff { runs, calls, uncertain } = cut_off;
            tracing::warn!(runs, calls, %uncertain, "the last process was cut off: its open calls count as uncertain");
        }
        let (queue, happenings) = sync_channel(QUEUE);
        let pending = Arc::new(Pending {
            books: Mutex::default(),
            written: watch::Sender::new(Written { noted: 0, result: Ok(()) }),
            waiting: Mutex::default(),
            lost: AtomicU64::new(0),
        });
        let chronicle = Chronicle::new(database.clone(), describe, (settings, epoch), Arc::clone(&pending));
        let failed = |error| StoreError::Open { path: database.path().to_owned(), source: Arc::new(error) };
        let chronicler = std::thread::Builder::new()
            .name("brigade-history".to_owned())
            .spawn(move || chronicle.keep(&happenings))
            .map_err(failed)?;
        let (queue, nobody, chronicler) = (Some(queue), "".into(), Some(chronicler));
        Ok(Self(Arc::new(Inner { queue, pending, cut_off, database, nobody, chronicler })))
    }

    /// What the last process left open.
    pub fn cut_off(&self) -> CutOff {
        self.0.cut_off
    }

    /// Watches the runs that are billed to `account`, such as an API key's name. A [`History`] itself watches runs that
    /// are billed to nobody.
    pub fn of_account(&self, account: impl Into<Arc<str>>) -> Arc<dyn Observer> {
        self.of_session(account, None)
    }

    /// The same for a run that continues this session.
    pub fn of_session(&self, account: impl Into<Arc<str>>, session: Option<Arc<str>>) -> Arc<dyn Observer> {
        Arc::new(AccountHistory { history: self.clone(), account: account.into(), session })
    }

    /// The model, whose answers wait until what was reserved for them is on disk: place it directly inside of
    /// [`Metered`](brigade_core::Metered).
    pub fn booked<M>(&self, model: M) -> Booked<M> {
        Booked::new(model, self.clone())
    }

    /// How much of reservations and costs was noted until now.
    pub(crate) fn noted(&self) -> u64 {
        unpoisoned(&self.0.pending.books).noted()
    }

    /// Answers when so much of what was noted is on disk, or could not be written. What could not is kept and tried
    /// again.
    pub(crate) async fn written(&self, noted: u64) -> Result<(), StoreError> {
        let mut written = self.0.pending.written.subscribe();
        let written = written.wait_for(|written| written.noted >= noted).await;
        written.map_err(|_| StoreError::Closed)?.result.clone()
    }

    /// Answers when all that has happened until now is on disk.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let (done, written) = oneshot::channel();
        unpoisoned(&self.0.pending.waiting).push(done);
        self.0.wake();
        // Whoever came too late for its end is not answered by it.
        if self.0.pending.written.borrow().noted == Written::ENDED {
            return Err(StoreError::Closed);
        }
        written.await.map_err(|_| StoreError::Closed)?
    }

    /// How many events are missing, because the disk was full or not fast enough.
    pub fn lost(&self) -> u64 {
        self.0.pending.lost.load(Ordering::Relaxed)
    }

    /// What was kept, to be asked.
    pub fn runs(&self) -> Runs {
        Runs::new(&self.0.database)
    }

    /// Tells a ledger what was spent in its current window before this process began: by `account`, or by all. Call it
    /// before the first run.
    pub async fn restore(&self, ledger: &Ledger, account: Option<&str>) -> Result<(), StoreError> {
        let spent = self.runs().spent_in_window(ledger.budget().window, account).await?;
        ledger.restore(spent);
        Ok(())
    }

    fn keep(&self, run: &Run, (account, session): (&Arc<str>, Option<&Arc<str>>), event: &Event) {
        match event {
            // Content, or more than anybody will read.
            Event::Delta(_) | Event::RateLimitsReported { .. } => return,
            Event::AttemptStarted { model } => unpoisoned(&self.0.pending.books).begin(run, account, model),
            Event::AttemptEnded { model, charge, .. } => {
                unpoisoned(&self.0.pending.books).settle(run, account, (model, charge.as_ref()));
            }
            _ => {}
        }
        let has_failed = matches!(event, Event::RunFailed { .. });
        self.0.tell(Happening {
            at_us: now_us(),
            run: run.id(),
            trace: run.trace(),
            agent: Arc::clone(run.agent()),
            account: Arc::clone(account),
            session: session.cloned(),
            depth: run.depth(),
            spent: has_failed.then(|| run.ledger().spending()),
            event: event.clone(),
        });
    }
}

/// Opens an epoch, and closes what earlier ones left open.
fn begin(connection: &rusqlite::Connection) -> Result<(i64, CutOff), StoreError> {
    connection.execute("INSERT INTO epochs (started_us) VALUES (?1)", [now_us()])?;
    let epoch = connection.last_insert_rowid();
    let closed = "UPDATE runs SET outcome = 'interrupted' WHERE outcome IS NULL AND epoch < ?1";
    let runs = connection.execute(closed, [epoch])? as u64;
    let spent = books::settle_cut_off(connection, epoch)?;
    Ok((epoch, CutOff { runs, calls: spent.calls, uncertain: spent.uncertain }))
}

impl Inner {
    fn tell(&self, happening: Happening) {
        let Some(queue) = &self.queue else { return };
        if queue.try_send(Some(happening)).is_err() && self.pending.lost.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!("the history cannot keep up: events go missing from it, money does not");
        }
    }

    /// A full queue wakes the writer just as well.
    fn wake(&self) {
        if let Some(queue) = &self.queue {
            drop(queue.try_send(None));
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Without a sender, the chronicler ends when it has written everything.
        drop(self.queue.take());
        if let Some(chronicler) = self.chronicler.take()
            && chronicler.join().is_err()
        {
            tracing::error!("the writer of the history panicked");
        }
    }
}

impl Observer for History {
    fn on_event(&self, run: &Run, event: &Event) {
        self.keep(run, (&self.0.nobody, None), event);
    }
}

impl Observer for AccountHistory {
    fn on_event(&self, run: &Run, event: &Event) {
        self.history.keep(run, (&self.account, self.session.as_ref()), event);
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("pending", &self.pending).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
