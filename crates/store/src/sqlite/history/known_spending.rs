//! The spending that the database should have.

use std::collections::{BTreeMap, HashMap};

use brigade_core::{RunId, Spending};
use rusqlite::{Connection, params_from_iter, types::Value};

use super::{
    spending_columns as columns,
    spending_log::{Reservation, SpendingKey, SpendingLog},
    usage::{day_number, first_day},
};
use crate::{StoreError, sqlite::database::today};

/// The spending and the reservations that were written, so that they can be written again if the file is lost. Budgets
/// count by day, by month or for ever, so all earlier months are one sum.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownSpending {
    spent: BTreeMap<SpendingKey, Spending>,
    reserved: HashMap<RunId, Reservation>,
}

impl KnownSpending {
    pub(super) fn read(connection: &Connection) -> Result<Self, StoreError> {
        let mut select = connection.prepare_cached(&format!(
            "SELECT max(day, ?1), account, agent, model, {} FROM spend GROUP BY 1, 2, 3, 4",
            columns::sums()
        ))?;
        let mut rows = select.query([earlier_months()])?;
        let mut known = Self::default();
        while let Some(row) = rows.next()? {
            let (account, agent, model): (String, String, String) = (row.get(1)?, row.get(2)?, row.get(3)?);
            let key = SpendingKey { day: row.get(0)?, account: account.into(), agent: agent.into(), model };
            known.spent.insert(key, columns::read(row, 4)?);
        }
        Ok(known)
    }

    /// Adds what was written.
    pub(super) fn add(&mut self, written: &SpendingLog) {
        for (key, spending) in &written.spent {
            *self.spent.entry(key.clone()).or_default() += *spending;
        }
        for (run, reservation) in &written.reserved {
            match reservation {
                Some(reservation) => drop(self.reserved.insert(*run, reservation.clone())),
                None => drop(self.reserved.remove(run)),
            }
        }
    }

    /// Sums up the months that have ended.
    pub(super) fn fold(&mut self) {
        let earlier = earlier_months();
        for (key, spending) in std::mem::take(&mut self.spent) {
            let day = key.day.max(earlier);
            *self.spent.entry(SpendingKey { day, ..key }).or_default() += spending;
        }
    }

    /// Writes what the file does not have, for example because it is new or an older copy.
    pub(super) fn restore(&mut self, connection: &Connection, epoch: i64) -> Result<(), StoreError> {
        self.fold();
        let found = Self::read(connection)?;
        let mut upsert = connection.prepare_cached(&columns::UPSERT_SPEND)?;
        for (key, spending) in &self.spent {
            let values = columns::missing(spending, &found.spent.get(key).copied().unwrap_or_default());
            if values.iter().any(|value| !matches!(value, Value::Null | Value::Integer(0))) {
                upsert.execute(params_from_iter(key.values().into_iter().chain(values)))?;
            }
        }
        connection.execute("DELETE FROM reservations", [])?;
        for (run, reservation) in &self.reserved {
            reservation.write(connection, *run, epoch)?;
        }
        Ok(())
    }
}

/// The last day before this month, which stands for all earlier months.
fn earlier_months() -> i64 {
    first_day(brigade_core::Window::Month, today()).map_or(0, day_number) - 1
}
