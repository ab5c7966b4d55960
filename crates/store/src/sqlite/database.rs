//! One SQLite file.

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

/// A SQLite file in which sessions, notes and the history of runs are kept. Cheap to clone; dropping the last clone
/// writes what is queued and closes it.
///
/// One process at a time writes the file, which a lock on a file beside it sees to; others may look at the history in it
/// meanwhile ([`Runs::open`](crate::Runs::open)). What is written is on disk when the call returns: every commit is
/// synced, and one commit serves all who wait.
#[derive(Debug, Clone)]
pub struct Database(Arc<Inner>);

/// How a file is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseSettings {
    /// How long to wait for a program that looks into the file with tools of its own. Five seconds are longer than any
    /// of our own transactions, and shorter than people wait.
    pub busy_timeout: Duration,
    /// How large the file may grow, in bytes; the disk is the limit if absent, as it is for most who set quotas on
    /// volumes.
    pub max_bytes: Option<u64>,
    /// How many connections read at the same time. Reads are short, and more would share the same disk.
    pub readers: usize,
}

/// Fields are dropped in this order: readers before the writer, which checkpoints, and the lock at last.
#[derive(Debug)]
struct Inner {
    readers: Readers,
    writer: Writer,
    path: PathBuf,
    _lock: Lock,
}

/// Keeps other processes out.
#[derive(Debug)]
struct Lock(File);

/// As SQLite's default page size, which no migration changes.
const PAGE_BYTES: u64 = 4_096;

impl Default for DatabaseSettings {
    fn default() -> Self {
        Self { busy_timeout: Duration::from_secs(5), max_bytes: None, readers: 4 }
    }
}

impl Database {
    /// Opens the file at `path`, makes it if there is none, and brings an older one to the newest schema. Blocks.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(path, &DatabaseSettings::default())
    }

    /// The same with other settings.
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

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Looks for damage in the whole file, which takes about a second for each gigabyte.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.read(|connection| {
            let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            if verdict == "ok" { Ok(()) } else { Err(StoreError::damaged(verdict)) }
        })
        .await
    }

    /// Whether the file can be written to now; for readiness checks.
    pub async fn check_writable(&self) -> Result<(), StoreError> {
        self.write(schema::touch).await
    }

    /// Empties the log, in which deleted rows can be read until it is written over. Waits for readers at the most as
    /// long as the busy timeout.
    pub(crate) async fn empty_log(&self) -> Result<(), StoreError> {
        let readers = self.0.readers.clone();
        let emptying = tokio::task::spawn_blocking(move || {
            let connection = readers.connect(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            Ok(connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
        });
        emptying.await.map_err(|_| StoreError::Closed)?
    }

    /// Writes everything that was queued before, and answers when it is on disk.
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

    /// Reads one consistent state of the file on a thread that may block.
    pub(crate) async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.0.readers.read(work).await
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A process that is just being started has a copy of the file; closing ours alone would leave it locked.
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

/// Two processes would each take the other's open work for cut off. A lock on the database itself would get in the way
/// of SQLite's own, and on some systems end them: <https://sqlite.org/howtocorrupt.html>, section 2.2.
fn lock(path: &Path) -> Result<Lock, StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let failed = |error: io::Error| StoreError::Open { path: path.to_owned(), source: Arc::new(error) };
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(name).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Conversations are nobody else's business. SQLite gives its log the mode of the database.
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
    // What is deleted is overwritten: deleting a session has to mean it.
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
