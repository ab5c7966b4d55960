//! Reads durable runs beside the process that writes them.

use std::path::Path;

use brigade_core::{RunId, StepRecord};
use brigade_durable::{RunQuery, StoredRun};

use super::rows;
use crate::{StoreError, sqlite::readers::Readers};

/// The durable runs in a file, for reading only. Another process may be writing the file, such as a running server.
///
/// ```no_run
/// # async fn example() -> Result<(), brigade_store::StoreError> {
/// use brigade_store::StoredRuns;
///
/// for run in StoredRuns::open("brigade.db")?.list(Default::default()).await? {
///     println!("{} {}", run.id, run.status.name());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct StoredRuns(Readers);

impl StoredRuns {
    /// Opens the file. Blocks.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Readers::open(path.as_ref()).map(Self)
    }

    /// Lists runs, newest first.
    pub async fn list(&self, query: RunQuery) -> Result<Vec<StoredRun>, StoreError> {
        self.0.read(move |connection| rows::list(connection, &query)).await
    }

    /// Returns a run.
    pub async fn find(&self, run: RunId) -> Result<Option<StoredRun>, StoreError> {
        self.0.read(move |connection| rows::find(connection, run)).await
    }

    /// Returns the records of the steps of a run, by path.
    pub async fn journal(&self, run: RunId) -> Result<Vec<StepRecord>, StoreError> {
        let read = move |connection: &rusqlite::Connection| match rows::id_of(connection, run)? {
            Some(id) => rows::journal(connection, id),
            None => Ok(Vec::new()),
        };
        self.0.read(read).await
    }
}
