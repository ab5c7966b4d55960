//! The SQLite file.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use rusqlite::{Connection, OpenFlags};

use super::{
    readers::{Readers, connect},
    schema,
    writer::Writer,
};
use crate::StoreError;

/// A SQLite file with sessions, notes and the history of runs. Cheap to clone. Dropping the last clone writes what is
/// queued and closes the file.
///
/// One process at a time writes the file, which a lock on a file beside it ensures; others may read its history
/// ([`RunHistory::open`](crate::RunHistory::open)). Data is on disk when a call returns: every commit is synced, and one
/// commit serves all callers that wait.
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

/// Fields are dropped in this order: the readers before the writer, which checkpoints, and the lock last.
#[derive(Debug)]
struct Inner {
    readers: Readers,
    writer: Writer,
    path: PathBuf,
    _lock: FileLock,
}

/// Excludes other processes.
#[derive(Debug)]
struct FileLock(File);

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
        let failed = |error: io::Error| StoreError::Open { path: path.clone(), source: Arc::new(error) };
        let lock = lock(&path)?;
        create_private(&path).map_err(failed)?;
        let connection = connect_writer(&path, settings)?;
        let readers = Readers::new(&path, settings);
        let writer = Writer::start(connection).map_err(failed)?;
        Ok(Self(Arc::new(Inner { readers, writer, path, _lock: lock })))
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

    /// Truncates the write-ahead log, which contains deleted rows until they are overwritten. Waits for readers, at most
    /// the busy timeout.
    pub(crate) async fn truncate_log(&self) -> Result<(), StoreError> {
        let readers = self.0.readers.clone();
        let truncation = tokio::task::spawn_blocking(move || {
            let connection = readers.connect(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            Ok(connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
        });
        truncation.await.map_err(|_| StoreError::Closed)?
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

impl Drop for FileLock {
    fn drop(&mut self) {
        // A child process that is being spawned has a copy of the handle; closing this one would not unlock the file.
        if let Err(error) = self.0.unlock() {
            tracing::debug!(%error, "the database stays locked until this process ends");
        }
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

/// Two processes would each settle the other's open calls as interrupted. A lock on the database file itself would
/// interfere with SQLite's own, and on some systems release them: <https://sqlite.org/howtocorrupt.html>, section 2.2.
fn lock(path: &Path) -> Result<FileLock, StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let failed = |error: io::Error| StoreError::Open { path: path.to_owned(), source: Arc::new(error) };
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(name).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(FileLock(file)),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Only the owner may read conversations. SQLite gives its log the mode of the database.
fn create_private(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn connect_writer(path: &Path, settings: &DatabaseSettings) -> Result<Connection, StoreError> {
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, settings.busy_timeout)?;
    schema::check(&connection, path)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
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
