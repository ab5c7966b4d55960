//! What the server reports, as errors of the store.

use tokio_postgres::error::{DbError, SqlState};

use crate::{ErrorCause, StoreError};

/// The report of a server, without its details, which can quote a row.
#[derive(Debug, thiserror::Error)]
#[error("{message} (SQLSTATE {code})")]
struct ServerReport {
    message: String,
    code: String,
}

/// Why the database could not be used, if no other error says so.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Reason(&'static str);

impl StoreError {
    pub(crate) fn unavailable(reason: &'static str) -> Self {
        Self::Unavailable(ErrorCause::new(Reason(reason)))
    }

    pub(crate) fn no_answer() -> Self {
        Self::unavailable("there was no answer in time")
    }
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(report) => Self::from_report(report),
            None => Self::Unavailable(ErrorCause::new(error)),
        }
    }
}

impl StoreError {
    fn from_report(report: &DbError) -> Self {
        let code = report.code();
        let cause =
            ErrorCause::new(ServerReport { message: report.message().to_owned(), code: code.code().to_owned() });
        match *code {
            SqlState::DISK_FULL => Self::Full(cause),
            // Nothing was stored, but it succeeds when it is tried again.
            SqlState::T_R_SERIALIZATION_FAILURE
            | SqlState::T_R_DEADLOCK_DETECTED
            | SqlState::LOCK_NOT_AVAILABLE
            | SqlState::QUERY_CANCELED
            | SqlState::READ_ONLY_SQL_TRANSACTION
            | SqlState::TOO_MANY_CONNECTIONS
            | SqlState::ADMIN_SHUTDOWN
            | SqlState::CRASH_SHUTDOWN
            | SqlState::CANNOT_CONNECT_NOW
            | SqlState::DATABASE_DROPPED => Self::Unavailable(cause),
            // Class 08: the connection failed.
            _ if code.code().starts_with("08") => Self::Unavailable(cause),
            _ => Self::Postgres(cause),
        }
    }
}
