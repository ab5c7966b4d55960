//! Writes events and spending in batches, on a thread of its own.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

use brigade_core::{Event, EventRecord, ModelErrorKind, Money, Spending};
use rusqlite::{Connection, params};
use tokio::{sync::oneshot, time::Instant};

use super::{
    epoch::Epoch,
    history::{Progress, Shared},
    known_spending::KnownSpending,
    run_history::RunStatus,
    run_row::RunRow,
    spending_log::SpendingLog,
    sweep::Retention,
};
use crate::{Database, HistorySettings, StoreError, unpoisoned};

/// An entry of the queue.
#[derive(Debug)]
pub(super) enum QueueItem {
    Event(Box<QueuedEvent>),
    /// A flush request is waiting.
    Flush,
}

/// An event on its way to the database.
#[derive(Debug)]
pub(super) struct QueuedEvent {
    pub(super) record: EventRecord,
    pub(super) row: RunRow,
    /// The number within its request, if it has one.
    pub(super) number: Option<u64>,
    /// What the run had spent when it failed, which the event does not say.
    pub(super) spent: Option<Spending>,
}

/// Gets the result once everything before the request is written.
pub(super) type FlushRequest = oneshot::Sender<Result<(), StoreError>>;

/// The writer thread.
#[derive(Debug)]
pub(super) struct EventWriter {
    pub(super) database: Database,
    pub(super) mask: fn(&Event) -> Event,
    pub(super) settings: HistorySettings,
    pub(super) epoch: Epoch,
    /// What the file should have.
    pub(super) known: KnownSpending,
    pub(super) shared: Arc<Shared>,
    pub(super) flushing: Vec<FlushRequest>,
    /// Whether the last write failed.
    pub(super) is_broken: bool,
}

/// The events of one transaction.
#[derive(Debug, Default)]
struct Batch {
    events: Vec<QueuedEvent>,
    /// Whether to write at once, because money was spent or a flush request is waiting.
    is_urgent: bool,
}

/// Keeps a transaction short enough for other writers.
const MAX_BATCH: usize = 1_024;

/// The pause between attempts to write to a full disk.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// How soon it is noticed that the file was removed or replaced if nothing is written.
const FILE_CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// Retention is configured in days, so an hour is exact enough.
const SWEEP_INTERVAL: Duration = Duration::from_hours(1);

/// The pause between two batches of a sweep, in which others write.
const SWEEP_PAUSE: Duration = Duration::from_millis(20);

impl EventWriter {
    /// Writes until all senders are dropped and the queue is empty.
    pub(super) fn run(mut self, queue: &Receiver<QueueItem>) {
        let mut next_sweep = Instant::now();
        loop {
            let now = Instant::now();
            if next_sweep <= now {
                next_sweep = now + if self.sweep() { SWEEP_PAUSE } else { SWEEP_INTERVAL };
            }
            let first = queue.recv_timeout(self.wait_limit(next_sweep - now));
            // Events before these requests are in the queue by now, or written.
            self.flushing.append(&mut unpoisoned(&self.shared.flush_requests));
            let mut batch = Batch { is_urgent: !self.flushing.is_empty(), ..Batch::default() };
            let end = match first {
                Ok(first) => {
                    batch.add(first);
                    self.fill(&mut batch, queue)
                }
                Err(end) => Some(end),
            };
            let result = self.write(batch);
            if end.is_some() || result.is_err() {
                self.answer_flushes(&result);
            }
            if end == Some(RecvTimeoutError::Disconnected) || matches!(result, Err(StoreError::Closed)) {
                return;
            }
        }
    }

    /// How long to wait for the first event of a batch.
    fn wait_limit(&self, until_sweep: Duration) -> Duration {
        if !self.flushing.is_empty() || !unpoisoned(&self.shared.flush_requests).is_empty() {
            Duration::ZERO
        } else if self.is_broken {
            RETRY_INTERVAL
        } else {
            until_sweep.min(FILE_CHECK_INTERVAL)
        }
    }

