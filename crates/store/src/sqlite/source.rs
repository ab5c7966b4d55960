//! The connection of the writer thread, and the checks of its file.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use super::{
    database::{check_pages, connect_writer},
    file::{DatabaseFile, FileState},
    header::Header,
    readers::Readers,
};
use crate::{DatabaseSettings, StoreError};

/// The source of the writer's connection. It opens another one if the file was replaced.
#[derive(Debug)]
pub(crate) struct Source {
    file: DatabaseFile,
    settings: DatabaseSettings,
    readers: Readers,
    generation: Arc<AtomicU64>,
    /// Distinguishes this database from others.
    identity: Vec<u8>,
    damage: Option<Damage>,
}

/// The damage of a file that another program changed.
#[derive(Debug)]
struct Damage {
    error: StoreError,
    /// The file that was examined. It is not examined again until it changes.
    header: Header,
}

/// SQLite's default. A longer log makes reads slower.
const CHECKPOINT_BYTES: u64 = 1_000 * 4_096;

/// How long a truncation of the log may hold other writers while it waits for readers.
const TRUNCATION_TIMEOUT: Duration = Duration::from_millis(20);

/// The largest file that is checked as a whole after another program changed it, which takes a quarter of a second.
const MAX_CHECKED_BYTES: u64 = 256 << 20;

/// The pause between attempts to lock a file that another program locks.
const LOCK_INTERVAL: Duration = Duration::from_millis(250);

impl Source {
    /// Opens the file, and returns its connection, too.
    pub(crate) fn open(
        file: DatabaseFile,
        settings: &DatabaseSettings,
        readers: &Readers,
        generation: &Arc<AtomicU64>,
    ) -> Result<(Self, Connection), StoreError> {
        let (settings, readers, generation) = (settings.clone(), readers.clone(), Arc::clone(generation));
        let mut source = Self { file, settings, readers, generation, identity: Vec::new(), damage: None };
        let connection = source.connect()?;
        Ok((source, connection))
    }

    fn connect(&mut self) -> Result<Connection, StoreError> {
        let connection = connect_writer(&self.file, &self.settings)?;
        self.identity = identity(&connection)?;
        checkpoint(&connection, "PASSIVE")?;
        connection.busy_timeout(self.settings.busy_timeout.min(LOCK_INTERVAL))?;
        self.file.accept()?;
        Ok(connection)
    }

