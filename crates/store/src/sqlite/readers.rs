//! Reading connections.

use std::{
    fs::File,
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
    idle: Mutex<Idle>,
    permits: Arc<Semaphore>,
    path: PathBuf,
    busy_timeout: Duration,
}

/// Connections that are not in use.
#[derive(Debug, Default)]
struct Idle {
    connections: Vec<Connection>,
    /// The number of files that were opened before this one. Connections to an earlier file are not used again.
    generation: u64,
    /// Files that must stay open as long as a connection, see [`DatabaseFile::handle`](super::file::DatabaseFile::handle).
    files: Vec<Arc<File>>,
}

/// Enough to keep all statements of this crate prepared.
const CACHED_STATEMENTS: usize = 64;

impl Readers {
    pub(crate) fn new(path: &Path, settings: &DatabaseSettings, file: impl Into<Option<Arc<File>>>) -> Self {
        Self(Arc::new(Inner {
            idle: Mutex::new(Idle { files: file.into().into_iter().collect(), ..Idle::default() }),
            permits: Arc::new(Semaphore::new(settings.readers.max(1))),
            path: path.to_owned(),
            busy_timeout: settings.busy_timeout,
        }))
    }

    /// Closes the connections, because another file took the place of the database.
    pub(crate) fn retire(&self) {
        let mut idle = unpoisoned(&self.0.idle);
        idle.generation += 1;
        idle.connections.clear();
    }

    /// Keeps the file open as long as the connections.
    pub(crate) fn keep_open(&self, file: Arc<File>) {
        unpoisoned(&self.0.idle).files.push(file);
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
            let (connection, generation) = readers.take()?;
            let transaction = connection.unchecked_transaction()?;
            let result = work(&transaction);
            drop(transaction);
            readers.put_back(connection, generation);
            // The permit is released only here, because the thread reads on after the caller has dropped its future.
            drop(permit);
            result
        });
        reading.await.map_err(|error| StoreError::of_task(&error))?
    }

    /// A connection, and the generation of its file.
    fn take(&self) -> Result<(Connection, u64), StoreError> {
        let (idle, generation) = {
            let mut idle = unpoisoned(&self.0.idle);
            (idle.connections.pop(), idle.generation)
        };
        let connection = idle.map_or_else(|| self.connect(OpenFlags::SQLITE_OPEN_READ_ONLY), Ok)?;
        Ok((connection, generation))
    }

    fn put_back(&self, connection: Connection, generation: u64) {
        let mut idle = unpoisoned(&self.0.idle);
        if idle.generation == generation {
            idle.connections.push(connection);
        }
    }
}

pub(crate) fn connect(path: &Path, access: OpenFlags, busy_timeout: Duration) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(busy_timeout)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    Ok(connection)
}
