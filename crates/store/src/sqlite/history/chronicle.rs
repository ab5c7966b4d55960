//! Writes events and books in batches, on a thread of its own.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

use brigade_core::{Event, RunId, Spending, TraceId};
use rusqlite::{Connection, OptionalExtension, params, params_from_iter, types::Value};
use tokio::{sync::oneshot, time::Instant};

use super::{
    books::Books,
    history::{Pending, Written},
    spending,
};
use crate::{Database, Describe, HistorySettings, StoreError, sqlite::database::now_us, unpoisoned};

/// An event on its way to the database.
#[derive(Debug)]
pub(crate) struct Happening {
    pub(crate) at_us: i64,
    pub(crate) run: RunId,
    pub(crate) trace: TraceId,
    pub(crate) agent: Arc<str>,
    pub(crate) account: Arc<str>,
    pub(crate) session: Option<Arc<str>>,
    pub(crate) depth: u32,
    /// What the run had spent when it failed: no event tells it.
    pub(crate) spent: Option<Spending>,
    pub(crate) event: Event,
}

/// What is written in one transaction.
#[derive(Debug, Default)]
struct Batch {
    happenings: Vec<(Happening, Option<String>)>,
    /// Money moved, or somebody waits.
    is_urgent: bool,
}

/// Everything the thread needs.
#[derive(Debug)]
pub(crate) struct Chronicle {
    database: Database,
    describe: Describe,
    settings: HistorySettings,
    epoch: i64,
    pending: Arc<Pending>,
    waiting: Vec<oneshot::Sender<Result<(), StoreError>>>,
    is_broken: bool,
}

/// One transaction stays short enough for others to write in between.
const MOST_PER_BATCH: usize = 1_024;

/// How long a full disk is left alone.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Retention counts in days.
const SWEEP_INTERVAL: Duration = Duration::from_hours(1);

/// A statement that deletes many rows keeps others from writing.
const MOST_SWEPT: u32 = 200;

impl Chronicle {
    pub(crate) fn new(
        database: Database,
        describe: Describe,
        (settings, epoch): (HistorySettings, i64),
        pending: Arc<Pending>,
    ) -> Self {
        Self { database, describe, settings, epoch, pending, waiting: Vec::new(), is_broken: false }
    }

    /// Writes what comes until nobody is left to tell anything.
    pub(crate) fn keep(mut self, queue: &Receiver<Option<Happening>>) {
        let mut next_sweep = Instant::now();
        loop {
            let now = Instant::now();
            if next_sweep <= now {
                next_sweep = now + SWEEP_INTERVAL;
                self.sweep();
            }
            let first = queue.recv_timeout(self.patience(next_sweep - now));
            // All that they have seen is in the queue by now, if it is not written.
            self.waiting.append(&mut unpoisoned(&self.pending.waiting));
            let mut batch = Batch { is_urgent: !self.waiting.is_empty(), ..Batch::default() };
            let end = match first {
                Ok(first) => {
                    batch.add(first, self.describe);
                    self.fill(&mut batch, queue)
                }
                Err(end) => Some(end),
            };
            let result = self.write(batch);
            if end.is_some() || result.is_err() {
                self.answer(&result);
            }
            if end == Some(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }

    /// How long to wait for something to happen.
    fn patience(&self, until_sweep: Duration) -> Duration {
        if !self.waiting.is_empty() || !unpoisoned(&self.pending.waiting).is_empty() {
            Duration::ZERO
        } else if self.is_broken {
            RETRY_INTERVAL
        } else {
            until_sweep
        }
    }

    /// Tells those who waited until the queue was empty.
    fn answer(&mut self, result: &Result<(), StoreError>) {
        for waiter in self.waiting.drain(..) {
            // Whoever waited may have gone away.
            drop(waiter.send(result.clone()));
        }
    }

    /// Waits for more to write along, unless it is urgent. Answers why nothing more came.
    fn fill(&self, batch: &mut Batch, queue: &Receiver<Option<Happening>>) -> Option<RecvTimeoutError> {
        let deadline = Instant::now() + self.settings.interval;
        while batch.happenings.len() < MOST_PER_BATCH {
            let patience = if batch.is_urgent { Duration::ZERO } else { deadline - Instant::now() };
            match queue.recv_timeout(patience) {
                Ok(happening) => batch.add(happening, self.describe),
                Err(end) => return Some(end),
            }
        }
        None
    }

    fn write(&mut self, batch: Batch) -> Result<(), StoreError> {
        let books = Arc::new(unpoisoned(&self.pending.books).take());
        let (count, epoch) = (batch.happenings.len() as u64, self.epoch);
        let result = if count == 0 && books.is_empty() {
            Ok(())
        } else {
            let books = Arc::clone(&books);
            self.database.write_blocking(move |connection| {
                books.write(connection, epoch)?;
                batch.write(connection, epoch)
            })
        };
        self.check(&result, &books, count);
        self.pending.written.send_replace(Written { noted: books.noted(), result: result.clone() });
        result
    }

    /// A full disk loses events, never money, and must not fill the log with the news of it.
    fn check(&mut self, result: &Result<(), StoreError>, books: &Books, count: u64) {
        let was_broken = std::mem::replace(&mut self.is_broken, result.is_err());
        let Err(error) = result else { return };
        unpoisoned(&self.pending.books).put_back(books.clone());
        self.pending.lost.fetch_add(count, Ordering::Relaxed);
        if !was_broken {
            let error = error as &dyn std::error::Error;
            tracing::error!(error, "the history cannot be written: events go missing, money is kept and tried again");
        }
    }

    /// Deletes what is older than it is kept.
    fn sweep(&self) {
        let before = |age: Duration| now_us().saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
        let [events, runs] = [self.settings.keep_events, self.settings.keep_runs].map(before);
        let statements = [
            (
                "DELETE FROM events WHERE run IN (SELECT id FROM runs WHERE started_us < ?1
              AND EXISTS (SELECT 1 FROM events WHERE run = runs.id) ORDER BY id LIMIT ?2)",
                events,
            ),
            ("DELETE FROM runs WHERE id IN (SELECT id FROM runs WHERE started_us < ?1 ORDER BY id LIMIT ?2)", runs),
        ];
        for (statement, before_us) in statements {
            loop {
                let delete = move |connection: &Connection| {
                    Ok(connection.prepare_cached(statement)?.execute(params![before_us, MOST_SWEPT])?)
                };
                match self.database.write_blocking(delete) {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) => {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(error, "old history could not be deleted; it is tried again in an hour");
                        break;
                    }
                }
            }
        }
    }
}