    /// The open connection, or a new one if the file was replaced.
    pub(crate) fn current<'a>(&mut self, open: &'a mut Option<Connection>) -> Result<&'a mut Connection, StoreError> {
        let state = self.file.check()?;
        if let FileState::Changed(contradiction) = state {
            self.examine(contradiction)?;
        }
        let connection = match open.take() {
            Some(connection) if state != FileState::Replaced => connection,
            replaced => self.reopen(replaced)?,
        };
        self.settle();
        Ok(open.insert(connection))
    }

    /// Examines a file that another program changed. A checkpoint by another program is allowed.
    fn examine(&mut self, contradiction: Option<&'static str>) -> Result<(), StoreError> {
        let header = self.file.header()?;
        if let Some(damage) = self.damage.as_ref().filter(|damage| damage.header == header) {
            return Err(damage.error.clone());
        }
        let Some(finding) = contradiction.or_else(|| self.damage_of_pages(header.size())) else {
            self.file.accept()?;
            // An older copy of the same database passes, too, so the history checks whether its spending is there.
            self.readers.retire();
            self.generation.fetch_add(1, Ordering::AcqRel);
            return Ok(());
        };
        let error = StoreError::Damaged { path: self.file.path().to_owned(), finding };
        tracing::error!("{error}");
        self.readers.refuse(Some(error.clone()));
        self.file.mark(true);
        self.damage = Some(Damage { error: error.clone(), header });
        Err(error)
    }

    /// Reads the file with a new connection, which has nothing in its cache.
    fn damage_of_pages(&self, size: u64) -> Option<&'static str> {
        let found = self.readers.connect(OpenFlags::SQLITE_OPEN_READ_ONLY).and_then(|connection| {
            if identity(&connection)? != self.identity {
                return Ok(Some("another file was copied over it"));
            }
            if size > MAX_CHECKED_BYTES {
                return Ok(None);
            }
            check_pages(&connection).map(|()| None)
        });
        match found {
            Ok(finding) => finding,
            Err(StoreError::Busy(_)) => None,
            Err(_) => Some("its pages or those of its log are damaged"),
        }
    }

    /// Ends the consequences of a damage, because the file is good again.
    fn settle(&mut self) {
        if self.damage.take().is_some() {
            tracing::info!("the database {} can be used again", self.file.path().display());
            self.readers.refuse(None);
            self.file.mark(false);
        }
    }

    fn reopen(&mut self, replaced: Option<Connection>) -> Result<Connection, StoreError> {
        self.readers.retire();
        if let Some(connection) = replaced {
            tracing::warn!("the database {} was replaced; opening the new file", self.file.path().display());
            // SQLite would apply a log that was left behind to the new file. An error means that it is gone, too.
            let _ = checkpoint(&connection, "TRUNCATE");
        }
        self.file.reopen()?;
        self.readers.keep_open(self.file.handle());
        let connection = self.connect()?;
        self.generation.fetch_add(1, Ordering::AcqRel);
        Ok(connection)
    }

    /// Accepts the present size of the log. Call it after a write.
    pub(crate) fn accept_log(&mut self) {
        self.file.accept_log();
    }

    /// Copies a long log into the file, after a check of the file. SQLite would do so without one.
    pub(crate) fn checkpoint_if_long(&mut self, connection: &Connection) {
        if self.file.log_size() < CHECKPOINT_BYTES || self.file.check().ok() != Some(FileState::Unchanged) {
            return;
        }
        if let Err(error) = checkpoint(connection, "PASSIVE").and_then(|_| self.file.accept()) {
            tracing::warn!(%error, "the log of the database cannot be copied into the file, will retry");
        }
    }

    /// Truncates the log. Returns false if a reader or another program uses it.
    pub(crate) fn truncate_log(&mut self, open: &mut Option<Connection>) -> Result<bool, StoreError> {
        let connection = self.current(open)?;
        connection.busy_timeout(TRUNCATION_TIMEOUT)?;
        let truncated = checkpoint(connection, "TRUNCATE");
        connection.busy_timeout(self.settings.busy_timeout.min(LOCK_INTERVAL))?;
        self.file.accept()?;
        match truncated {
            // Another connection that truncates the log at the same time is reported like this.
            Err(StoreError::Busy(_)) => Ok(false),
            result => result,
        }
    }

    /// Closes the readers, then the connection. The log is copied into the file and removed, unless the file is damaged.
    pub(crate) fn close(mut self, mut open: Option<Connection>) {
        self.readers.close();
        let is_good = self.current(&mut open).is_ok();
        let Some(connection) = open else { return };
        let closed = if is_good {
            checkpoint(&connection, "TRUNCATE").map(drop)
        } else {
            // Closing the last connection would copy the log into the damaged file.
            connection
                .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
                .map(drop)
                .map_err(StoreError::from)
        };
        if let Err(error) = closed.and_then(|()| connection.close().map_err(|(_, error)| error.into())) {
            tracing::warn!(%error, "the database was not closed cleanly");
        }
    }
}

fn identity(connection: &Connection) -> Result<Vec<u8>, StoreError> {
    Ok(connection.query_row("SELECT id FROM identity", [], |row| row.get(0))?)
}

/// Copies the log into the file. Returns false if a reader or another program prevented a part of it.
fn checkpoint(connection: &Connection, mode: &str) -> Result<bool, StoreError> {
    let is_busy: bool = connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get(0))?;
    Ok(!is_busy)
}