    fn answer_flushes(&mut self, result: &Result<(), StoreError>) {
        for request in self.flushing.drain(..) {
            // The caller may have gone away.
            drop(request.send(result.clone()));
        }
    }

    /// Waits for more events to write with the first one, unless the batch is urgent. Returns why the queue gave no more
    /// events, or `None` if the batch is full.
    fn fill(&self, batch: &mut Batch, queue: &Receiver<QueueItem>) -> Option<RecvTimeoutError> {
        let deadline = Instant::now() + self.settings.interval;
        while batch.events.len() < MAX_BATCH {
            let timeout = if batch.is_urgent { Duration::ZERO } else { deadline - Instant::now() };
            match queue.recv_timeout(timeout) {
                Ok(message) => batch.add(message),
                Err(end) => return Some(end),
            }
        }
        None
    }

    /// Writes a batch and the spending. An empty transaction finds out whether the file is still in place.
    fn write(&mut self, batch: Batch) -> Result<(), StoreError> {
        let spending = Arc::new(unpoisoned(&self.shared.spending).take());
        let rows = Arc::new(batch.rows(self.mask));
        let mut result = self.commit(&spending, &rows);
        if matches!(result, Err(StoreError::Replaced(_))) {
            result = self.adopt_file().and_then(|()| self.commit(&spending, &rows));
        }
        // A batch that cannot be written must not keep the spending from being written.
        let spending_result = match &result {
            Err(_) if !rows.is_empty() => self.commit(&spending, &Arc::default()),
            result => result.clone(),
        };
        match &spending_result {
            Ok(()) => self.known.add(&spending),
            Err(_) => unpoisoned(&self.shared.spending).put_back(SpendingLog::clone(&spending)),
        }
        if !matches!(result, Err(StoreError::Closed)) || !rows.is_empty() {
            self.report(&result, rows.len() as u64);
        }
        self.shared.progress.send_replace(Progress { revision: spending.revision(), result: spending_result });
        result
    }

    fn commit(&self, spending: &Arc<SpendingLog>, rows: &Arc<Vec<(QueuedEvent, String)>>) -> Result<(), StoreError> {
        let (spending, rows, epoch) = (Arc::clone(spending), Arc::clone(rows), self.epoch.clone());
        self.database.write_blocking(move |connection| {
            epoch.check_file()?;
            write_events(connection, epoch.id, &rows)?;
            spending.write(connection, epoch.id)
        })
    }

    /// Continues in the file that took the place of an earlier one: writes the spending that it does not have.
    fn adopt_file(&mut self) -> Result<(), StoreError> {
        let (mut known, epoch) = (self.known.clone(), self.epoch.clone());
        self.epoch = self.database.write_blocking(move |connection| {
            let epoch = epoch.resume(connection)?;
            known.restore(connection, epoch.id)?;
            Ok(epoch)
        })?;
        tracing::warn!("the history continues in another file, to which the spending so far was written");
        Ok(())
    }

    /// Counts the events of a batch as lost if it was not written. Logs the first failure of several, so that a full disk
    /// does not flood the log.
    fn report(&mut self, result: &Result<(), StoreError>, count: u64) {
        let was_broken = std::mem::replace(&mut self.is_broken, result.is_err());
        match result {
            Ok(()) if was_broken => tracing::info!("the history is written again"),
            Ok(()) => {}
            Err(error) => {
                self.shared.lost.fetch_add(count, Ordering::Relaxed);
                if !was_broken {
                    let error = error as &dyn std::error::Error;
                    tracing::error!(
                        error,
                        "the history cannot be written: events are lost, spending is kept and retried"
                    );
                }
            }
        }
    }

    /// Deletes a batch of events and runs whose retention has ended. Returns whether there are more.
    fn sweep(&mut self) -> bool {
        self.known.fold();
        let retention = Retention::of(&self.settings);
        self.database.write_blocking(move |connection| retention.delete_batch(connection)).unwrap_or_else(|error| {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "old history could not be deleted; retrying in an hour");
            false
        })
    }
}

