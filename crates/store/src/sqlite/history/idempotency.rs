//! Idempotency keys of requests.

use brigade_core::RunId;
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use crate::{Database, StoreError, sqlite::database::now_us};

/// The idempotency keys under which runs were started; see [`History::idempotency_keys`](crate::History::idempotency_keys).
/// Each account has its own. A key is kept as long as a run, see
/// [`HistorySettings::keep_runs`](crate::HistorySettings::keep_runs).
#[derive(Debug, Clone)]
pub struct StoredKeys(Database);

/// The run that was started under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyedRun {
    /// The run.
    pub run: RunId,
    /// A hash of the request.
    pub digest: [u8; 32],
}

const DELETE_OLD: &str = "DELETE FROM idempotency_keys WHERE (account, key) IN (
         SELECT account, key FROM idempotency_keys WHERE at_us < ?1 ORDER BY at_us LIMIT ?2)";

impl KeyedRun {
    /// A run, and the hash of the request that starts it.
    pub const fn new(run: RunId, digest: [u8; 32]) -> Self {
        Self { run, digest }
    }
}

impl StoredKeys {
    pub(super) fn new(database: Database) -> Self {
        Self(database)
    }

    /// Takes the key for a run that is about to start. Returns the run that has the key already, if there is one. If
    /// nothing was stored of that run, it was never started.
    pub async fn take(&self, account: &str, key: &str, new: KeyedRun) -> Result<Option<KeyedRun>, StoreError> {
        let (account, key) = (account.to_owned(), key.to_owned());
        let take = move |connection: &Connection| {
            let mut select = connection.prepare_cached(
                "SELECT run, digest FROM idempotency_keys AS keys WHERE account = ?1 AND key = ?2
                 AND (EXISTS (SELECT 1 FROM runs WHERE runs.run = keys.run)
                      OR EXISTS (SELECT 1 FROM durable_runs WHERE durable_runs.run = keys.run))",
            )?;
            let known = select.query_row([&account, &key], |row| {
                let run = RunId::from(Uuid::from_bytes(row.get(0)?));
                Ok(KeyedRun { run, digest: row.get(1)? })
            });
            let known = known.optional()?;
            if known.is_none() {
                let mut insert = connection.prepare_cached(
                    "INSERT OR REPLACE INTO idempotency_keys (account, key, digest, run, at_us) VALUES (?1, ?2, ?3, ?4, ?5)",
                )?;
                insert.execute(params![account, key, new.digest, new.run.uuid().into_bytes(), now_us()])?;
            }
            Ok(known)
        };
        self.0.write(take).await
    }

    /// Gives a key back, because its run was not started.
    pub async fn give_back(&self, account: &str, key: &str) -> Result<(), StoreError> {
        let (account, key) = (account.to_owned(), key.to_owned());
        let delete = move |connection: &Connection| {
            let sql = "DELETE FROM idempotency_keys WHERE account = ?1 AND key = ?2";
            connection.prepare_cached(sql)?.execute([account, key])?;
            Ok(())
        };
        self.0.write(delete).await
    }
}

/// Deletes some keys that are older than this time. Returns their number.
pub(super) fn delete_old(connection: &Connection, before_us: i64, limit: usize) -> Result<usize, StoreError> {
    Ok(connection.prepare_cached(DELETE_OLD)?.execute(params![before_us, limit])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_belongs_to_its_account_until_it_is_given_back_or_old() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path().join("test.db")).unwrap();
        let keys = StoredKeys::new(database.clone());
        let run = |digest| KeyedRun::new(RunId::from(Uuid::from_bytes([digest; 16])), [digest; 32]);
        let (first, second) = (run(1), run(2));
        assert_eq!(keys.take("ada", "k", second).await.unwrap(), None);
        assert_eq!(keys.take("ada", "k", first).await.unwrap(), None, "the second was never started");
        let rows = "INSERT INTO epochs VALUES (1, 0);
                    INSERT INTO runs (run, trace, agent, account, depth, epoch, started_us)
                    VALUES (x'01010101010101010101010101010101', '', '', 'ada', 0, 1, 0)";
        database.write(move |connection| Ok(connection.execute_batch(rows)?)).await.unwrap();
        assert_eq!(keys.take("ada", "k", second).await.unwrap(), Some(first));
        assert_eq!(keys.take("bob", "k", second).await.unwrap(), None);
        keys.give_back("ada", "k").await.unwrap();
        assert_eq!(keys.take("ada", "k", second).await.unwrap(), None);
        let old = database.write(|connection| delete_old(connection, i64::MAX, 1)).await.unwrap();
        assert_eq!(old, 1, "a batch at a time");
        let new = database.write(|connection| delete_old(connection, 0, 9)).await.unwrap();
        assert_eq!(new, 0);
    }
}
