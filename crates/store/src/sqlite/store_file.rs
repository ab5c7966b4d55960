//! Copies of a database file, and what is in it.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags};

use super::{
    database::check_pages,
    file::{Replacement, beside, cannot_open, create_private},
    readers::connect,
    schema,
};
use crate::{DatabaseSettings, StoreError};

/// The file of a database, for tools that back it up, restore or check it. A backup and a check work beside a process that
/// uses the file.
///
/// ```
/// use brigade_store::{Database, StoreFile};
///
/// # fn main() -> Result<(), brigade_store::StoreError> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let (path, copy) = (folder.path().join("brigade.db"), folder.path().join("copy.db"));
/// let database = Database::open(&path)?;
/// StoreFile::new(&path).back_up(&copy)?;
/// drop(database);
/// StoreFile::new(&path).restore(&copy)?;
/// assert_eq!(StoreFile::new(&path).check()?.schema, StoreFile::new(&copy).check()?.schema);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct StoreFile(PathBuf);

/// What is in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreReport {
    /// The version of the file's schema.
    pub schema: i64,
    /// The newest version that this program supports.
    pub newest_schema: i64,
    /// The version of SQLite in this program.
    pub sqlite: &'static str,
    /// The tables that people know of, with their numbers of rows.
    pub rows: Vec<TableSize>,
}

/// How many rows a table has.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableSize {
    /// The name of the table.
    pub table: &'static str,
    /// The number of its rows.
    pub rows: u64,
}

/// The tables of a report. Older files do not have all of them.
const TABLES: [&str; 8] =
    ["sessions", "messages", "notes", "responses", "runs", "events", "durable_runs", "durable_steps"];

impl StoreFile {
    /// The file at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Copies the content, as it is at one moment, to a new file. Writers do not wait for it. Blocks.
    ///
    /// # Errors
    ///
    /// Fails if there is a file at `to`, and leaves nothing behind if the copy fails.
    pub fn back_up(&self, to: &Path) -> Result<(), StoreError> {
        if to.exists() {
            return Err(cannot_open(to, io::ErrorKind::AlreadyExists.into()));
        }
        let copy = beside(to, ".partial");
        let finished =
            self.copy(&copy).and_then(|()| std::fs::rename(&copy, to).map_err(|error| cannot_open(to, error)));
        if finished.is_err() {
            // It may not even have been created.
            let _ = std::fs::remove_file(&copy);
        }
        finished
    }

    /// Replaces the file with a copy of the backup `from`, which is checked before. Blocks.
    ///
    /// # Errors
    ///
    /// Fails with [`StoreError::InUse`] while a process uses the file.
    pub fn restore(&self, from: &Path) -> Result<(), StoreError> {
        let replacement = Replacement::begin(&self.0)?;
        Self::new(from).check()?;
        let copy = beside(&self.0, ".restored");
        let finished = Self::new(from).copy(&copy).and_then(|()| replacement.finish(&copy));
        if finished.is_err() {
            let _ = std::fs::remove_file(&copy);
        }
        finished
    }

    /// Checks the whole file for damage, and reports what is in it. Blocks.
    pub fn check(&self) -> Result<StoreReport, StoreError> {
        let connection = self.connect()?;
        check_pages(&connection)?;
        let mut rows = Vec::new();
        for table in TABLES {
            if connection.table_exists(None, table)? {
                let count = connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
                rows.push(TableSize { table, rows: count });
            }
        }
        let (schema, newest_schema) = (schema::version(&connection)?, schema::newest());
        Ok(StoreReport { schema, newest_schema, sqlite: rusqlite::version(), rows })
    }

    fn connect(&self) -> Result<Connection, StoreError> {
        std::fs::metadata(&self.0).map_err(|error| cannot_open(&self.0, error))?;
        let timeout = DatabaseSettings::default().busy_timeout;
        let connection = connect(&self.0, OpenFlags::SQLITE_OPEN_READ_ONLY, timeout)?;
        schema::check(&connection, &self.0)?;
        Ok(connection)
    }