impl Drop for EventWriter {
    /// Ends the waits of all callers, even if the thread panicked.
    fn drop(&mut self) {
        self.shared.progress.send_replace(Progress { revision: Progress::ENDED, result: Err(StoreError::Closed) });
        unpoisoned(&self.shared.flush_requests).clear();
    }
}

impl Batch {
    fn add(&mut self, message: QueueItem) {
        match message {
            QueueItem::Flush => self.is_urgent = true,
            QueueItem::Event(event) => {
                self.is_urgent |=
                    matches!(event.record.event, Event::AttemptStarted { .. } | Event::AttemptEnded { .. });
                self.events.push(*event);
            }
        }
    }

    /// The events with their JSON, which is made before the transaction begins, so that the transaction stays short.
    fn rows(self, mask: fn(&Event) -> Event) -> Vec<(QueuedEvent, String)> {
        let json = |event: &QueuedEvent| serde_json::to_string(&mask(&event.record.event)).ok();
        self.events.into_iter().filter_map(|event| json(&event).map(|json| (event, json))).collect()
    }
}

fn write_events(connection: &Connection, epoch: i64, rows: &[(QueuedEvent, String)]) -> Result<(), StoreError> {
    let mut ids = HashMap::new();
    for (queued, json) in rows {
        let id = match ids.entry(queued.record.run) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => *new.insert(queued.row.id(connection, epoch)?),
        };
        queued.write_outcome(connection, id)?;
        queued.write(connection, id, json)?;
    }
    Ok(())
}

impl QueuedEvent {
    fn write(&self, connection: &Connection, id: i64, json: &str) -> Result<(), StoreError> {
        let mut insert = connection.prepare_cached(
            "INSERT INTO events (run, number, at_us, entry)
             SELECT ?1, coalesce(?4, max(number) + 1, 1), ?2, ?3 FROM events WHERE run = ?1",
        )?;
        insert.execute(params![id, self.record.at.as_microsecond(), json, self.number])?;
        Ok(())
    }

    /// Writes the outcome of the run if the event is its end, or changes its status.
    fn write_outcome(&self, connection: &Connection, id: i64) -> Result<(), StoreError> {
        if let Event::RunEnded { stop, turns, usage, cost, elapsed } = &self.record.event {
            let mut update = connection.prepare_cached(
                "UPDATE runs SET outcome = ?2, turns = ?3, input_tokens = ?4, output_tokens = ?5, cost_nano = ?6,
                 elapsed_us = ?7, error = NULL WHERE id = ?1",
            )?;
            let (cost, elapsed) = (cost.map(Money::nano), micros(*elapsed));
            update.execute(params![id, stop.name(), turns, usage.input_tokens, usage.output_tokens, cost, elapsed])?;
        } else if let Event::RunFailed { kind, elapsed, .. } = &self.record.event {
            let mut update = connection.prepare_cached(
                "UPDATE runs SET outcome = 'failed', error = ?2, elapsed_us = ?3, input_tokens = ?4,
                 output_tokens = ?5, cost_nano = ?6 WHERE id = ?1",
            )?;
            let (error, elapsed) = (kind.map(ModelErrorKind::name), micros(*elapsed));
            let cost = self.spent.and_then(|spent| spent.cost()).map(Money::nano);
            let (input, output) = self.spent.map(|spent| (spent.usage.input_tokens, spent.usage.output_tokens)).unzip();
            update.execute(params![id, error, elapsed, input, output, cost])?;
        } else if let Event::RunWaiting { elapsed, .. } = &self.record.event {
            let mut update = connection.prepare_cached(
                "UPDATE runs SET outcome = ?2, error = NULL, elapsed_us = ?3, cost_nano = ?4 WHERE id = ?1",
            )?;
            let cost = self.spent.and_then(|spent| spent.cost()).map(Money::nano);
            update.execute(params![id, RunStatus::Waiting.name(), micros(*elapsed), cost])?;
        } else if let Event::Resumed { .. } = &self.record.event {
            let update = "UPDATE runs SET outcome = NULL, error = NULL WHERE id = ?1";
            connection.prepare_cached(update)?.execute([id])?;
        }
        Ok(())
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
