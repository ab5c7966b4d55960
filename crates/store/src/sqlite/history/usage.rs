//! What was spent, summed up.

use brigade_core::{Spending, Window};
use rusqlite::{Connection, params_from_iter, types::Value};

use super::spending;
use crate::{
    StoreError,
    sqlite::conditions::{Conditions, MOST_LINES},
};

/// Which spending to sum up. Absent means any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageFilter {
    /// From this day on, in days since 1970-01-01 UTC.
    pub since_day: Option<i64>,
    /// Up to and with this day.
    pub until_day: Option<i64>,
    /// Billed to this account.
    pub account: Option<String>,
    /// Of this agent and of those below it, by its path.
    pub agent: Option<String>,
    /// Of this model, as `provider/model`.
    pub model: Option<String>,
}

/// What usage is listed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageBy {
    /// By day.
    Day,
    /// By the account that is billed, such as a key.
    Account,
    /// By the agent's path.
    Agent,
    /// By model.
    Model,
}

/// What was spent on one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageLine {
    /// What it was spent on, in the order that was asked for; a day is its number since 1970-01-01.
    pub on: Vec<String>,
    /// How much.
    pub spending: Spending,
}

impl UsageBy {
    const fn column(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Account => "account",
            Self::Agent => "agent",
            Self::Model => "model",
        }
    }
}

pub(crate) fn usage(
    connection: &Connection,
    filter: &UsageFilter,
    by: &[UsageBy],
) -> Result<Vec<UsageLine>, StoreError> {
    let mut conditions = Conditions::default();
    conditions.and("day >=", filter.since_day);
    conditions.and("day <=", filter.until_day);
    conditions.and("account =", filter.account.clone());
    conditions.and_below("agent", filter.agent.clone());
    conditions.and("model =", filter.model.clone());
    let columns: Vec<_> = by.iter().map(|by| by.column()).collect();
    let (group, select) = match columns.as_slice() {
        [] => (String::new(), String::new()),
        columns => {
            let list = columns.join(", ");
            (format!("GROUP BY {list} ORDER BY {list}"), format!("{list}, "))
        }
    };
    let (sums, conditions_sql) = (spending::sums(), conditions.sql());
    let sql = format!("SELECT {select}{sums} FROM spend WHERE {conditions_sql} {group} LIMIT {MOST_LINES}");
    let mut select = connection.prepare_cached(&sql)?;
    let lines = select.query_map(params_from_iter(conditions.values), |row| {
        let on = (0..columns.len()).map(|column| match row.get(column)? {
            Value::Integer(day) => Ok(day.to_string()),
            Value::Text(text) => Ok(text),
            _ => Ok(String::new()),
        });
        Ok(UsageLine { on: on.collect::<rusqlite::Result<_>>()?, spending: spending::read(row, columns.len())? })
    })?;
    Ok(lines.collect::<Result<_, _>>()?)
}

/// The first day of the window that holds `day`.
pub(crate) fn first_day(connection: &Connection, window: Window, day: i64) -> Result<i64, StoreError> {
    let start_of_month = "SELECT unixepoch(?1 * 86400, 'unixepoch', 'start of month') / 86400";
    match window {
        Window::Total => Ok(i64::MIN),
        Window::Day => Ok(day),
        Window::Month => Ok(connection.query_row(start_of_month, [day], |row| row.get(0))?),
    }
}