    /// Copies the content to `to`, and syncs it. What was deleted is not copied.
    fn copy(&self, to: &Path) -> Result<(), StoreError> {
        let connection = self.connect()?;
        let failed = |error| cannot_open(to, error);
        let name = to.to_str().ok_or_else(|| failed(io::ErrorKind::InvalidFilename.into()))?;
        if let Err(error) = std::fs::remove_file(to)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(failed(error));
        }
        // SQLite writes into an empty file, too, and keeps its permissions.
        create_private(to).map_err(failed)?;
        connection.execute("VACUUM INTO ?1", [name])?;
        File::open(to).and_then(|file| file.sync_all()).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use brigade_core::{Memory as _, Message};

    use super::*;
    use crate::{Database, SqliteMemory};

    async fn remember(database: &Database, text: &str) {
        let memory = SqliteMemory::new(database.clone());
        memory.append("s", &[Message::user(text), Message::assistant("Yes.")]).await.unwrap();
    }

    async fn messages(path: &Path) -> usize {
        let memory = SqliteMemory::new(Database::open(path).unwrap());
        memory.load("s").await.unwrap().len()
    }

    #[tokio::test]
    async fn a_backup_beside_a_writer_has_everything_until_then_and_can_be_restored() {
        let folder = tempfile::tempdir().unwrap();
        let [path, copy] = ["test.db", "copy.db"].map(|name| folder.path().join(name));
        let database = Database::open(&path).unwrap();
        remember(&database, "first").await;
        let file = StoreFile::new(&path);
        file.back_up(&copy).unwrap();
        remember(&database, "second").await;

        let error = file.restore(&copy).unwrap_err();
        assert!(matches!(error, StoreError::InUse(_)), "{error:?}");
        let error = file.back_up(&copy).unwrap_err();
        assert!(matches!(error, StoreError::Open { .. }), "a backup is not overwritten: {error:?}");
        database.close().await.unwrap();
        drop(database);
        assert_eq!(messages(&path).await, 4);

        file.restore(&copy).unwrap();
        assert_eq!(messages(&path).await, 2);
        let report = StoreFile::new(&copy).check().unwrap();
        assert_eq!(report.schema, report.newest_schema);
        assert!(report.rows.contains(&TableSize { table: "messages", rows: 2 }), "{report:?}");
    }

    #[tokio::test]
    async fn a_restored_backup_is_not_mixed_with_the_log_of_the_file_before() {
        let folder = tempfile::tempdir().unwrap();
        let [path, copy, crashed] = ["test.db", "copy.db", "crashed.db"].map(|name| folder.path().join(name));
        let database = Database::open(&path).unwrap();
        remember(&database, "first").await;
        StoreFile::new(&path).back_up(&copy).unwrap();
        remember(&database, "second").await;
        // As a crash leaves them, and marked as damaged.
        std::fs::copy(&path, &crashed).unwrap();
        std::fs::copy(beside(&path, "-wal"), beside(&crashed, "-wal")).unwrap();
        std::fs::write(beside(&crashed, ".lock"), "damaged").unwrap();
        StoreFile::new(&crashed).restore(&copy).unwrap();
        assert_eq!(messages(&crashed).await, 2);
    }

    #[tokio::test]
    async fn nothing_is_replaced_by_a_file_that_is_not_a_store() {
        let folder = tempfile::tempdir().unwrap();
        let [path, other] = ["test.db", "other.db"].map(|name| folder.path().join(name));
        let database = Database::open(&path).unwrap();
        remember(&database, "first").await;
        database.close().await.unwrap();
        drop(database);
        std::fs::write(&other, "not a database, but long enough to be one".repeat(99)).unwrap();
        for from in [&other, &folder.path().join("missing.db")] {
            StoreFile::new(&path).restore(from).unwrap_err();
        }
        assert_eq!(messages(&path).await, 2);
    }
}
