//! The SQLite file.

use std::{
    future::Future,
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
    source::Source,
    writer::Writer,
};
use crate::StoreError;

/// A SQLite file with sessions, notes, durable runs and the history of runs. Cheap to clone. Dropping the last clone writes what is
/// queued and closes the file.
///
/// One process at a time writes the file, which locks ensure; others may read its history
/// ([`RunHistory::open`](crate::RunHistory::open)). Data is on disk when a call returns: every commit is synced, and one
/// commit serves all callers that wait.
///
/// If the file is removed while it is open, writes fail with [`StoreError::Missing`] until there is a file at its path
/// again. Another file that takes its place is opened at the next write. If another program truncates the file or writes
/// into it, reads and writes fail with [`StoreError::Damaged`] until another file takes its place, and the file cannot be
/// opened again before. [`History`](crate::History) keeps spending in memory meanwhile.
///
/// Reads do not wait for writes. While another program locks the file for writing, writes stay queued. Calls wait for at
/// most the busy timeout since the lock was noticed, then at once fail with [`StoreError::Locked`]; what is queued is
/// written once the lock is released. Other programs may read the file, and checkpoint it.
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
    /// How long calls wait for another program that locks the file. 2 s: a program that writes a row is faster, and a run
    /// must not wait for one that is not.
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

/// The pause between attempts to truncate the log.
const TRUNCATION_INTERVAL: Duration = Duration::from_millis(100);

/// SQLite's default page size, which no migration changes.
const PAGE_BYTES: u64 = 4_096;

impl Default for DatabaseSettings {
    fn default() -> Self {
        Self { busy_timeout: Duration::from_secs(2), max_bytes: None, readers: 4 }
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
        let readers = Readers::new(&path, settings, file.handle());
        let generation = Arc::new(AtomicU64::new(0));
        let (source, connection) = Source::open(file, settings, &readers, &generation)?;
        schema::free_running_runs(&connection)?;
        let writer = Writer::start(connection, source, settings.busy_timeout);
        let writer = writer.map_err(|error| cannot_open(&path, error))?;
        let (is_erasure_pending, busy_timeout) = (AtomicBool::new(false), settings.busy_timeout);
        Ok(Self(Arc::new(Inner { readers, writer, path, generation, is_erasure_pending, busy_timeout })))
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Checks the whole file for damage, which takes about a second per gigabyte.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.read(check_pages).await
    }

    /// Checks that the file can be written to now, for readiness checks. Fails at once while another program locks it for
    /// longer than the busy timeout.
    pub async fn check_writable(&self) -> Result<(), StoreError> {
        self.probe(schema::write_version_again).await
    }

    /// Writes for a check, or for work that is repeated anyway. Both must not fill the queue while another program locks the file.
    pub(crate) async fn probe<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        if self.is_locked() { Err(StoreError::Locked { is_queued: true }) } else { self.write(work).await }
    }

    /// True while another program locks the file, since more than the busy timeout.
    pub fn is_locked(&self) -> bool {
        self.0.writer.is_locked()
    }

    /// The number of writes that were not stored because too many waited for another program that locked the file.
    pub fn dropped_writes(&self) -> u64 {
        self.0.writer.dropped()
    }

    /// Writes what is queued, copies the log into the file, and closes it, even if clones of this exist. Later calls fail
    /// with [`StoreError::Closed`]. Waits for reads and for another program that locks the file, at most the busy timeout
    /// each.
    pub async fn close(&self) -> Result<(), StoreError> {
        let database = self.clone();
        let closing = tokio::task::spawn_blocking(move || database.0.writer.close());
        closing.await.map_err(|error| StoreError::of_task(&error))
    }

    /// Waits for `work`, which waits for the writer, but not for longer than another program may lock the file.
    pub(crate) async fn unless_locked<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.0.writer.unless_locked(work).await
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
        self.note_deleted();
        self.erase().await
    }

    /// Records that the log has copies of deleted data, for the next [`Database::erase`].
    pub(crate) fn note_deleted(&self) {
        self.0.is_erasure_pending.store(true, Ordering::Release);
    }

    async fn truncate_log(&self) -> Result<bool, StoreError> {
        self.0.is_erasure_pending.store(false, Ordering::Release);
        let result = self.0.writer.truncate_log().await;
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

pub(crate) fn connect_writer(file: &DatabaseFile, settings: &DatabaseSettings) -> Result<Connection, StoreError> {
    let path = file.path();
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, settings.busy_timeout)?;
    schema::check(&connection, path)?;
    // A crash during a checkpoint leaves a file that is too short, and a log with the rest.
    if file.header()?.is_short() {
        check_pages(&connection)?;
    }
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    // The writer checks the file before each checkpoint. A log that was copied shrinks, so its size says when to do so.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "journal_size_limit", 0)?;
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

/// Checks the whole file for damage.
pub(crate) fn check_pages(connection: &Connection) -> Result<(), StoreError> {
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(StoreError::damaged(verdict)) }
}

#[cfg(test)]
mod tests;
