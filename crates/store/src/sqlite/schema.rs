//! The versions of the schema, and the migrations between them.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior, functions::FunctionFlags};

use super::vectors::QuantizedVector;
use crate::StoreError;

/// Marks files of this crate: "Brig" in ASCII. See <https://sqlite.org/pragma.html#pragma_application_id>.
const APPLICATION_ID: i64 = 0x4272_6967;

/// The migration at index `n` takes a file from version `n` to version `n + 1`. Published migrations never change, because
/// files of every version exist.
const MIGRATIONS: [&str; 12] = [
    include_str!("../../migrations/0001_sessions.sql"),
    include_str!("../../migrations/0002_notes.sql"),
    include_str!("../../migrations/0003_history.sql"),
    include_str!("../../migrations/0004_sessions_of_runs.sql"),
    include_str!("../../migrations/0005_note_directions.sql"),
    include_str!("../../migrations/0006_roots_of_runs.sql"),
    include_str!("../../migrations/0007_idempotency_keys.sql"),
    include_str!("../../migrations/0008_uncertain_tokens.sql"),
    include_str!("../../migrations/0009_users_of_runs.sql"),
    include_str!("../../migrations/0010_durable_runs.sql"),
    include_str!("../../migrations/0011_approvals.sql"),
    include_str!("../../migrations/0012_responses.sql"),
];

/// The version of a file.
pub(crate) fn version(connection: &Connection) -> Result<i64, StoreError> {
    pragma(connection, "user_version")
}

/// The version after all migrations.
pub(crate) fn newest() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Refuses a file of another program or a newer version, before anything is written to it.
pub(crate) fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let (application, found) = (pragma(connection, "application_id")?, version(connection)?);
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let is_new = tables == 0 && application == 0 && found == 0;
    if application != APPLICATION_ID && !is_new {
        return Err(StoreError::Foreign(path.to_owned()));
    }
    let known = newest();
    if found > known {
        return Err(StoreError::Newer { path: path.to_owned(), found, known });
    }
    Ok(())
}

/// Refuses a file that must be migrated before it can be read.
pub(crate) fn check_current(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    check(connection, path)?;
    let (found, known) = (version(connection)?, newest());
    if found < known { Err(StoreError::Older { path: path.to_owned(), found, known }) } else { Ok(()) }
}

/// Migrates the file to the newest version, each step in a transaction.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let found = usize::try_from(pragma(connection, "user_version")?).unwrap_or(0);
    // The fifth migration calls this function, because SQL cannot decode floats from bytes.
    connection.create_scalar_function("direction", 1, FunctionFlags::default(), |values| {
        let vector = values.get_raw(0).as_blob_or_null()?;
        Ok(vector.and_then(QuantizedVector::from_floats).map(|vector| vector.as_bytes().to_vec()))
    })?;
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(found) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", i64::try_from(index + 1).unwrap_or(i64::MAX))?;
        transaction.commit()?;
    }
    Ok(())
}

/// Frees the durable runs that were at work when the process before ended. It does not have the file's lock any more, so it
/// cannot write for them.
pub(crate) fn free_running_runs(connection: &Connection) -> Result<(), StoreError> {
    let running = "SELECT 1 FROM durable_runs WHERE status = 'running' LIMIT 1";
    if connection.prepare(running)?.exists([])? {
        // They are due since they were submitted, so that they go on before newer runs begin.
        connection
            .execute("UPDATE durable_runs SET due_us = min(due_us, submitted_us) WHERE status = 'running'", [])?;
    }
    Ok(())
}

/// Writes the version that the file already has, which proves that the file can be written.
pub(crate) fn write_version_again(connection: &Connection) -> Result<(), StoreError> {
    Ok(connection.pragma_update(None, "user_version", version(connection)?)?)
}

fn pragma(connection: &Connection, name: &str) -> Result<i64, StoreError> {
    Ok(connection.pragma_query_value(None, name, |row| row.get(0))?)
}

#[cfg(test)]
mod tests;
