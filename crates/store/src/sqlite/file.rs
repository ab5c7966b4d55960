//! The files of a database: their locks, and whether they are still in place.

use std::{
    fs::{File, Metadata, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::header::Header;
use crate::StoreError;

/// The files of an open database. It excludes other processes, and finds out if a file was removed or replaced, after
/// which SQLite would write into a file without a name, and if another program changed the content of a file.
#[derive(Debug)]
pub(crate) struct DatabaseFile {
    path: PathBuf,
    /// A lock on a file beside the database. A lock on the database would interfere with SQLite's own on some systems, and
    /// closing the file would release them: <https://sqlite.org/howtocorrupt.html>, section 2.2.
    beside: Lock,
    /// A lock on the database itself, because anybody can delete the file beside it.
    database: Lock,
    known: KnownContent,
    /// True if the file beside the database says that the database was damaged.
    is_marked: bool,
}

/// The content of the files after the last write or checkpoint of this process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct KnownContent {
    /// The write-ahead log and its size, once there is one.
    log: Option<(FileId, u64)>,
    header: Option<Header>,
}

/// Whether the files of a database are still the files that were opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileState {
    Unchanged,
    Replaced,
    /// Another program changed the content, which may be a checkpoint. If it cannot be one, this says why.
    Changed(Option<&'static str>),
}

/// A locked file.
#[derive(Debug)]
struct Lock {
    file: Arc<File>,
    id: FileId,
}

/// Distinguishes two files with the same path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId(u64, u64);

impl DatabaseFile {
    /// Locks the database at `path`, and creates it if it is missing.
    ///
    /// # Errors
    ///
    /// Fails if the database is missing or empty but has a log, which SQLite would delete, and if the database was damaged
    /// when it was last in use.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let beside = lock_beside(path)?;
        let mut mark = String::new();
        beside.file.as_ref().read_to_string(&mut mark).map_err(|error| cannot_open(path, error))?;
        if !mark.is_empty() {
            return Err(StoreError::Damaged { path: path.to_owned(), finding: "another program changed it" });
        }
        if size(path) == 0 && size(&log_path(path)) > 0 {
            return Err(StoreError::LogWithoutData(path.to_owned()));
        }
        create_private(path).map_err(|error| cannot_open(path, error))?;
        let database = lock_database(path)?;
        Ok(Self { path: path.to_owned(), beside, database, known: KnownContent::default(), is_marked: false })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The open database file. It must stay open as long as a connection of this process, because closing it releases
    /// the locks of all connections.
    pub(crate) fn handle(&self) -> Arc<File> {
        Arc::clone(&self.database.file)
    }

    /// The header of the database. It is not read through SQLite, which would read it from the log.
    pub(crate) fn header(&self) -> Result<Header, StoreError> {
        Header::read(&self.database.file).map_err(|error| cannot_open(&self.path, error))
    }

    /// The size of the log.
    pub(crate) fn log_size(&self) -> u64 {
        size(&log_path(&self.path))
    }

    /// Checks that the files are in place and unchanged, and that no other process can lock them.
    pub(crate) fn check(&mut self) -> Result<FileState, StoreError> {
        match FileId::of(&self.path).map_err(|error| cannot_open(&self.path, error))? {
            None => return Err(StoreError::Missing(self.path.clone())),
            Some(found) if found != self.database.id => return Ok(FileState::Replaced),
            Some(_) => {}
        }
        if FileId::of(&beside(&self.path, ".lock")).ok().flatten() != Some(self.beside.id) {
            tracing::warn!("the lock file of the database {} was removed; it is created again", self.path.display());
            self.beside = lock_beside(&self.path)?;
        }
        let found = self.content()?;
        let (known_log, log) = (self.known.log, found.log);
        if known_log.is_some_and(|(id, _)| Some(id) != log.map(|(id, _)| id)) {
            return Ok(FileState::Replaced);
        }
        let is_log_cut = known_log.zip(log).is_some_and(|((_, known), (_, size))| size < known);
        let (Some(header), Some(known)) = (&found.header, &self.known.header) else { return Ok(FileState::Unchanged) };
        if header == known && !is_log_cut {
            return Ok(FileState::Unchanged);
        }
        Ok(FileState::Changed(header.contradicts(known)))
    }

    /// Accepts the present size of the log. Call it after a write.
    pub(crate) fn accept_log(&mut self) {
        self.known.log = log(&self.path);
    }

    /// Accepts the present content. Call it after a checkpoint.
    pub(crate) fn accept(&mut self) -> Result<(), StoreError> {
        self.known = self.content()?;
        Ok(())
    }

    fn content(&self) -> Result<KnownContent, StoreError> {
        Ok(KnownContent { log: log(&self.path), header: Some(self.header()?) })
    }

    /// Locks the file that is at the path now, in place of the one that was opened.
    pub(crate) fn reopen(&mut self) -> Result<(), StoreError> {
        // A file that is still locked cannot be locked twice.
        if FileId::of(&self.path).ok().flatten() != Some(self.database.id) {
            self.database = lock_database(&self.path)?;
        }
        self.known = KnownContent::default();
        Ok(())
    }

    /// Writes into the file beside the database that the database is damaged, or that it is not any more, so that the next
    /// process does not start with it.
    pub(crate) fn mark(&mut self, is_damaged: bool) {
        if is_damaged == self.is_marked {
            return;
        }
        let mut file = self.beside.file.as_ref();
        let text: &[u8] = if is_damaged { b"the database was changed by another program\n" } else { b"" };
        let written = file.set_len(0).and_then(|()| io::Seek::rewind(&mut file)).and_then(|()| file.write_all(text));
        match written.and_then(|()| file.sync_all()) {
            Ok(()) => self.is_marked = is_damaged,
            Err(error) => tracing::warn!(%error, "the damage of the database cannot be recorded in its lock file"),
        }
    }
}

/// The locks on a database that is about to be replaced. It may be missing or damaged.
#[derive(Debug)]
pub(crate) struct Replacement {
    path: PathBuf,
    beside: Lock,
    _database: Option<Lock>,
}

impl Replacement {
    pub(crate) fn begin(path: &Path) -> Result<Self, StoreError> {
        let beside = lock_beside(path)?;
        let database = if path.exists() { Some(lock_database(path)?) } else { None };
        Ok(Self { path: path.to_owned(), beside, _database: database })
    }

    /// Moves a file to the place of the database.
    pub(crate) fn finish(self, new: &Path) -> Result<(), StoreError> {
        let failed = |error| cannot_open(&self.path, error);
        // SQLite would apply a log that was left behind to the new file.
        for suffix in ["-wal", "-shm"] {
            match std::fs::remove_file(beside(&self.path, suffix)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
        std::fs::rename(new, &self.path).map_err(failed)?;
        // The mark of a damage was about the file before.
        self.beside.file.set_len(0).map_err(failed)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A child process that is being spawned has a copy of the handle; closing this one would not unlock the file.
        if let Err(error) = self.file.unlock() {
            tracing::debug!(%error, "the database stays locked until this process ends");
        }
    }
}

impl FileId {
    /// The id of the file at this path; `None` if there is none.
    fn of(path: &Path) -> io::Result<Option<Self>> {
        match std::fs::metadata(path) {
            Ok(metadata) => Ok(Some(Self::new(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    #[cfg(unix)]
    fn new(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self(metadata.dev(), metadata.ino())
    }

    /// Other systems do not remove or replace an open file.
    #[cfg(not(unix))]
    fn new(_: &Metadata) -> Self {
        Self(0, 0)
    }
}

/// Locks the file beside the database. Two processes on one database would each settle the other's open calls as interrupted.
fn lock_beside(path: &Path) -> Result<Lock, StoreError> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true);
    let file = options.open(beside(path, ".lock")).map_err(|error| cannot_open(path, error))?;
    lock(path, file, true)
}

/// On Linux this lock is of another kind than SQLite's and does not interfere with them: `flock(2)`, notes.
fn lock_database(path: &Path) -> Result<Lock, StoreError> {
    lock(path, File::open(path).map_err(|error| cannot_open(path, error))?, cfg!(target_os = "linux"))
}

fn lock(path: &Path, file: File, is_exclusive: bool) -> Result<Lock, StoreError> {
    let id = FileId::new(&file.metadata().map_err(|error| cannot_open(path, error))?);
    match if is_exclusive { file.try_lock() } else { Ok(()) } {
        Ok(()) => Ok(Lock { file: Arc::new(file), id }),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(cannot_open(path, error)),
    }
}

/// Creates the file if it is missing. Only the owner may read conversations. SQLite gives its log the mode of the database.
pub(crate) fn create_private(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// The write-ahead log and its size.
fn log(path: &Path) -> Option<(FileId, u64)> {
    let metadata = std::fs::metadata(log_path(path)).ok()?;
    Some((FileId::new(&metadata), metadata.len()))
}

fn log_path(path: &Path) -> PathBuf {
    beside(path, "-wal")
}

/// The size of a file; 0 if it is missing.
fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// The path of a file beside the database.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

pub(crate) fn cannot_open(path: &Path, error: io::Error) -> StoreError {
    StoreError::Open { path: path.to_owned(), source: Arc::new(error) }
}
