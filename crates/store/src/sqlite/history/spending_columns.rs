//! The columns of spending.

use std::sync::LazyLock;

use brigade_core::{Money, Spending, Usage};
use rusqlite::{Row, types::Value};

/// All columns, in the order of [`values`] and [`read`].
const COLUMNS: [&str; 14] = [
    "calls",
    "unpriced_calls",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
    "web_searches",
    "stated_cost_nano",
    "charged_nano",
    "estimated_nano",
    "uncertain_nano",
    "uncertain_tokens",
];

/// Adds spending to a row of `spend`.
pub(crate) static UPSERT_SPEND: LazyLock<String> =
    LazyLock::new(|| upsert("spend", &["day", "account", "agent", "model"]));

/// Adds spending to a row of `run_costs`.
pub(crate) static UPSERT_RUN_COSTS: LazyLock<String> = LazyLock::new(|| upsert("run_costs", &["run", "model"]));

/// A statement that adds spending to the row of `table` with these key columns, or inserts the row.
fn upsert(table: &str, keys: &[&str]) -> String {
    let columns: Vec<_> = keys.iter().chain(&COLUMNS).copied().collect();
    let parameters: Vec<_> = (1..=columns.len()).map(|number| format!("?{number}")).collect();
    // The sum of two absent values stays absent, which a sum with zeros would not.
    let sums =
        COLUMNS.map(|column| format!("{column} = coalesce({column} + excluded.{column}, {column}, excluded.{column})"));
    format!(
        "INSERT INTO {table} ({}) VALUES ({}) ON CONFLICT ({}) DO UPDATE SET {}",
        columns.join(", "),
        parameters.join(", "),
        keys.join(", "),
        sums.join(", "),
    )
}

/// The list of the sums of all columns, for a `SELECT`.
pub(crate) fn sums() -> String {
    COLUMNS.map(|column| format!("sum({column})")).join(", ")
}

/// The list of the columns of `table`, for a `SELECT`.
pub(crate) fn columns(table: &str) -> String {
    COLUMNS.map(|column| format!("{table}.{column}")).join(", ")
}

/// The values of all columns for one row.
pub(crate) fn values(spending: &Spending) -> impl Iterator<Item = Value> {
    let Spending { calls, unpriced_calls, usage, charged, estimated, uncertain, uncertain_tokens, .. } = *spending;
    let count = |number: u64| Value::Integer(i64::try_from(number).unwrap_or(i64::MAX));
    let optional = move |number: Option<u64>| number.map_or(Value::Null, count);
    let values: [Value; COLUMNS.len()] = [
        count(calls),
        count(unpriced_calls),
        count(usage.input_tokens),
        count(usage.output_tokens),
        optional(usage.cache_read_tokens),
        optional(usage.cache_write_tokens),
        optional(usage.cache_write_1h_tokens),
        optional(usage.reasoning_tokens),
        optional(usage.web_searches),
        usage.stated_cost.map_or(Value::Null, |cost| Value::Integer(cost.nano())),
        Value::Integer(charged.nano()),
        Value::Integer(estimated.nano()),
        Value::Integer(uncertain.nano()),
        count(uncertain_tokens),
    ];
    values.into_iter()
}

/// The values of `known` that `found` does not have. No value is negative.
pub(crate) fn missing(known: &Spending, found: &Spending) -> Vec<Value> {
    let missing = values(known).zip(values(found)).map(|(known, found)| match (known, found) {
        (Value::Integer(known), Value::Integer(found)) => Value::Integer(known.saturating_sub(found).max(0)),
        (known, _) => known,
    });
    missing.collect()
}

/// Reads the columns from index `first` on. A sum over no rows is zero.
pub(crate) fn read(row: &Row<'_>, first: usize) -> rusqlite::Result<Spending> {
    let count = |column: usize| row.get::<_, Option<u64>>(first + column);
    let money = |column: usize| Ok(row.get::<_, Option<i64>>(first + column)?.map(Money::from_nano));
    let or_zero = |amount: rusqlite::Result<Option<Money>>| amount.map(Option::unwrap_or_default);
    let input_tokens = count(2)?.unwrap_or_default();
    let output_tokens = count(3)?.unwrap_or_default();
    let mut spending = Spending::default();
    spending.calls = count(0)?.unwrap_or_default();
    spending.unpriced_calls = count(1)?.unwrap_or_default();
    spending.usage = Usage::new(input_tokens, output_tokens)
        .cache_read_tokens(count(4)?)
        .cache_write_tokens(count(5)?)
        .cache_write_1h_tokens(count(6)?)
        .reasoning_tokens(count(7)?)
        .web_searches(count(8)?)
        .stated_cost(money(9)?);
    spending.charged = or_zero(money(10))?;
    spending.estimated = or_zero(money(11))?;
    spending.uncertain = or_zero(money(12))?;
    spending.uncertain_tokens = count(13)?.unwrap_or_default();
    Ok(spending)
}
