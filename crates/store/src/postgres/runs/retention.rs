//! Deletes durable runs whose retention has ended.

use std::time::Duration;

use crate::{
    StoreError,
    postgres::{
        database::PostgresDatabase,
        values::{us, values},
    },
};

/// The most rows of a statement: one that changes more would hold others up.
const MAX_ROWS: i64 = 500;

/// Erases the outcomes of runs that ended so long ago, and deletes runs that ended even longer ago. A run that has not ended is kept,
/// however old it is.
pub(crate) async fn sweep(
    database: &PostgresDatabase,
    keep_runs: Duration,
    keep_answers: Duration,
) -> Result<(), StoreError> {
    let erase = "UPDATE brigade.durable_runs SET output = NULL WHERE id IN (
         SELECT id FROM brigade.durable_runs WHERE ended_us < brigade.now_us() - $1 AND output IS NOT NULL
         ORDER BY ended_us LIMIT $2 FOR UPDATE SKIP LOCKED)";
    let delete = "DELETE FROM brigade.durable_runs WHERE id IN (
         SELECT id FROM brigade.durable_runs WHERE ended_us < brigade.now_us() - $1
         ORDER BY ended_us LIMIT $2 FOR UPDATE SKIP LOCKED)";
    for (sql, keep) in [(erase, keep_answers), (delete, keep_runs)] {
        while database.execute(sql, values![us(keep), MAX_ROWS]).await? > 0 {}
    }
    Ok(())
}
