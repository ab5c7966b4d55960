//! The time in which one process writes the history.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use brigade_core::Money;
use rusqlite::{Connection, params};

use super::{spending_columns as columns, spending_log};
use crate::{Database, InterruptedWork, StoreError, sqlite::database::now_us};

/// The time in which one process writes the history. Work that an earlier epoch left open was interrupted.
#[derive(Debug, Clone)]
pub(super) struct Epoch {
    pub(super) id: i64,
    started_us: i64,
    /// The generation of the file that has this epoch.
    generation: u64,
    current_generation: Arc<AtomicU64>,
    database: std::path::PathBuf,
}

impl Epoch {
    /// Starts an epoch, and closes the work that earlier ones left open.
    pub(super) async fn start(database: &Database) -> Result<(Self, InterruptedWork), StoreError> {
        let new = Self {
            id: 0,
            started_us: now_us(),
            generation: 0,
            current_generation: database.generation(),
            database: database.path().to_owned(),
        };
        database.write(move |connection| new.begin(connection)).await
    }

    fn begin(self, connection: &Connection) -> Result<(Self, InterruptedWork), StoreError> {
        connection.execute("INSERT INTO epochs (started_us) VALUES (?1)", [self.started_us])?;
        let id = connection.last_insert_rowid();
        let spent = spending_log::settle_interrupted(connection, id)?;
        let runs = close_runs(connection, id)?;
        let interrupted = InterruptedWork { runs, calls: spent.calls, uncertain: spent.uncertain };
        let generation = self.current_generation.load(Ordering::Acquire);
        Ok((Self { id, generation, ..self }, interrupted))
    }

    /// Fails if another file took the place of the one with this epoch. Call it within a write.
    pub(super) fn check_file(&self) -> Result<(), StoreError> {
        if self.current_generation.load(Ordering::Acquire) == self.generation {
            return Ok(());
        }
        Err(StoreError::Replaced(self.database.clone()))
    }

    /// Continues in another file. A copy of the earlier file has this epoch already.
    pub(super) fn resume(self, connection: &Connection) -> Result<Self, StoreError> {
        let mut own = connection.prepare_cached("SELECT 1 FROM epochs WHERE id = ?1 AND started_us = ?2")?;
        if own.exists(params![self.id, self.started_us])? {
            let generation = self.current_generation.load(Ordering::Acquire);
            return Ok(Self { generation, ..self });
        }
        Ok(self.begin(connection)?.0)
    }
}

/// Ends the runs of earlier epochs with their cost until then. Returns their number.
fn close_runs(connection: &Connection, epoch: i64) -> Result<u64, StoreError> {
    let mut open = connection.prepare("SELECT id FROM runs WHERE outcome IS NULL AND epoch < ?1")?;
    let runs: Vec<i64> = open.query_map([epoch], |row| row.get(0))?.collect::<Result<_, _>>()?;
    // A run's cost includes that of its workers, whose paths are below its own.
    let mut spending = connection.prepare(&format!(
        "SELECT {} FROM run_costs WHERE run = ?1 OR run IN (
             SELECT part.id FROM runs AS top JOIN runs AS part ON part.root = coalesce(top.root, top.run)
             WHERE top.id = ?1 AND part.agent > top.agent || '/' AND part.agent < top.agent || '0')",
        columns::sums()
    ))?;
    let mut close = connection.prepare(
        "UPDATE runs SET outcome = 'interrupted', input_tokens = ?2, output_tokens = ?3, cost_nano = ?4 WHERE id = ?1",
    )?;
    for run in &runs {
        let spent = spending.query_row([run], |row| columns::read(row, 0))?;
        let cost = spent.cost().map(Money::nano);
        close.execute(params![run, spent.usage.input_tokens, spent.usage.output_tokens, cost])?;
    }
    Ok(runs.len() as u64)
}

/// Writes to every table of the history and undoes it, which finds a table that is missing or cannot be written.
pub(super) fn probe(connection: &Connection) -> Result<(), StoreError> {
    connection.execute_batch("SAVEPOINT probe")?;
    let result = write_everywhere(connection);
    connection.execute_batch("ROLLBACK TO probe; RELEASE probe")?;
    result
}

fn write_everywhere(connection: &Connection) -> Result<(), StoreError> {
    let epoch = connection.prepare_cached("INSERT INTO epochs (started_us) VALUES (0)")?.insert([])?;
    let mut run = connection.prepare_cached(
        "INSERT INTO runs (run, trace, agent, account, depth, epoch, started_us) VALUES (?1, '', '', '', 0, ?2, 0)",
    )?;
    let id = [0_u8; 16];
    let run = run.insert(params![id, epoch])?;
    let mut event =
        connection.prepare_cached("INSERT INTO events (run, number, at_us, entry) VALUES (?1, 1, 0, '')")?;
    event.execute([run])?;
    write_durable_run(connection)?;
    let spending = || columns::values(&brigade_core::Spending::default()).collect::<Vec<_>>();
    let mut cost = connection.prepare_cached(&columns::UPSERT_RUN_COSTS)?;
    let key = [run.into(), String::new().into()];
    cost.execute(rusqlite::params_from_iter(key.into_iter().chain(spending())))?;
    let key = spending_log::SpendingKey { day: 0, account: "".into(), agent: "".into(), model: String::new() };
    spending_log::add(connection, key.values(), &brigade_core::Spending::default())?;
    let reservation = spending_log::Reservation { key, calls: 0, amount: Money::default() };
    reservation.write(connection, brigade_core::RunId::from(uuid::Uuid::nil()), epoch)
}

fn write_durable_run(connection: &Connection) -> Result<(), StoreError> {
    let mut run = connection.prepare_cached(
        "INSERT INTO durable_runs (run, queue, account, digest, submitted_us, status) VALUES (?1, '', '', 0, 0, '')",
    )?;
    let run = run.insert([[0_u8; 16]])?;
    for sql in [
        "INSERT INTO durable_inputs (id, input) VALUES (?1, '')",
        "INSERT INTO durable_steps (run, path, record) VALUES (?1, '', '')",
        "INSERT INTO durable_signals (run, number, kind, payload) VALUES (?1, 1, '', '')",
    ] {
        connection.prepare_cached(sql)?.execute([run])?;
    }
    Ok(())
}
