//! Reading connections.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use crate::{DatabaseSettings, StoreError, sqlite::schema, unpoisoned};

/// Reading connections, opened on demand. Cheap to clone; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Readers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pool: Mutex<Pool>,
    /// Notified when a connection is returned.
    returned: Condvar,
    permits: Arc<Semaphore>,
    path: PathBuf,
    busy_timeout: Duration,
}

#[derive(Debug, Default)]
struct Pool {
    /// Connections that are not in use.
    idle: Vec<Connection>,
    in_use: usize,
    /// The number of files that were opened before this one. Connections to an earlier file are not used again.
    generation: u64,
    /// Files that must stay open as long as a connection, see [`DatabaseFile::handle`](super::file::DatabaseFile::handle).
    files: Vec<Arc<File>>,
    /// Why nothing can be read now.
    refusal: Option<StoreError>,
}

/// Counts a connection that is in use. Drop it after the connection.
#[derive(Debug)]
pub(crate) struct InUse(Readers);

/// Enough to keep all statements of this crate prepared.
const CACHED_STATEMENTS: usize = 64;

impl Readers {
    pub(crate) fn new(path: &Path, settings: &DatabaseSettings, file: impl Into<Option<Arc<File>>>) -> Self {
        Self(Arc::new(Inner {
            pool: Mutex::new(Pool { files: file.into().into_iter().collect(), ..Pool::default() }),
            returned: Condvar::new(),
            permits: Arc::new(Semaphore::new(settings.readers.max(1))),
            path: path.to_owned(),
            busy_timeout: settings.busy_timeout,
        }))
    }

    /// Reads a file that another process may be writing. Blocks.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |error| StoreError::Open { path: path.to_owned(), source: Arc::new(error) };
        // Opening and closing the file would release the locks of this process: https://sqlite.org/howtocorrupt.html, 2.2.
        std::fs::metadata(path).map_err(failed)?;
        let readers = Self::new(path, &DatabaseSettings::default(), None);
        schema::check_current(&readers.connect(OpenFlags::SQLITE_OPEN_READ_ONLY)?, path)?;
        Ok(readers)
    }

    /// Closes the connections, because another file took the place of the database.
    pub(crate) fn retire(&self) {
        let mut pool = unpoisoned(&self.0.pool);
        pool.generation += 1;
        pool.idle.clear();
    }

    /// Refuses all reads with this error from now on, or allows them again.
    pub(crate) fn refuse(&self, error: Option<StoreError>) {
        unpoisoned(&self.0.pool).refusal = error;
    }

    /// Refuses further reads, and waits until all connections are closed, at most the busy timeout. Blocks.
    pub(crate) fn close(&self) {
        self.0.permits.close();
        self.refuse(Some(StoreError::Closed));
        self.retire();
        let pool = unpoisoned(&self.0.pool);
        let waiting = self.0.returned.wait_timeout_while(pool, self.0.busy_timeout, |pool| pool.in_use > 0);
        let (pool, _) = waiting.unwrap_or_else(PoisonError::into_inner);
        if pool.in_use > 0 {
            tracing::warn!("the database is closed while it is being read, so its log stays");
        }
    }

    /// Keeps the file open as long as the connections.
    pub(crate) fn keep_open(&self, file: Arc<File>) {
        unpoisoned(&self.0.pool).files.push(file);
    }

    /// A new connection that does not come from the pool and does not return to it.
    pub(crate) fn connect(&self, access: OpenFlags) -> Result<Connection, StoreError> {
        connect(&self.0.path, access, self.0.busy_timeout)
    }

    /// Counts a connection that is about to be used, so that [`Readers::close`] waits for it.
    pub(crate) fn begin_use(&self) -> Result<InUse, StoreError> {
        let mut pool = unpoisoned(&self.0.pool);
        if let Some(error) = &pool.refusal {
            return Err(error.clone());
        }
        pool.in_use += 1;
        Ok(InUse(self.clone()))
    }

    /// Reads a consistent snapshot of the file, on a thread that may block. Does not wait for writers.
    pub(crate) async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let readers = self.clone();
        let permit = Arc::clone(&self.0.permits).acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let reading = tokio::task::spawn_blocking(move || {
            let in_use = readers.begin_use()?;
            let (connection, generation) = readers.take()?;
            let transaction = connection.unchecked_transaction()?;
            let result = work(&transaction);
            drop(transaction);
            readers.put_back(connection, generation);
            drop(in_use);
            // The permit is released only here, because the thread reads on after the caller has dropped its future.
            drop(permit);
            result
        });
        reading.await.map_err(|error| StoreError::of_task(&error))?
    }

    /// A connection, and the generation of its file.
    fn take(&self) -> Result<(Connection, u64), StoreError> {
        let (idle, generation) = {
            let mut pool = unpoisoned(&self.0.pool);
            (pool.idle.pop(), pool.generation)
        };
        let connection = idle.map_or_else(|| self.connect(OpenFlags::SQLITE_OPEN_READ_ONLY), Ok)?;
        Ok((connection, generation))
    }

    fn put_back(&self, connection: Connection, generation: u64) {
        let mut pool = unpoisoned(&self.0.pool);
        if pool.generation == generation {
            pool.idle.push(connection);
        }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        unpoisoned(&self.0.0.pool).in_use -= 1;
        self.0.0.returned.notify_all();
    }
}

pub(crate) fn connect(path: &Path, access: OpenFlags, busy_timeout: Duration) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(busy_timeout)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    Ok(connection)
}
