//! Spending and reservations on their way to the database.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use brigade_core::{Charge, ModelId, Money, Run, RunId, Spending};
use rusqlite::{Connection, params, params_from_iter, types::Value};

use super::{history::RunOwner, run_row::RunRow, spending_columns as columns, usage::day_number};
use crate::{StoreError, sqlite::database::today};

/// The spending and reservations since the last commit. These are sums, so their number is that of agents and models,
/// however long the disk is full.
#[derive(Debug, Clone, Default)]
pub(super) struct SpendingLog {
    /// The number of changes so far, so that a caller can wait until they are written.
    revision: u64,
    pub(super) spent: BTreeMap<SpendingKey, Spending>,
    /// The spending of runs by model. The row of a run is written with it, because its first event may be lost.
    by_run: HashMap<(RunId, String), (RunRow, Spending)>,
    /// The current reservations of runs; `None` for runs that have none any more.
    pub(super) reserved: HashMap<RunId, Option<Reservation>>,
}

/// The key of a row of spending.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SpendingKey {
    pub(super) day: i64,
    pub(super) account: Arc<str>,
    pub(super) agent: Arc<str>,
    /// As `provider/model`.
    pub(super) model: String,
}

#[derive(Debug, Clone)]
pub(super) struct Reservation {
    pub(super) key: SpendingKey,
    pub(super) calls: u64,
    pub(super) amount: Money,
}

impl SpendingLog {
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// Takes the unwritten changes. The revision stays.
    pub(super) fn take(&mut self) -> Self {
        let revision = self.revision;
        std::mem::replace(self, Self { revision, ..Self::default() })
    }

    pub(super) fn call_started(&mut self, run: &Run, account: &Arc<str>, model: &ModelId) {
        self.update_reservation(run, SpendingKey::new(run, account, model));
    }

    pub(super) fn call_ended(&mut self, run: &Run, owner: &RunOwner, model: &ModelId, charge: Option<&Charge>) {
        let key = SpendingKey::new(run, &owner.account, model);
        if let Some(charge) = charge {
            *self.spent.entry(key.clone()).or_default() += Spending::from(charge);
            let of_run = self.by_run.entry((run.id(), key.model.clone()));
            of_run.or_insert_with(|| (RunRow::new(run, owner), Spending::default())).1 += Spending::from(charge);
        }
        self.update_reservation(run, key);
    }

    /// Takes the reservation from the run's ledger, which enforces the limits, rather than from a sum over events.
    fn update_reservation(&mut self, run: &Run, key: SpendingKey) {
        self.revision += 1;
        let (calls, amount) = (run.ledger().outstanding(), run.ledger().reserved());
        self.reserved.insert(run.id(), (calls > 0).then_some(Reservation { key, calls, amount }));
    }

    /// Puts back changes that could not be written. Reservations that changed since are newer.
    pub(super) fn put_back(&mut self, unwritten: Self) {
        for (key, spending) in unwritten.spent {
            *self.spent.entry(key).or_default() += spending;
        }
        for (key, (row, spending)) in unwritten.by_run {
            self.by_run.entry(key).or_insert_with(|| (row, Spending::default())).1 += spending;
        }
        for (run, reservation) in unwritten.reserved {
            self.reserved.entry(run).or_insert(reservation);
        }
    }

    pub(super) fn write(&self, connection: &Connection, epoch: i64) -> Result<(), StoreError> {
        for (key, spending) in &self.spent {
            add(connection, key.values(), spending)?;
        }
        for ((_, model), (row, spending)) in &self.by_run {
            add_to_run(connection, row.id(connection, epoch)?, model, spending)?;
        }
        let mut delete = connection.prepare_cached("DELETE FROM reservations WHERE run = ?1")?;
        for (run, reservation) in &self.reserved {
            match reservation {
                Some(reservation) => reservation.write(connection, *run, epoch)?,
                None => drop(delete.execute([run.uuid().into_bytes()])?),
            }
        }
        Ok(())
    }
}

impl Reservation {
    pub(super) fn write(&self, connection: &Connection, run: RunId, epoch: i64) -> Result<(), StoreError> {
        let mut upsert = connection.prepare_cached(
            "INSERT OR REPLACE INTO reservations (run, epoch, day, account, agent, model, calls, reserved_nano)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        let Self { key: SpendingKey { day, account, agent, model }, calls, amount } = self;
        upsert.execute(params![run.uuid().into_bytes(), epoch, day, account, agent, model, calls, amount.nano()])?;
        Ok(())
    }
}

impl SpendingKey {
    fn new(run: &Run, account: &Arc<str>, model: &ModelId) -> Self {
        Self {
            day: day_number(today()),
            account: Arc::clone(account),
            agent: Arc::clone(run.agent()),
            model: model.to_string(),
        }
    }

    pub(super) fn values(&self) -> [Value; 4] {
        let Self { day, account, agent, model } = self;
        let text = |text: &str| Value::Text(text.to_owned());
        [Value::Integer(*day), text(account), text(agent), text(model)]
    }
}

/// Counts the reservations of earlier processes as uncertain: their calls were interrupted, and may be billed. Returns
/// the sum.
pub(super) fn settle_interrupted(connection: &Connection, epoch: i64) -> Result<Spending, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT day, reservations.account, reservations.agent, model, calls, reserved_nano, runs.id
         FROM reservations LEFT JOIN runs ON runs.run = reservations.run WHERE reservations.epoch < ?1",
    )?;
    let mut rows = select.query([epoch])?;
    let mut total = Spending::default();
    while let Some(row) = rows.next()? {
        let key = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?];
        let mut interrupted = Spending::default();
        interrupted.calls = row.get(4)?;
        interrupted.uncertain = Money::from_nano(row.get(5)?);
        add(connection, key, &interrupted)?;
        if let Some(run) = row.get(6)? {
            add_to_run(connection, run, &row.get::<_, String>(3)?, &interrupted)?;
        }
        total += interrupted;
    }
    connection.execute("DELETE FROM reservations WHERE epoch < ?1", [epoch])?;
    Ok(total)
}

pub(super) fn add(connection: &Connection, key: [Value; 4], spending: &Spending) -> Result<(), StoreError> {
    let mut upsert = connection.prepare_cached(&columns::UPSERT_SPEND)?;
    upsert.execute(params_from_iter(key.into_iter().chain(columns::values(spending))))?;
    Ok(())
}

/// Adds what a model cost in a run.
fn add_to_run(connection: &Connection, run: i64, model: &str, spending: &Spending) -> Result<(), StoreError> {
    let mut upsert = connection.prepare_cached(&columns::UPSERT_RUN_COSTS)?;
    let key = [Value::Integer(run), Value::Text(model.to_owned())];
    upsert.execute(params_from_iter(key.into_iter().chain(columns::values(spending))))?;
    Ok(())
}
