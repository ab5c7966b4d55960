//! Sums of spending.

use brigade_core::{Spending, Window};
use jiff::{Span, civil::Date};
use rusqlite::{Connection, params_from_iter, types::Value};

use super::spending_columns as columns;
use crate::{
    StoreError,
    sqlite::conditions::{Conditions, MAX_ROWS},
};

/// Selects spending. By default, all, up to 10,000 rows.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UsageFilter {
    /// From this day on, UTC.
    pub since_day: Option<Date>,
    /// Up to and including this day, UTC.
    pub until_day: Option<Date>,
    /// Only calls that this account pays for.
    pub account: Option<String>,
    /// Only this agent and the agents below it, given by its path.
    pub agent: Option<String>,
    /// Only this model, as `provider/model`.
    pub model: Option<String>,
    /// The number of rows to leave out, those of earlier pages.
    pub offset: u32,
    /// The most rows to return.
    pub limit: u32,
}

/// A column to group usage by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UsageBy {
    /// The day in UTC.
    Day,
    /// The account that pays, such as a key.
    Account,
    /// The agent's path.
    Agent,
    /// The name of the agent at the top of the path, which the calls of its workers count for.
    TopAgent,
    /// The model.
    Model,
}

/// The spending of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UsageRow {
    /// The values of the columns that the rows are grouped by, in the order of the request. A day is written as
    /// `2026-11-30`.
    pub group: Vec<String>,
    /// The sum.
    pub spending: Spending,
}

impl Default for UsageFilter {
    fn default() -> Self {
        Self { since_day: None, until_day: None, account: None, agent: None, model: None, offset: 0, limit: MAX_ROWS }
    }
}

impl UsageFilter {
    /// Selects days from this one on.
    #[must_use]
    pub fn since_day(self, day: Date) -> Self {
        Self { since_day: Some(day), ..self }
    }

    /// Selects days up to and including this one.
    #[must_use]
    pub fn until_day(self, day: Date) -> Self {
        Self { until_day: Some(day), ..self }
    }

    /// Selects calls that this account pays for.
    #[must_use]
    pub fn account(self, account: impl Into<String>) -> Self {
        Self { account: Some(account.into()), ..self }
    }

    /// Selects this agent and the agents below it.
    #[must_use]
    pub fn agent(self, agent: impl Into<String>) -> Self {
        Self { agent: Some(agent.into()), ..self }
    }
}

/// Rows store days as their number since this one.
const EPOCH: Date = Date::constant(1970, 1, 1);

impl UsageBy {
    const fn column(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Account => "account",
            Self::Agent => "agent",
            Self::TopAgent => "substr(agent, 1, instr(agent || '/', '/') - 1)",
            Self::Model => "model",
        }
    }
}

pub(crate) fn usage(
    connection: &Connection,
    filter: &UsageFilter,
    by: &[UsageBy],
) -> Result<Vec<UsageRow>, StoreError> {
    let mut conditions = Conditions::default();
    conditions.and("day >=", filter.since_day.map(day_number));
    conditions.and("day <=", filter.until_day.map(day_number));
    conditions.and("account =", filter.account.clone());
    conditions.and_below("agent", filter.agent.clone());
    conditions.and("model =", filter.model.clone());
    let group_columns: Vec<_> = by.iter().map(|by| by.column()).collect();
    let (group, select) = match group_columns.as_slice() {
        [] => (String::new(), String::new()),
        columns => {
            let list = columns.join(", ");
            (format!("GROUP BY {list} ORDER BY {list}"), format!("{list}, "))
        }
    };
    let (limit, offset) = (filter.limit.min(MAX_ROWS), filter.offset);
    let (sums, conditions_sql) = (columns::sums(), conditions.sql());
    let sql = format!("SELECT {select}{sums} FROM spend WHERE {conditions_sql} {group} LIMIT {limit} OFFSET {offset}");
    let mut select = connection.prepare_cached(&sql)?;
    let rows = select.query_map(params_from_iter(conditions.values), |row| {
        let group = (0..group_columns.len()).map(|column| match row.get(column)? {
            Value::Integer(number) => Ok(day(number).to_string()),
            Value::Text(text) => Ok(text),
            Value::Null | Value::Real(_) | Value::Blob(_) => Ok(String::new()),
        });
        let group = group.collect::<rusqlite::Result<_>>()?;
        Ok(UsageRow { group, spending: columns::read(row, group_columns.len())? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The first day of the window that contains `day`; `None` if the window has no start.
pub(super) fn first_day(window: Window, day: Date) -> Option<Date> {
    match window {
        Window::Total => None,
        Window::Day => Some(day),
        Window::Month => Some(day.first_of_month()),
    }
}

/// The number of a day since 1970-01-01.
pub(super) fn day_number(day: Date) -> i64 {
    i64::from((day - EPOCH).get_days())
}

fn day(number: i64) -> Date {
    Span::new().try_days(number).map(|days| EPOCH.saturating_add(days)).unwrap_or_default()
}
