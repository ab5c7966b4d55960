//! The `WHERE` clause of a query.

use rusqlite::types::Value;

/// The most rows of a result, more than a page shows.
pub(crate) const MAX_ROWS: u32 = 10_000;

/// The conditions of a `WHERE` clause, and their values.
#[derive(Debug, Default)]
pub(crate) struct Conditions {
    clauses: Vec<String>,
    pub(crate) values: Vec<Value>,
}

impl Conditions {
    /// Adds a condition that ends with its value, if there is one.
    pub(crate) fn and(&mut self, clause: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.values.push(value.into());
            self.clauses.push(format!("{clause} ?{}", self.values.len()));
        }
    }

    /// Adds the condition that a path is this one, or one below it.
    pub(crate) fn and_below(&mut self, column: &str, path: Option<String>) {
        if let Some(path) = path {
            self.values.push(path.into());
            let number = self.values.len();
            // The character after `/` is `0`.
            let below = format!("{column} > ?{number} || '/' AND {column} < ?{number} || '0'");
            self.clauses.push(format!("({column} = ?{number} OR {below})"));
        }
    }

    /// Adds a condition without a value, if there is one.
    pub(crate) fn extend(&mut self, clause: Option<String>) {
        self.clauses.extend(clause);
    }

    pub(crate) fn sql(&self) -> String {
        if self.clauses.is_empty() { "1".to_owned() } else { self.clauses.join(" AND ") }
    }
}
