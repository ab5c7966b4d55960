//! Money that is settled or reserved, on its way to the database.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use brigade_core::{Charge, ModelId, Money, Run, RunId, Spending};
use rusqlite::{Connection, params, params_from_iter, types::Value};

use super::spending;
use crate::{StoreError, sqlite::database::now_ms};

/// What was settled and reserved since the last commit. Sums, so that there are as many as agents and models, however
/// long the disk is full.
#[derive(Debug, Clone, Default)]
pub(crate) struct Books {
    /// Counts what was noted, so that somebody can wait until it is written.
    noted: u64,
    spent: BTreeMap<Line, Spending>,
    /// What runs hold reserved now; nothing for those that hold nothing any more.
    reserved: HashMap<RunId, Option<Reservation>>,
}

/// What spending is booked on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    day: i64,
    account: Arc<str>,
    agent: Arc<str>,
    model: ModelId,
}

#[derive(Debug, Clone)]
struct Reservation {
    line: Line,
    calls: u64,
    amount: Money,
}

/// Days since 1970-01-01 in UTC, by which spending is kept.
pub(crate) fn today() -> i64 {
    now_ms() / 86_400_000
}

impl Books {
    /// How much was noted until now, written or not.
    pub(crate) fn noted(&self) -> u64 {
        self.noted
    }

    /// What is to be written; the count goes on.
    pub(crate) fn take(&mut self) -> Self {
        let noted = self.noted;
        std::mem::replace(self, Self { noted, ..Self::default() })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.spent.is_empty() && self.reserved.is_empty()
    }

    /// A call of `model` in `run` is about to leave.
    pub(crate) fn begin(&mut self, run: &Run, account: &Arc<str>, model: &ModelId) {
        self.note_reserved(run, Line::of(run, account, model));
    }

    /// A call of `model` in `run` is over.
    pub(crate) fn settle(&mut self, run: &Run, account: &Arc<str>, (model, charge): (&ModelId, Option<&Charge>)) {
        let line = Line::of(run, account, model);
        if let Some(charge) = charge {
            *self.spent.entry(line.clone()).or_default() += Spending::from(charge);
        }
        self.note_reserved(run, line);
    }

    /// What the ledger holds for the run. The ledger, and not the sum of events, is what limits go by.
    fn note_reserved(&mut self, run: &Run, line: Line) {
        self.noted += 1;
        let (calls, amount) = (run.ledger().outstanding(), run.ledger().reserved());
        self.reserved.insert(run.id(), (calls > 0).then_some(Reservation { line, calls, amount }));
    }

    /// Puts back what could not be written; what came meanwhile is newer.
    pub(crate) fn put_back(&mut self, older: Self) {
        for (line, spending) in older.spent {
            *self.spent.entry(line).or_default() += spending;
        }
        for (run, reservation) in older.reserved {
            self.reserved.entry(run).or_insert(reservation);
        }
    }

    pub(crate) fn write(&self, connection: &Connection, epoch: i64) -> Result<(), StoreError> {
        for (line, spending) in &self.spent {
            add(connection, line.values(), spending)?;
        }
        let mut delete = connection.prepare_cached("DELETE FROM reservations WHERE run = ?1")?;
        let mut upsert = connection.prepare_cached(
            "INSERT OR REPLACE INTO reservations (run, epoch, day, account, agent, model, calls, reserved_nano)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        for (run, reservation) in &self.reserved {
            let run = run.uuid().into_bytes();
            let Some(Reservation { line, calls, amount }) = reservation else {
                delete.execute([run])?;
                continue;
            };
            let Line { day, account, agent, model } = line;
            upsert.execute(params![run, epoch, day, account, agent, model.to_string(), calls, amount.nano()])?;
        }
        Ok(())
    }
}

impl Line {
    fn of(run: &Run, account: &Arc<str>, model: &ModelId) -> Self {
        Self { day: today(), account: Arc::clone(account), agent: Arc::clone(run.agent()), model: model.clone() }
    }

    fn values(&self) -> [Value; 4] {
        let Self { day, account, agent, model } = self;
        let text = |text: &str| Value::Text(text.to_owned());
        [Value::Integer(*day), text(account), text(agent), Value::Text(model.to_string())]
    }
}

/// Counts what calls of earlier processes had reserved as uncertain: they were cut off, and may be billed. Answers how
/// much it is.
pub(crate) fn settle_cut_off(connection: &Connection, epoch: i64) -> Result<Spending, StoreError> {
    let mut select = connection
        .prepare_cached("SELECT day, account, agent, model, calls, reserved_nano FROM reservations WHERE epoch < ?1")?;
    let mut rows = select.query([epoch])?;
    let mut total = Spending::default();
    while let Some(row) = rows.next()? {
        let line = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?];
        let mut cut_off = Spending::default();
        cut_off.calls = row.get(4)?;
        cut_off.uncertain = Money::from_nano(row.get(5)?);
        add(connection, line, &cut_off)?;
        total += cut_off;
    }
    connection.execute("DELETE FROM reservations WHERE epoch < ?1", [epoch])?;
    Ok(total)
}

fn add(connection: &Connection, line: [Value; 4], spending: &Spending) -> Result<(), StoreError> {
    let mut upsert = connection.prepare_cached(&spending::upsert("spend", &["day", "account", "agent", "model"]))?;
    upsert.execute(params_from_iter(line.into_iter().chain(spending::values(spending))))?;
    Ok(())
}
