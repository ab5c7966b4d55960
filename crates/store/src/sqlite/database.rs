//! The SQLite file.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use rusqlite::{Connection, OpenFlags, config::DbConfig};
use tokio::time::Instant;

use super::{
    file::{DatabaseFile, cannot_open, create_private},
    readers::{Readers, connect},
    schema,
    writer::{Source, Writer},
};
use crate::StoreError;

/// A SQLite file with sessions, notes and the history of runs. Cheap to clone. Dropping the last clone writes what is
/// queued and closes the file.
///
/// One process at a time writes the file, which locks ensure; others may read its history
/// ([`RunHistory::open`](crate::RunHistory::open)). Data is on disk when a call returns: every commit is synced, and one
/// commit serves all callers that wait.
///
/// If the file is removed while it is open, writes fail with [`StoreError::Missing`] until there is a file at its path
/// again. Another file that takes its place is opened at the next write. [`History`](crate::History) keeps spending in
/// memory meanwhile.
///
/// ```
/// use brigade_store::{Database, DatabaseSettings, SqliteMemory, SqliteRecall};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("brigade.db");
/// let database = Database::open_with(path, &DatabaseSettings::default().max_bytes(10 << 30))?;
/// let memory = SqliteMemory::new(database.clone());
/// let recall = SqliteRecall::new(database);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Database(Arc<Inner>);

/// Settings of [`Database`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DatabaseSettings {
    /// How long to wait for another program that locks the file. 5 s: longer than any transaction of this crate.
    pub busy_timeout: Duration,
    /// The most bytes that the file may have. Unlimited by default; the quota of the volume is the usual limit.
    pub max_bytes: Option<u64>,
    /// The number of connections that read concurrently. 4: reads are short, and more would share the same disk.
    pub readers: usize,
}

/// Whether deleted data can still be read from the files of the database.
///
/// Rows are overwritten when they are deleted, but the write-ahead log has older copies until it is truncated, which has to
/// wait for readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Erasure {
    /// There was nothing to delete.
    Nothing,
    /// The data is gone from the database and from its log.
    Complete,
    /// A reader still uses the log, which has a copy of the data. [`Database::erase`] tries again.
    Pending,
}

/// Fields are dropped in this order: the readers before the writer, which checkpoints and releases the locks.
#[derive(Debug)]
struct Inner {
    readers: Readers,
    writer: Writer,
    path: PathBuf,
    generation: Arc<AtomicU64>,
    /// True while the log may have copies of deleted data.
    is_erasure_pending: AtomicBool,
    busy_timeout: Duration,
}

/// How long a truncation of the log may hold other writers while it waits for readers.
const TRUNCATION_TIMEOUT: Duration = Duration::from_millis(20);

/// The pause between attempts to truncate the log.
const TRUNCATION_INTERVAL: Duration = Duration::from_millis(100);

/// SQLite's default page size, which no migration changes.
const PAGE_BYTES: u64 = 4_096;

impl Default for DatabaseSettings {
    fn default() -> Self {
        Self { busy_timeout: Duration::from_secs(5), max_bytes: None, readers: 4 }
    }
}

impl DatabaseSettings {
    /// Sets how long to wait for another program that locks the file.
    #[must_use]
    pub fn busy_timeout(self, busy_timeout: Duration) -> Self {
        Self { busy_timeout, ..self }
    }

    /// Sets the most bytes that the file may have.
    #[must_use]
    pub fn max_bytes(self, max_bytes: u64) -> Self {
        Self { max_bytes: Some(max_bytes), ..self }
    }

    /// Sets the number of connections that read concurrently.
    #[must_use]
    pub fn readers(self, readers: usize) -> Self {
        Self { readers, ..self }
    }
}