impl Drop for Chronicle {
    /// Nobody waits for a thread that has ended, for whatever reason.
    fn drop(&mut self) {
        self.pending.written.send_replace(Written { noted: Written::ENDED, result: Err(StoreError::Closed) });
        unpoisoned(&self.pending.waiting).clear();
    }
}

impl Batch {
    fn add(&mut self, happening: Option<Happening>, describe: Describe) {
        match happening {
            None => self.is_urgent = true,
            Some(happening) => {
                self.is_urgent |= matches!(happening.event, Event::AttemptStarted { .. } | Event::AttemptEnded { .. });
                let entry = describe(&happening.event);
                self.happenings.push((happening, entry));
            }
        }
    }

    fn write(&self, connection: &Connection, epoch: i64) -> Result<(), StoreError> {
        let mut known = HashMap::new();
        let mut costs: HashMap<(i64, String), Spending> = HashMap::new();
        for (happening, entry) in &self.happenings {
            let id = match known.entry(happening.run) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(new) => *new.insert(happening.run_row(connection, epoch)?),
            };
            if let Event::AttemptEnded { model, charge: Some(charge), .. } = &happening.event {
                *costs.entry((id, model.to_string())).or_default() += Spending::from(charge);
            }
            happening.close(connection, id)?;
            if let Some(entry) = entry {
                happening.write(connection, id, entry)?;
            }
        }
        let mut upsert = connection.prepare_cached(&spending::upsert("run_costs", &["run", "model"]))?;
        for ((id, model), spent) in costs {
            let line = [Value::Integer(id), Value::Text(model)];
            upsert.execute(params_from_iter(line.into_iter().chain(spending::values(&spent))))?;
        }
        Ok(())
    }
}

impl Happening {
    /// The row of the run; made if this is the first that is heard of it.
    fn run_row(&self, connection: &Connection, epoch: i64) -> Result<i64, StoreError> {
        let run = self.run.uuid().into_bytes();
        let mut select = connection.prepare_cached("SELECT id FROM runs WHERE run = ?1")?;
        if let Some(id) = select.query_row([run], |row| row.get(0)).optional()? {
            return Ok(id);
        }
        let mut insert = connection.prepare_cached(
            "INSERT INTO runs (run, trace, agent, account, depth, epoch, started_us, session)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        let trace = self.trace.to_string();
        let Self { agent, account, depth, at_us, session, .. } = self;
        Ok(insert.insert(params![run, trace, agent, account, depth, epoch, at_us, session])?)
    }

    fn write(&self, connection: &Connection, id: i64, entry: &str) -> Result<(), StoreError> {
        let mut insert = connection.prepare_cached(
            "INSERT INTO events (run, number, at_us, entry)
             SELECT ?1, coalesce(max(number), 0) + 1, ?2, ?3 FROM events WHERE run = ?1",
        )?;
        insert.execute(params![id, self.at_us, entry])?;
        Ok(())
    }

    /// Notes how the run ended, if that is what happened.
    fn close(&self, connection: &Connection, id: i64) -> Result<(), StoreError> {
        match &self.event {
            Event::RunEnded { stop, turns, usage, cost, elapsed } => {
                let mut update = connection.prepare_cached(
                    "UPDATE runs SET outcome = ?2, turns = ?3, input_tokens = ?4, output_tokens = ?5, cost_nano = ?6,
                     elapsed_us = ?7, error = NULL WHERE id = ?1",
                )?;
                let (cost, elapsed) = (cost.map(brigade_core::Money::nano), micros(*elapsed));
                update.execute(params![
                    id,
                    stop.name(),
                    turns,
                    usage.input_tokens,
                    usage.output_tokens,
                    cost,
                    elapsed
                ])?;
            }
            Event::RunFailed { kind, elapsed, .. } => {
                let mut update = connection.prepare_cached(
                    "UPDATE runs SET outcome = 'failed', error = ?2, elapsed_us = ?3, input_tokens = ?4,
                     output_tokens = ?5, cost_nano = ?6 WHERE id = ?1",
                )?;
                let (error, elapsed) = (kind.map(brigade_core::ModelErrorKind::name), micros(*elapsed));
                let cost = self.spent.and_then(|spent| spent.cost()).map(brigade_core::Money::nano);
                let usage = self.spent.map(|spent| spent.usage);
                let tokens = usage.map(|usage| (usage.input_tokens, usage.output_tokens)).unzip();
                update.execute(params![id, error, elapsed, tokens.0, tokens.1, cost])?;
            }
            _ => {}
        }
        Ok(())
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
