//! Deletes history whose retention has ended.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::idempotency;
use crate::{
    Database, HistorySettings, StoreError,
    sqlite::{database::now_us, runs::retention},
};

/// The oldest history to keep, in microseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retention {
    pub(super) events: i64,
    pub(super) runs: i64,
    pub(super) answers: i64,
}

/// A transaction with more rows would hold other writers for longer than a commit.
const MAX_EVENTS: usize = 500;
const MAX_RUNS: usize = 50;

const OLDEST_WITH_EVENTS: &str =
    "SELECT id FROM runs WHERE id = (SELECT run FROM events ORDER BY run LIMIT 1) AND started_us < ?1";
const DELETE_EVENTS: &str = "DELETE FROM events WHERE run = ?1 AND number IN (SELECT number FROM events WHERE run = ?1 ORDER BY number LIMIT ?2)";
const DELETE_RUNS: &str = "DELETE FROM runs WHERE id IN (
         SELECT id FROM (SELECT id, started_us FROM runs ORDER BY id LIMIT ?2) WHERE started_us < ?1)";

impl Database {
    /// Deletes the history that these settings do not keep, and durable runs that ended as long ago. A running
    /// [`History`](crate::History) does so by itself.
    pub async fn prune_history(&self, settings: &HistorySettings) -> Result<(), StoreError> {
        let retention = Retention::of(settings);
        while self.write(move |connection| retention.delete_batch(connection)).await? {}
        Ok(())
    }
}

impl Retention {
    pub(super) fn of(settings: &HistorySettings) -> Self {
        let before = |age: Duration| now_us().saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
        Self {
            events: before(settings.keep_events),
            runs: before(settings.keep_runs),
            answers: before(settings.keep_answers),
        }
    }

    /// Deletes a batch of the oldest events, or of the oldest runs once they have no events. Returns whether there are
    /// more.
    ///
    /// Rows are visited in the order of their keys, which is that of time, so a batch reads hardly more than it deletes.
    pub(super) fn delete_batch(self, connection: &Connection) -> Result<bool, StoreError> {
        // A run is deleted with its events, which may be many.
        let events_us = self.events.max(self.runs);
        let mut deleted = 0;
        while let Some(run) = oldest_with_events(connection, events_us)? {
            deleted += delete_events(connection, run, MAX_EVENTS - deleted)?;
            if deleted >= MAX_EVENTS {
                return Ok(true);
            }
        }
        if idempotency::delete_old(connection, self.runs, MAX_RUNS)? == MAX_RUNS {
            return Ok(true);
        }
        if retention::delete_ended(connection, self.runs, MAX_EVENTS)? {
            return Ok(true);
        }
        if retention::erase_answers(connection, self.answers, MAX_EVENTS)? {
            return Ok(true);
        }
        let mut runs = connection.prepare_cached(DELETE_RUNS)?;
        Ok(runs.execute(params![self.runs, MAX_RUNS])? == MAX_RUNS)
    }
}

/// The oldest run with events, if it is old enough.
fn oldest_with_events(connection: &Connection, before_us: i64) -> Result<Option<i64>, StoreError> {
    let mut select = connection.prepare_cached(OLDEST_WITH_EVENTS)?;
    Ok(select.query_row([before_us], |row| row.get(0)).optional()?)
}

fn delete_events(connection: &Connection, run: i64, limit: usize) -> Result<usize, StoreError> {
    let mut delete = connection.prepare_cached(DELETE_EVENTS)?;
    Ok(delete.execute(params![run, limit])?)
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;

    const RETENTION: Retention = Retention { events: 2_000, runs: 1_000, answers: 1_000 };

    /// Runs that started at 0, 1, … microseconds, with some events each.
    async fn filled(runs: u32, events: u32) -> (Database, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path().join("test.db")).unwrap();
        let fill = move |connection: &Connection| {
            let numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)";
            connection.execute("INSERT INTO epochs (started_us) VALUES (0)", [])?;
            connection.execute(
                &format!(
                    "{numbers} INSERT INTO runs (run, trace, agent, account, depth, epoch, started_us)
                     SELECT randomblob(16), '', '', '', 0, 1, i - 1 FROM n"
                ),
                [runs],
            )?;
            connection
                .execute(&format!("{numbers} INSERT INTO events SELECT runs.id, i, 0, '' FROM n, runs"), [events])?;
            Ok(())
        };
        database.write(fill).await.unwrap();
        (database, folder)
    }

    fn count(connection: &Connection) -> (i64, i64) {
        let count = |sql: &str| connection.query_row(sql, [], |row| row.get(0)).unwrap();
        (count("SELECT count(*) FROM runs"), count("SELECT count(*) FROM events"))
    }

    #[tokio::test]
    async fn a_sweep_deletes_small_batches_until_nothing_is_too_old() {
        let (database, _folder) = filled(3_000, 3).await;
        let sweep = |connection: &Connection| {
            let mut before = count(connection);
            loop {
                let has_more = RETENTION.delete_batch(connection)?;
                let after = count(connection);
                assert!(before.0 - after.0 <= 50 && before.1 - after.1 <= 500, "{before:?} {after:?}");
                if !has_more {
                    return Ok(after);
                }
                before = after;
            }
        };
        assert_eq!(database.write(sweep).await.unwrap(), (2_000, 3_000));
    }

    #[tokio::test]
    async fn a_run_with_many_events_is_deleted_over_several_batches() {
        let (database, _folder) = filled(1, 1_700).await;
        let sweep = |connection: &Connection| {
            let mut batches = 1;
            while RETENTION.delete_batch(connection)? {
                batches += 1;
            }
            Ok((batches, count(connection)))
        };
        assert_eq!(database.write(sweep).await.unwrap(), (4, (0, 0)));
    }

    #[tokio::test]
    async fn a_sweep_reads_few_rows_however_many_there_are() {
        let (database, _folder) = filled(20_000, 1).await;
        let steps = |connection: &Connection| {
            // All runs are kept, half of them without events.
            connection.execute("DELETE FROM events WHERE run <= 10000", [])?;
            assert!(!Retention { events: 10_000, runs: 0, answers: 0 }.delete_batch(connection)?);
            let mut steps = 0;
            for sql in [OLDEST_WITH_EVENTS, DELETE_RUNS] {
                steps += connection.prepare_cached(sql)?.get_status(StatementStatus::VmStep);
            }
            Ok(steps)
        };
        let steps = database.write(steps).await.unwrap();
        assert!((1..2_000).contains(&steps), "{steps}");
    }
}