impl Database {
    /// Opens the file at `path`, creates it if it is missing, and migrates an older one to the newest schema. Blocks.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(path, &DatabaseSettings::default())
    }

    /// Like [`Database::open`], with settings.
    pub fn open_with(path: impl AsRef<Path>, settings: &DatabaseSettings) -> Result<Self, StoreError> {
        let path = path.as_ref().to_owned();
        let file = DatabaseFile::open(&path)?;
        let connection = connect_writer(&path, settings)?;
        let readers = Readers::new(&path, settings, file.handle());
        let generation = Arc::new(AtomicU64::new(0));
        let source =
            Source { file, settings: settings.clone(), readers: readers.clone(), generation: Arc::clone(&generation) };
        let writer = Writer::start(connection, source).map_err(|error| cannot_open(&path, error))?;
        let (is_erasure_pending, busy_timeout) = (AtomicBool::new(false), settings.busy_timeout);
        Ok(Self(Arc::new(Inner { readers, writer, path, generation, is_erasure_pending, busy_timeout })))
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Checks the whole file for damage, which takes about a second per gigabyte.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.read(|connection| {
            let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            if verdict == "ok" { Ok(()) } else { Err(StoreError::damaged(verdict)) }
        })
        .await
    }

    /// Checks that the file can be written to now, for readiness checks.
    pub async fn check_writable(&self) -> Result<(), StoreError> {
        self.write(schema::write_version_again).await
    }

    /// Removes deleted data from the write-ahead log, if it may have some. Waits for readers, at most the busy timeout.
    /// Other writers are held for milliseconds only.
    ///
    /// # Errors
    ///
    /// Fails if the log cannot be read or written.
    pub async fn erase(&self) -> Result<Erasure, StoreError> {
        if !self.0.is_erasure_pending.load(Ordering::Acquire) {
            return Ok(Erasure::Nothing);
        }
        let deadline = Instant::now() + self.0.busy_timeout;
        while !self.truncate_log().await? {
            if Instant::now() >= deadline {
                tracing::warn!("deleted data is still in the log of the database, because a reader uses it");
                return Ok(Erasure::Pending);
            }
            tokio::time::sleep(TRUNCATION_INTERVAL).await;
        }
        Ok(Erasure::Complete)
    }

    /// Erases what was just deleted.
    pub(crate) async fn erase_deleted(&self) -> Result<Erasure, StoreError> {
        self.0.is_erasure_pending.store(true, Ordering::Release);
        self.erase().await
    }

    /// Truncates the write-ahead log. Returns false if a reader or another program uses it.
    async fn truncate_log(&self) -> Result<bool, StoreError> {
        let readers = self.0.readers.clone();
        self.0.is_erasure_pending.store(false, Ordering::Release);
        let truncation = tokio::task::spawn_blocking(move || {
            let connection = readers.connect(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            // Copies most of the log first, which holds no writer.
            connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
            connection.busy_timeout(TRUNCATION_TIMEOUT)?;
            let is_busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
            Ok(!is_busy)
        });
        let result = match truncation.await {
            // Another connection that truncates the log at the same time is reported like this.
            Ok(Err(StoreError::Busy(_))) => Ok(false),
            Ok(result) => result,
            Err(error) => Err(StoreError::of_task(&error)),
        };
        if !matches!(result, Ok(true)) {
            self.0.is_erasure_pending.store(true, Ordering::Release);
        }
        result
    }

    /// Creates the file again if it was removed. The next write opens it.
    pub(crate) fn create_if_missing(&self) -> Result<(), StoreError> {
        create_private(&self.0.path).map_err(|error| cannot_open(&self.0.path, error))
    }

    /// How many times another file took the place of the database. It does not change within a write.
    pub(crate) fn generation(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.0.generation)
    }

    /// Waits until everything that was queued before is on disk.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.write(|_| Ok(())).await
    }

    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.0.writer.write(work).await
    }

    pub(crate) fn write_blocking<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.0.writer.write_blocking(work)
    }

    pub(crate) fn readers(&self) -> &Readers {
        &self.0.readers
    }

    /// Reads a consistent snapshot of the file, on a thread that may block.
    pub(crate) async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.0.readers.read(work).await
    }
}

/// Today in UTC.
pub(crate) fn today() -> Date {
    Timestamp::now().to_zoned(TimeZone::UTC).date()
}

/// Milliseconds since 1970, for rows.
pub(crate) fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// Microseconds since 1970, for rows.
pub(crate) fn now_us() -> i64 {
    Timestamp::now().as_microsecond()
}

pub(crate) fn connect_writer(path: &Path, settings: &DatabaseSettings) -> Result<Connection, StoreError> {
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, settings.busy_timeout)?;
    schema::check(&connection, path)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    // A plan that depends on bound values would be made anew at each execution: SQLite is compiled with statistics of columns.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // Overwrites deleted rows, so that a deleted session cannot be read from the file.
    connection.pragma_update(None, "secure_delete", true)?;
    if let Some(max_bytes) = settings.max_bytes {
        let pages = i64::try_from(max_bytes / PAGE_BYTES).unwrap_or(i64::MAX);
        connection.pragma_update(None, "max_page_count", pages)?;
    }
    schema::migrate(&mut connection)?;
    Ok(connection)
}

#[cfg(test)]
mod tests;
