//! `brigade store`

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use brigade_config::Retention;
use brigade_store::{Database, HistorySettings, MemorySettings, RecallSettings, SqliteMemory, SqliteRecall, StoreFile};
use clap::{Args, Subcommand};

use crate::{exit::Exit, note, options::ConfigArg, out, postgres};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade store backup brigade-2026-11-30.db
  brigade store restore brigade-2026-11-30.db
  brigade store check --store brigade-2026-11-30.db
  brigade store migrate --store postgres://brigade@db.example/brigade

A store in PostgreSQL is backed up and restored by the tools of PostgreSQL.")]
pub struct StoreCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Copies the store to a new file. The server can keep running
    Backup {
        /// The file to create
        file: PathBuf,
        #[command(flatten)]
        store: StoreArg,
    },
    /// Replaces the store with a backup. Stop the server before
    Restore {
        /// The backup
        file: PathBuf,
        #[command(flatten)]
        store: StoreArg,
    },
    /// Checks the store for damage, and says what is in it. The server can keep running
    Check {
        #[command(flatten)]
        store: StoreArg,
    },
    /// Migrates the store to the schema of this program. A file is also migrated when a server opens it
    Migrate {
        #[command(flatten)]
        store: StoreArg,
    },
    /// Deletes what `[retention]` does not keep, as a running server does every hour. Stop the server before
    Prune {
        #[command(flatten)]
        store: StoreArg,
    },
}

/// The options for the store.
#[derive(Debug, Args)]
struct StoreArg {
    /// The store, a file or `postgres://…`; by default the one in the configuration
    #[arg(long = "store", value_name = "FILE")]
    store: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArg,
}

impl StoreCommand {
    pub async fn run(self) -> anyhow::Result<Exit> {
        match self.command {
            Command::Backup { file, store } => back_up(&store.path()?, &file)?,
            Command::Restore { file, store } => {
                let path = store.path()?;
                StoreFile::new(&path).restore(&file).with_context(|| format!("cannot restore {}", path.display()))?;
                note!("restored {} from {}", path.display(), file.display());
            }
            Command::Check { store } => match store.place()? {
                Place::File(path) => check(&path)?,
                Place::Postgres(address) => postgres::check(&address).await?,
            },
            Command::Migrate { store } => match store.place()? {
                Place::File(path) => migrate(&path).await?,
                Place::Postgres(address) => postgres::migrate(&address).await?,
            },
            Command::Prune { store } => match store.place()? {
                Place::File(path) => prune(&path, &store.retention()?).await?,
                Place::Postgres(address) => postgres::prune(&address, &store.retention()?).await?,
            },
        }
        Ok(Exit::Finished)
    }
}

/// Where a store is.
enum Place {
    File(PathBuf),
    /// The address, with its password.
    Postgres(String),
}

impl StoreArg {
    fn place(&self) -> anyhow::Result<Place> {
        let (store, folder) = if let Some(store) = &self.store {
            (store.clone(), PathBuf::new())
        } else {
            let loaded = self.config.load()?;
            let Some(store) = loaded.config.store else {
                bail!("{} has no `store`; name the file with `--store FILE`", self.config.path().display());
            };
            (store, loaded.folder)
        };
        let address = store.to_str().filter(|store| postgres::is_address(store));
        Ok(address.map_or_else(|| Place::File(folder.join(&store)), |address| Place::Postgres(address.to_owned())))
    }

    /// The file of the store.
    fn path(&self) -> anyhow::Result<PathBuf> {
        match self.place()? {
            Place::File(path) => Ok(path),
            Place::Postgres(_) => {
                bail!("the store is in PostgreSQL; use `pg_dump` and `pg_restore` with the schema `brigade`")
            }
        }
    }

    fn retention(&self) -> anyhow::Result<Retention> {
        Ok(self.config.load_if_there()?.map(|loaded| loaded.config.retention).unwrap_or_default())
    }
}

fn back_up(path: &Path, to: &Path) -> anyhow::Result<()> {
    if to.exists() {
        bail!("{} exists; a backup does not overwrite a file", to.display());
    }
    StoreFile::new(path).back_up(to).with_context(|| format!("cannot back up {}", path.display()))?;
    note!("copied {} to {}", path.display(), to.display());
    Ok(())
}

fn check(path: &Path) -> anyhow::Result<()> {
    let report = StoreFile::new(path).check().with_context(|| format!("{} is not in order", path.display()))?;
    out!("{} is in order", path.display());
    out!("schema {} (this program: {}), SQLite {}", report.schema, report.newest_schema, report.sqlite);
    for size in report.rows {
        out!("{:>12} {}", size.rows, size.table);
    }
    Ok(())
}

async fn migrate(path: &Path) -> anyhow::Result<()> {
    if !path.exists() {
        bail!("there is no store at {}", path.display());
    }
    Database::open(path)?.close().await?;
    note!("{} has the schema of this program", path.display());
    Ok(())
}

async fn prune(path: &Path, retention: &Retention) -> anyhow::Result<()> {
    if !path.exists() {
        bail!("there is no store at {}", path.display());
    }
    let database = Database::open(path)?;
    let history = HistorySettings::default()
        .keep_events(retention.events)
        .keep_runs(retention.runs)
        .keep_answers(retention.answers);
    database.prune_history(&history).await?;
    let sessions = MemorySettings::default().keep_for(retention.sessions);
    SqliteMemory::with_settings(database.clone(), sessions).sweep().await?;
    let notes = RecallSettings::default().keep_for(retention.notes);
    SqliteRecall::with_settings(database.clone(), notes).sweep().await?;
    database.close().await?;
    note!("deleted what {} keeps no longer", path.display());
    Ok(())
}
