//! Reading connections.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use crate::{DatabaseSettings, StoreError, unpoisoned};

/// Reading connections, opened on demand. Cheap to clone; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Readers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Connections that are not in use.
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
    path: PathBuf,
    busy_timeout: Duration,
}

/// Enough to keep all statements of this crate prepared.
const CACHED_STATEMENTS: usize = 64;

impl Readers {
    pub(crate) fn new(path: &Path, settings: &DatabaseSettings) -> Self {
        Self(Arc::new(Inner {
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(settings.readers.max(1))),
            path: path.to_owned(),
            busy_timeout: settings.busy_timeout,
        }))
    }

    /// A connection outside the pool.
    pub(crate) fn connect(&self, access: OpenFlags) -> Result<Connection, StoreError> {
        connect(&self.0.path, access, self.0.busy_timeout)
    }

    /// Reads a consistent snapshot of the file, on a thread that may block.
    pub(crate) async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let readers = self.clone();
        let permit = Arc::clone(&self.0.permits).acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let reading = tokio::task::spawn_blocking(move || {
            let connection = readers.take()?;
            let transaction = connection.unchecked_transaction()?;
            let result = work(&transaction);
            drop(transaction);
            unpoisoned(&readers.0.idle).push(connection);
            // The permit is released only here, because the thread reads on after the caller has dropped its future.
            drop(permit);
            result
        });
        reading.await.map_err(|_| StoreError::Closed)?
    }

    fn take(&self) -> Result<Connection, StoreError> {
        let idle = unpoisoned(&self.0.idle).pop();
        idle.map_or_else(|| self.connect(OpenFlags::SQLITE_OPEN_READ_ONLY), Ok)
    }
}

pub(crate) fn connect(path: &Path, access: OpenFlags, busy_timeout: Duration) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(busy_timeout)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    Ok(connection)
}
