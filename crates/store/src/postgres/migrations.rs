//! The migrations of the schema, which are applied in order and never change.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};
use tokio_postgres::Row;

use super::{
    database::PostgresDatabase,
    session::Session,
    values::{first, get, values},
};
use crate::StoreError;

/// The migration at index `n` has the number `n + 1`. Published migrations never change, because databases have them.
const MIGRATIONS: [&str; 3] = [
    include_str!("../../migrations/postgres/0001_durable_runs.sql"),
    include_str!("../../migrations/postgres/0002_sessions.sql"),
    include_str!("../../migrations/postgres/0003_notes.sql"),
];

/// The lock that processes hold while they migrate: "Brigade" in ASCII. It ends with its transaction, so that a proxy which
/// shares connections cannot keep it.
const LOCK: &str = "SELECT pg_advisory_xact_lock(18704197652145253)";

const TABLE: &str = "CREATE SCHEMA IF NOT EXISTS brigade;
    CREATE TABLE IF NOT EXISTS brigade.migrations (
        number bigint PRIMARY KEY, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now()
    )";

const APPLIED: &str = "SELECT number, sha256 FROM brigade.migrations ORDER BY number";

/// The number of the last migration of this program.
pub(crate) fn newest() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Applies what is missing, all of it or nothing. Returns the numbers of the applied migrations.
pub(crate) async fn migrate(database: &PostgresDatabase) -> Result<Vec<i64>, StoreError> {
    // Without a lock, and without the right to create tables, if there is nothing to do.
    if applied(database).await? == newest() {
        return Ok(Vec::new());
    }
    let session = database.session().await?;
    let new = match session.begin_with(LOCK, &[]).await {
        Ok(_) => apply(database, &session).await,
        Err(error) => Err(error),
    };
    session.end(new).await
}

/// The number of the last migration, if it is the newest one of this program.
pub(crate) async fn check(database: &PostgresDatabase) -> Result<i64, StoreError> {
    let (found, known) = (applied(database).await?, newest());
    if found < known {
        return Err(StoreError::Older { path: database.address().into(), found, known });
    }
    Ok(found)
}

async fn applied(database: &PostgresDatabase) -> Result<i64, StoreError> {
    let exists = database.query("SELECT to_regclass('brigade.migrations') IS NOT NULL", &[]).await?;
    if !first(&exists)?.unwrap_or(false) {
        return Ok(0);
    }
    verify(database, &database.query(APPLIED, &[]).await?)
}

async fn apply(database: &PostgresDatabase, session: &Session) -> Result<Vec<i64>, StoreError> {
    session.batch(TABLE).await?;
    let last = verify(database, &session.query(APPLIED, &[]).await?)?;
    let mut new = Vec::new();
    for (number, migration) in (1..).zip(MIGRATIONS).filter(|(number, _)| *number > last) {
        session.batch(migration).await?;
        let insert = "INSERT INTO brigade.migrations (number, sha256) VALUES ($1, $2)";
        session.execute(insert, values![number, checksum(migration)]).await?;
        new.push(number);
    }
    Ok(new)
}

/// The number of the last migration, if all are known and none was changed since it was applied.
fn verify(database: &PostgresDatabase, rows: &[Row]) -> Result<i64, StoreError> {
    let mut last = 0;
    for row in rows {
        let (number, sha256): (i64, String) = (get(row, "number")?, get(row, "sha256")?);
        let known = usize::try_from(number - 1).ok().and_then(|index| MIGRATIONS.get(index));
        let Some(known) = known else {
            return Err(StoreError::Newer { path: database.address().into(), found: number, known: newest() });
        };
        if checksum(known) != sha256 {
            return Err(StoreError::OtherMigration { number });
        }
        last = number;
    }
    Ok(last)
}

fn checksum(migration: &str) -> String {
    Sha256::digest(migration.as_bytes()).iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
