//! Errors of the store.

use std::{fmt, path::PathBuf, sync::Arc};

use brigade_core::MemoryError;
use brigade_durable::RunStoreError;
use rusqlite::ErrorCode;

/// Data could not be stored or read. The file is never repaired, replaced or deleted because of an error.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file is damaged, or is not a database.
    #[error("the database is damaged or not a SQLite file; it was not changed, restore it from a backup")]
    Corrupt(#[source] ErrorCause),
    /// The file belongs to another program.
    #[error("{} holds the data of another program; choose another file", .0.display())]
    Foreign(PathBuf),
    /// A newer version of this program wrote the file.
    #[error("{} has schema {found}, this program supports {known}; use the newer program or another file", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of its schema.
        found: i64,
        /// The newest version that this program supports.
        known: i64,
    },
    /// An older version of this program wrote the file, which must be migrated before it can be read.
    #[error("{} has schema {found}, this program reads {known}; start the program that writes the file, which migrates it", path.display())]
    Older {
        /// The file.
        path: PathBuf,
        /// The version of its schema.
        found: i64,
        /// The version that this program reads.
        known: i64,
    },
    /// Another process writes the file.
    #[error("{} is in use by another process; stop it or choose another file", .0.display())]
    InUse(PathBuf),
    /// The file was removed while it was open. Writes succeed again once there is a file at its path.
    #[error("{} was removed while it was in use and nothing was stored; put it back", .0.display())]
    Missing(PathBuf),
    /// Another file took the place of this one. It is opened at the next write.
    #[error("{} was replaced while it was in use and nothing was stored; try again", .0.display())]
    Replaced(PathBuf),
    /// Another program truncated or overwrote the file while it was open. Nothing is written to it any more.
    #[error(
        "{} was damaged while it was in use ({finding}); move a backup or an empty file to its place, or, while the \
         program is stopped, put a backup there and remove the files that end in `-wal`, `-shm` and `.lock`",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        finding: &'static str,
    },
    /// The file is missing or empty, but its write-ahead log is there. SQLite would delete the log.
    #[error("{} is missing or empty, but its log {}-wal has data; put the file back, or remove the log to begin anew", .0.display(), .0.display())]
    LogWithoutData(PathBuf),
    /// The file, its folder or its lock cannot be opened.
    #[error("{} cannot be opened; check that the folder exists and is writable", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// The disk is full, or the size limit is reached.
    #[error(
        "the disk is full or the size limit of the database is reached; nothing was stored, make room and try again"
    )]
    Full(#[source] ErrorCause),
    /// The disk refused the write for another reason: a quota, a limit on the file size, a defect.
    #[error("the disk refused the write and nothing was stored; check its quota, its limits and its health")]
    Disk(#[source] ErrorCause),
    /// Another program locks the file for longer than the busy timeout; see [`Database`](crate::Database).
    #[error(
        "another program locks the database; {}; stop that program",
        if *is_queued {
            "this write is stored as soon as the lock is released"
        } else {
            "too many writes wait for it, so this one was not stored"
        }
    )]
    Locked {
        /// True if the data is stored once the lock is released and the process still runs.
        is_queued: bool,
    },
    /// Another program locked the file during a read or while it was opened.
    #[error("another program locks the database and nothing was stored; stop it and try again")]
    Busy(#[source] ErrorCause),
    /// The session was continued by another request since it was loaded.
    #[error("session {session} was continued since it was loaded ({seen} exchanges then, {found} now); load it again")]
    Conflict {
        /// The session.
        session: String,
        /// The number of exchanges that the caller has loaded.
        seen: u64,
        /// The number of exchanges now.
        found: u64,
    },
    /// Another request uses the session, and did not end in time.
    #[error("session {0} is in use by another request; wait for its answer and try again")]
    SessionBusy(String),
    /// The data is larger than the limit.
    #[error("{what} may have {limit} bytes, but this one has {size}; shorten it")]
    TooLarge {
        /// The kind of data.
        what: &'static str,
        /// The limit in bytes.
        limit: usize,
        /// The size in bytes.
        size: usize,
    },
    /// A row does not have the expected form.
    #[error("a stored {what} cannot be read; another version may have written it")]
    Unreadable {
        /// The kind of data.
        what: &'static str,
        /// The cause.
        #[source]
        cause: ErrorCause,
    },
    /// The operation panicked, which is a bug. It changed nothing, and the database stays open.
    #[error("the operation panicked, which is a bug; nothing was stored, please report it")]
    Panicked,
    /// The database is closed, or its thread has panicked.
    #[error("the database is closed and nothing was stored; open it again and retry")]
    Closed,
    /// The address of a PostgreSQL database cannot be used. It is not quoted, because it may have a password in it.
    #[error(
        "the address of the store is not valid; write it like postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=require, \
         with special characters of the password as %XX"
    )]
    Address,
    /// This program was built without PostgreSQL.
    #[error("this program was built without PostgreSQL; build it with `--features cluster`, or use a SQLite file")]
    WithoutPostgres,
    /// The database cannot be reached, or did not answer.
    #[error(
        "the database cannot be reached or did not answer, so it is not known whether the change was stored; the cause says \
         why, try again"
    )]
    Unavailable(#[source] ErrorCause),
    /// Anything else that PostgreSQL reports.
    #[error("PostgreSQL refused the operation and nothing was stored; the cause says why")]
    Postgres(#[source] ErrorCause),
    /// A migration of the database is not the one that this program has under the same number.
    #[error(
        "migration {number} of the database is not the one of this program; use the program that wrote the database"
    )]
    OtherMigration {
        /// The number of the migration.
        number: i64,
    },
    /// Anything else that SQLite reports.
    #[error("SQLite refused the operation and nothing was stored; the cause says why")]
    Sqlite(#[source] ErrorCause),
}

