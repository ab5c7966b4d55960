//! What can go wrong with the file.

use std::{fmt, path::PathBuf, sync::Arc};

use brigade_core::{MemoryError, RecallError};
use rusqlite::ErrorCode;

/// Something could not be kept or found. The file is never repaired, replaced or deleted on the way.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The file is damaged, or is no database.
    #[error("the database is damaged or is no SQLite file; it was left as it is, restore it from a copy")]
    Corrupt(#[source] Cause),
    /// The file belongs to another program.
    #[error("{} holds the data of another program; name another file", .0.display())]
    Foreign(PathBuf),
    /// The file was written by a newer version of this program.
    #[error("{} has schema {found}, this program knows {known}; use the newer program or another file", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of its schema.
        found: i64,
        /// The newest version that is known here.
        known: i64,
    },
    /// The file was written by an older version of this program, and can only be read once it is brought up to date.
    #[error("{} has schema {found}, this program reads {known}; whoever writes it next brings it up to date", path.display())]
    Older {
        /// The file.
        path: PathBuf,
        /// The version of its schema.
        found: i64,
        /// The version that is read here.
        known: i64,
    },
    /// Another process writes the file.
    #[error("{} is in use by another process; stop it or name another file", .0.display())]
    InUse(PathBuf),
    /// The file, its folder or its lock cannot be opened.
    #[error("{} cannot be opened; check that the folder exists and may be written to", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// There is no room left: on the disk, or under the size cap.
    #[error("the disk or the database's size cap is full and nothing of this was kept; make room and try again")]
    Full(#[source] Cause),
    /// The disk refused for another reason: a quota, a limit on the size of files, a defect.
    #[error("the disk refused the database and nothing of this was kept; look at its quota, its limits and its health")]
    Disk(#[source] Cause),
    /// Somebody else holds the file locked for longer than the busy timeout.
    #[error("the database is locked by another program and nothing of this was kept; end it and try again")]
    Busy(#[source] Cause),
    /// The session has gone on since it was loaded.
    #[error("session {session} has gone on since it was read ({seen} exchanges then, {found} now); read it again")]
    Conflict {
        /// Which session.
        session: String,
        /// How many exchanges the caller had seen.
        seen: u64,
        /// How many there are.
        found: u64,
    },
    /// Another request has the session, and did not give it back in time.
    #[error("session {0} is in use by another request; wait for its answer and try again")]
    SessionBusy(String),
    /// What was to be kept is larger than the limit.
    #[error("{what} may have {limit} bytes, this one has {size}; shorten it")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// The limit in bytes.
        limit: usize,
        /// The size in bytes.
        size: usize,
    },
    /// A row does not have the form that was written.
    #[error("a stored {what} cannot be read; was it written by another version?")]
    Unreadable {
        /// What it is.
        what: &'static str,
        /// Why not.
        #[source]
        cause: Cause,
    },
    /// The database is closed, or its thread has died.
    #[error("the database is closed; nothing of this was kept")]
    Closed,
    /// Anything else that SQLite reports.
    #[error("the database refused the operation; nothing of it was kept")]
    Sqlite(#[source] Cause),
}

/// Why something failed, shared by all who waited for it.
#[derive(Debug, Clone)]
pub struct Cause(Arc<dyn std::error::Error + Send + Sync>);

impl StoreError {
    /// What a check of the file found.
    pub(crate) fn damaged(finding: String) -> Self {
        Self::Corrupt(Cause(Arc::from(Box::<dyn std::error::Error + Send + Sync>::from(finding))))
    }

    /// A row that cannot be read.
    pub(crate) fn unreadable(what: &'static str, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Unreadable { what, cause: Cause(Arc::new(cause)) }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let code = error.sqlite_error_code();
        let cause = Cause(Arc::new(error));
        match code {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::Corrupt(cause),
            // Without room for the shared memory or the log, a full disk shows as a failed write.
            Some(ErrorCode::DiskFull) => Self::Full(cause),
            Some(ErrorCode::SystemIoFailure) => Self::Disk(cause),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy(cause),
            _ => Self::Sqlite(cause),
        }
    }
}

impl From<StoreError> for MemoryError {
    /// The source says what went wrong; it can be told apart as a [`StoreError`].
    fn from(error: StoreError) -> Self {
        Self::new("the database refused").caused_by(error)
    }
}

impl From<StoreError> for RecallError {
    /// Models read what a tool failed with, so it says itself what went wrong.
    fn from(error: StoreError) -> Self {
        let refused = Self::new(error.to_string());
        match error {
            StoreError::Corrupt(cause)
            | StoreError::Full(cause)
            | StoreError::Disk(cause)
            | StoreError::Busy(cause)
            | StoreError::Sqlite(cause)
            | StoreError::Unreadable { cause, .. } => refused.caused_by(cause),
            _ => refused,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}
