//! Deletes durable runs whose retention has ended.

use rusqlite::{Connection, OptionalExtension, params};

use crate::StoreError;

/// Erases the outcomes of runs that ended before this time, but at most so many. Returns whether there may be more.
pub(crate) fn erase_answers(connection: &Connection, before_us: i64, max_rows: usize) -> Result<bool, StoreError> {
    let mut erase = connection.prepare_cached(
        "UPDATE durable_runs SET output = NULL WHERE id IN (
             SELECT id FROM durable_runs WHERE ended_us < ?1 AND output IS NOT NULL ORDER BY ended_us LIMIT ?2)",
    )?;
    Ok(erase.execute(params![before_us, max_rows])? >= max_rows)
}

/// Deletes runs that ended before this time, but at most so many rows, because a transaction with more would hold other
/// writers for too long. Returns whether there may be more. A run that has not ended is kept, however old it is.
pub(crate) fn delete_ended(connection: &Connection, before_us: i64, max_rows: usize) -> Result<bool, StoreError> {
    let mut oldest =
        connection.prepare_cached("SELECT id FROM durable_runs WHERE ended_us < ?1 ORDER BY ended_us LIMIT 1")?;
    let mut delete_steps = connection.prepare_cached(
        "DELETE FROM durable_steps WHERE run = ?1 AND path IN (
             SELECT path FROM durable_steps WHERE run = ?1 ORDER BY path LIMIT ?2)",
    )?;
    // The input and the signals are deleted with it.
    let mut delete_run = connection.prepare_cached("DELETE FROM durable_runs WHERE id = ?1")?;
    let mut rows = 0;
    while let Some(id) = oldest.query_row([before_us], |row| row.get::<_, i64>(0)).optional()? {
        rows += delete_steps.execute(params![id, max_rows - rows])?;
        if rows >= max_rows {
            return Ok(true);
        }
        rows += delete_run.execute([id])?;
        if rows >= max_rows {
            return Ok(true);
        }
    }
    Ok(false)
}
