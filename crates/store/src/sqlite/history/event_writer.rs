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

use brigade_core::{Event, EventRecord, ModelErrorKind, Money, RunId, Spending};
use rusqlite::{Connection, OptionalExtension, params, params_from_iter, types::Value};
use tokio::{sync::oneshot, time::Instant};

use super::{
    history::{Progress, RunOwner, Shared},
    spending_columns as columns,
    spending_log::SpendingLog,
};
use crate::{Database, HistorySettings, StoreError, sqlite::database::now_us, unpoisoned};

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
    pub(super) owner: RunOwner,
    pub(super) depth: u32,
    pub(super) parent: Option<RunId>,
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
    pub(super) epoch: i64,
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

/// Retention is configured in days, so an hour is exact enough.
const SWEEP_INTERVAL: Duration = Duration::from_hours(1);

/// A statement that deletes many rows blocks other writers.
const MAX_SWEPT: u32 = 200;

impl EventWriter {
    /// Writes until all senders are dropped and the queue is empty.
    pub(super) fn run(mut self, queue: &Receiver<QueueItem>) {
        let mut next_sweep = Instant::now();
        loop {
            let now = Instant::now();
            if next_sweep <= now {
                next_sweep = now + SWEEP_INTERVAL;
                self.sweep();
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
            if end == Some(RecvTimeoutError::Disconnected) {
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
            until_sweep
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

    fn write(&mut self, batch: Batch) -> Result<(), StoreError> {
        let spending = Arc::new(unpoisoned(&self.shared.spending).take());
        let (count, epoch, mask) = (batch.events.len() as u64, self.epoch, self.mask);
        let result = if count == 0 && spending.is_empty() {
            Ok(())
        } else {
            let spending = Arc::clone(&spending);
            let rows = batch.rows(mask);
            self.database.write_blocking(move |connection| {
                spending.write(connection, epoch)?;
                write_events(connection, epoch, &rows)
            })
        };
        self.check(&result, &spending, count);
        self.shared.progress.send_replace(Progress { revision: spending.revision(), result: result.clone() });
        result
    }

    /// After a failure, keeps the spending to write it again, counts the events as lost, and logs the first failure of
    /// several, so that a full disk does not flood the log.
    fn check(&mut self, result: &Result<(), StoreError>, spending: &SpendingLog, count: u64) {
        let was_broken = std::mem::replace(&mut self.is_broken, result.is_err());
        let Err(error) = result else { return };
        unpoisoned(&self.shared.spending).put_back(spending.clone());
        self.shared.lost.fetch_add(count, Ordering::Relaxed);
        if !was_broken {
            let error = error as &dyn std::error::Error;
            tracing::error!(error, "the history cannot be written: events are lost, spending is kept and retried");
        }
    }

    /// Deletes events and runs whose retention has ended.
    fn sweep(&self) {
        let before = |age: Duration| now_us().saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
        let events = "DELETE FROM events WHERE run IN (SELECT id FROM runs WHERE started_us < ?1
              AND EXISTS (SELECT 1 FROM events WHERE run = runs.id) ORDER BY id LIMIT ?2)";
        let runs = "DELETE FROM runs WHERE id IN (SELECT id FROM runs WHERE started_us < ?1 ORDER BY id LIMIT ?2)";
        self.delete(events, before(self.settings.keep_events));
        self.delete(runs, before(self.settings.keep_runs));
    }

    fn delete(&self, statement: &'static str, before_us: i64) {
        let delete = move |connection: &Connection| {
            Ok(connection.prepare_cached(statement)?.execute(params![before_us, MAX_SWEPT])?)
        };
        loop {
            match self.database.write_blocking(delete) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "old history could not be deleted; retrying in an hour");
                    return;
                }
            }
        }
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
    let mut costs: HashMap<(i64, String), Spending> = HashMap::new();
    for (queued, json) in rows {
        let id = match ids.entry(queued.record.run) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => *new.insert(queued.run_row(connection, epoch)?),
        };
        if let Event::AttemptEnded { model, charge: Some(charge), .. } = &queued.record.event {
            *costs.entry((id, model.to_string())).or_default() += Spending::from(charge);
        }
        queued.write_outcome(connection, id)?;
        queued.write(connection, id, json)?;
    }
    let mut upsert = connection.prepare_cached(&columns::upsert("run_costs", &["run", "model"]))?;
    for ((id, model), spent) in costs {
        let key = [Value::Integer(id), Value::Text(model)];
        upsert.execute(params_from_iter(key.into_iter().chain(columns::values(&spent))))?;
    }
    Ok(())
}

impl QueuedEvent {
    /// The id of the run's row, which is inserted at the first event of the run.
    fn run_row(&self, connection: &Connection, epoch: i64) -> Result<i64, StoreError> {
        let EventRecord { at, trace, run, agent, .. } = &self.record;
        let run = run.uuid().into_bytes();
        let mut select = connection.prepare_cached("SELECT id FROM runs WHERE run = ?1")?;
        if let Some(id) = select.query_row([run], |row| row.get(0)).optional()? {
            return Ok(id);
        }
        let mut insert = connection.prepare_cached(
            "INSERT INTO runs (run, trace, agent, account, depth, epoch, started_us, session, root)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, (SELECT coalesce(root, run) FROM runs WHERE run = ?9))",
        )?;
        let (trace, at_us, RunOwner { account, session }) = (trace.to_string(), at.as_microsecond(), &self.owner);
        let parent = self.parent.map(|parent| parent.uuid().into_bytes());
        Ok(insert.insert(params![run, trace, agent, account, self.depth, epoch, at_us, session, parent])?)
    }

    fn write(&self, connection: &Connection, id: i64, json: &str) -> Result<(), StoreError> {
        let mut insert = connection.prepare_cached(
            "INSERT INTO events (run, number, at_us, entry)
             SELECT ?1, coalesce(max(number), 0) + 1, ?2, ?3 FROM events WHERE run = ?1",
        )?;
        insert.execute(params![id, self.record.at.as_microsecond(), json])?;
        Ok(())
    }

    /// Writes the outcome of the run if the event is its end.
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
        }
        Ok(())
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