/// The cause of an error, shared by all callers that waited for the operation.
#[derive(Debug, Clone)]
pub struct ErrorCause(Arc<dyn std::error::Error + Send + Sync>);

impl ErrorCause {
    /// A cause, which is shared from now on.
    #[cfg(feature = "postgres")]
    pub(crate) fn new(cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self(Arc::new(cause))
    }
}

impl StoreError {
    /// The file failed its integrity check.
    pub(crate) fn damaged(finding: String) -> Self {
        Self::Corrupt(ErrorCause(Arc::from(Box::<dyn std::error::Error + Send + Sync>::from(finding))))
    }

    /// A task of the runtime did not end: it panicked, or the runtime is shutting down.
    pub(crate) fn of_task(error: &tokio::task::JoinError) -> Self {
        if error.is_panic() { Self::Panicked } else { Self::Closed }
    }

    /// A row could not be read.
    pub(crate) fn unreadable(what: &'static str, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Unreadable { what, cause: ErrorCause(Arc::new(cause)) }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let code = error.sqlite_error_code();
        let cause = ErrorCause(Arc::new(error));
        match code {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::Corrupt(cause),
            Some(ErrorCode::DiskFull) => Self::Full(cause),
            // A full disk also causes this error, if the shared-memory file or the write-ahead log cannot grow.
            Some(ErrorCode::SystemIoFailure) => Self::Disk(cause),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy(cause),
            _ => Self::Sqlite(cause),
        }
    }
}

impl From<StoreError> for MemoryError {
    /// The source is the [`StoreError`].
    fn from(error: StoreError) -> Self {
        Self::new("the database refused the operation").caused_by(error)
    }
}

impl From<StoreError> for RunStoreError {
    /// The message is that of the [`StoreError`], because a worker logs it.
    fn from(error: StoreError) -> Self {
        let refused = Self::new(error.to_string());
        match error.into_cause() {
            Some(cause) => refused.caused_by(cause),
            None => refused,
        }
    }
}

impl StoreError {
    /// The error for the tools of a model. A model reads the message of a failed tool, so it repeats this one.
    pub(crate) fn for_models(self) -> MemoryError {
        let refused = MemoryError::new(self.to_string());
        match self.into_cause() {
            Some(cause) => refused.caused_by(cause),
            None => refused,
        }
    }

    /// The cause, if its text is not part of the message.
    fn into_cause(self) -> Option<ErrorCause> {
        match self {
            Self::Corrupt(cause)
            | Self::Full(cause)
            | Self::Disk(cause)
            | Self::Busy(cause)
            | Self::Sqlite(cause)
            | Self::Unavailable(cause)
            | Self::Postgres(cause)
            | Self::Unreadable { cause, .. } => Some(cause),
            Self::Foreign(_)
            | Self::Newer { .. }
            | Self::Older { .. }
            | Self::InUse(_)
            | Self::Missing(_)
            | Self::Replaced(_)
            | Self::Damaged { .. }
            | Self::LogWithoutData(_)
            | Self::Locked { .. }
            | Self::Panicked
            | Self::Open { .. }
            | Self::Conflict { .. }
            | Self::SessionBusy(_)
            | Self::TooLarge { .. }
            | Self::Address
            | Self::WithoutPostgres
            | Self::OtherMigration { .. }
            | Self::Closed => None,
        }
    }
}

impl fmt::Display for ErrorCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for ErrorCause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}
