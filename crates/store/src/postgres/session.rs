//! The exclusive use of a connection.

use std::future::Future;

use tokio::{sync::OwnedSemaphorePermit, time::timeout};
use tokio_postgres::{Client, Row};

use super::{pool::Pool, values::TypedValue};
use crate::StoreError;

/// A connection that is used for one statement or one transaction. If it is dropped before its end, the connection is
/// closed, and the server rolls back what is open.
pub(crate) struct Session {
    client: Client,
    pool: Pool,
    _permit: OwnedSemaphorePermit,
}

impl Session {
    pub(super) fn new(client: Client, pool: Pool, permit: OwnedSemaphorePermit) -> Self {
        Self { client, pool, _permit: permit }
    }

    /// Executes one statement. It has no name, so that it also works where a proxy shares connections between transactions.
    pub(crate) async fn query(&self, sql: &str, values: &[TypedValue<'_>]) -> Result<Vec<Row>, StoreError> {
        self.bounded(self.client.query_typed(sql, values)).await
    }

    /// Executes one statement, and returns how many rows it has changed.
    pub(crate) async fn execute(&self, sql: &str, values: &[TypedValue<'_>]) -> Result<u64, StoreError> {
        self.bounded(self.client.execute_typed(sql, values)).await
    }

    /// Executes statements without values.
    pub(crate) async fn batch(&self, sql: &str) -> Result<(), StoreError> {
        self.bounded(self.client.batch_execute(sql)).await
    }

    /// Begins a transaction and executes its first statement, in one round trip.
    pub(crate) async fn begin_with(&self, sql: &str, values: &[TypedValue<'_>]) -> Result<Vec<Row>, StoreError> {
        let (begun, rows) = tokio::join!(biased; self.batch("BEGIN"), self.query(sql, values));
        begun.and(rows)
    }

    /// Begins a transaction that reads the database as it is at one moment.
    pub(crate) async fn begin_snapshot(&self) -> Result<(), StoreError> {
        self.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await
    }

    /// Ends the transaction: commits it, or rolls it back after an error. If the commit is not answered, it is not known
    /// whether it happened, which is [`StoreError::Unavailable`].
    pub(crate) async fn end<T>(self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        match result {
            // The server rolls back when it notices that the connection is closed.
            Err(error @ StoreError::Unavailable(_)) => Err(error),
            Err(error) => {
                if self.batch("ROLLBACK").await.is_ok() {
                    self.release();
                }
                Err(error)
            }
            Ok(value) => {
                self.batch("COMMIT").await?;
                self.release();
                Ok(value)
            }
        }
    }

    /// Ends the session after a statement outside a transaction.
    pub(crate) fn done<T>(self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if !matches!(result, Err(StoreError::Unavailable(_))) {
            self.release();
        }
        result
    }

    /// Gives the connection back. It must not have an open transaction.
    fn release(self) {
        let Self { client, pool, _permit: permit } = self;
        pool.give_back(client);
        drop(permit);
    }

    async fn bounded<T>(&self, work: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, StoreError> {
        match timeout(self.pool.timeout(), work).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(StoreError::no_answer()),
        }
    }
}
