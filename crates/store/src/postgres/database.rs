//! A PostgreSQL database that several processes share.

use std::time::Duration;

use tokio_postgres::Row;

use super::{
    address::Address,
    migrations,
    pool::Pool,
    session::Session,
    values::{TypedValue, first, get, unsigned},
};
use crate::StoreError;

/// A PostgreSQL database with sessions, notes, durable runs and the history of runs. Cheap to clone.
///
/// Any number of processes use it at the same time. Its tables are in the schema `brigade`. All times are by the clock of
/// the database. Statements have no names and there are no locks beyond a transaction, so a proxy such as pgbouncer may
/// share connections between transactions. PostgreSQL 14 or newer.
///
/// Errors never name the user or the password.
///
/// ```no_run
/// # async fn example() -> Result<(), brigade_store::StoreError> {
/// use brigade_store::{PostgresDatabase, PostgresRunStore};
///
/// let database = PostgresDatabase::open("postgres://brigade:secret@db.example/brigade").await?;
/// let runs = PostgresRunStore::new(database);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PostgresDatabase {
    pool: Pool,
}

/// Settings of [`PostgresDatabase`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PostgresSettings {
    /// The most connections of this process. 10: each serves hundreds of short transactions a second, and a server has 100
    /// for all its clients by default.
    pub connections: usize,
    /// How long to wait for a connection, or for the answer to a statement. 30 s: longer than a failover of a managed
    /// database, and after it a caller does something else.
    pub timeout: Duration,
}

/// What is in a database.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PostgresReport {
    /// The number of the last migration that was applied.
    pub schema: i64,
    /// The number of the last migration of this program.
    pub newest_schema: i64,
    /// The version of the server.
    pub server: String,
    /// The tables that people know of, with about as many rows as they have.
    pub rows: Vec<(String, u64)>,
}

impl Default for PostgresSettings {
    fn default() -> Self {
        Self { connections: 10, timeout: Duration::from_secs(30) }
    }
}

impl PostgresSettings {
    /// Sets the most connections of this process.
    #[must_use]
    pub fn connections(self, connections: usize) -> Self {
        Self { connections, ..self }
    }

    /// Sets how long to wait for a connection, or for the answer to a statement.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }
}

impl PostgresDatabase {
    /// Connects to `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, and migrates the database to the newest schema. Processes
    /// that start together wait for each other.
    ///
    /// Connections to other machines are encrypted, unless the address ends in `?sslmode=disable`. The server must prove its
    /// name with a certificate that the system trusts.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        Self::open_with(url, PostgresSettings::default()).await
    }

    /// Like [`PostgresDatabase::open`], with settings.
    pub async fn open_with(url: &str, settings: PostgresSettings) -> Result<Self, StoreError> {
        let database = Self::connect(url, settings)?;
        migrations::migrate(&database).await?;
        Ok(database)
    }

    /// The database as it is, without a connection yet: for programs that check it, or migrate it later.
    pub fn connect(url: &str, settings: PostgresSettings) -> Result<Self, StoreError> {
        Ok(Self { pool: Pool::new(Address::parse(url)?, settings)? })
    }

    /// Migrates the database to the newest schema. Returns the numbers of the migrations that were applied.
    pub async fn migrate(&self) -> Result<Vec<i64>, StoreError> {
        migrations::migrate(self).await
    }

    /// Reports what is in the database.
    ///
    /// # Errors
    ///
    /// Fails if a migration is missing, unknown, or not the one of this program.
    pub async fn check(&self) -> Result<PostgresReport, StoreError> {
        let schema = migrations::check(self).await?;
        let server = self.query("SELECT current_setting('server_version')", &[]).await?;
        let server = first(&server)?.unwrap_or_default();
        let rows = "SELECT relname::text AS name, greatest(n_live_tup, 0) AS rows FROM pg_stat_user_tables
                    WHERE schemaname = 'brigade' AND relname <> 'migrations' ORDER BY relname";
        let rows = self.query(rows, &[]).await?;
        let rows = rows.iter().map(|row| Ok((get(row, "name")?, unsigned(get(row, "rows")?))));
        let rows = rows.collect::<Result<_, StoreError>>()?;
        Ok(PostgresReport { schema, newest_schema: migrations::newest(), server, rows })
    }

    /// Checks that the database can be written to now, for readiness checks.
    pub async fn check_writable(&self) -> Result<(), StoreError> {
        let rows = self.query("SELECT current_setting('transaction_read_only') = 'on'", &[]).await?;
        if first(&rows)?.unwrap_or(false) {
            Err(StoreError::unavailable("the server is a read-only replica"))
        } else {
            Ok(())
        }
    }

    /// Closes the connections. Later calls fail with [`StoreError::Closed`].
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Its address, without secrets.
    pub fn address(&self) -> String {
        self.pool.address().to_string()
    }

    /// Executes one statement in a transaction of its own.
    pub(crate) async fn query(&self, sql: &str, values: &[TypedValue<'_>]) -> Result<Vec<Row>, StoreError> {
        let session = self.pool.session().await?;
        let rows = session.query(sql, values).await;
        session.done(rows)
    }

    /// Executes one statement in a transaction of its own, and returns how many rows it has changed.
    pub(crate) async fn execute(&self, sql: &str, values: &[TypedValue<'_>]) -> Result<u64, StoreError> {
        let session = self.pool.session().await?;
        let changed = session.execute(sql, values).await;
        session.done(changed)
    }

    /// A connection for exclusive use.
    pub(crate) async fn session(&self) -> Result<Session, StoreError> {
        self.pool.session().await
    }

    #[cfg(test)]
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }
}

#[cfg(test)]
mod tests;
