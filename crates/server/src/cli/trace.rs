//! `brigade trace`: a run as a tree, from the store or from the file of its events.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use brigade_observability::RunTree;
use brigade_store::RunHistory;
use clap::Args;

use crate::{cli::exit::Exit, config::ConfigFile};

/// Arguments of `brigade trace`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade trace a3f2b1c9                        a run of the server that ./brigade.toml describes
  brigade trace a3f2b1c9 --store brigade.db
  brigade run desk \"Plan a week.\" --events events.jsonl
  brigade trace a3f2b1c9 --events events.jsonl

The id is the one of the log lines and of the header `x-trace-id`. Without an option it is looked for in the `store` of
the configuration, or else in the file that its `log.events` names. The server may go on meanwhile.")]
pub(crate) struct Trace {
    /// The trace id: its first 8 digits, or all 32
    id: String,
    /// The file of events
    #[arg(long, value_name = "FILE", conflicts_with = "store")]
    events: Option<PathBuf>,
    /// The store
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigFile,
}

/// Where runs are kept.
enum Source {
    Store(PathBuf),
    Events(PathBuf),
}

impl Trace {
    pub(crate) async fn run(self) -> anyhow::Result<Exit> {
        let tree = match self.source()? {
            Source::Store(path) => stored(&path, &self.id).await?,
            Source::Events(path) => RunTree::open(&path, &self.id)?,
        };
        println!("{tree}");
        Ok(Exit::Finished)
    }

    fn source(&self) -> anyhow::Result<Source> {
        if let Some(path) = &self.store {
            return Ok(Source::Store(path.clone()));
        }
        if let Some(path) = &self.events {
            return Ok(Source::Events(path.clone()));
        }
        let usual = || Source::Events(PathBuf::from("events.jsonl"));
        if !self.config.path.exists() {
            return Ok(usual());
        }
        let loaded = self.config.load()?;
        let store = loaded.config.store.map(|path| Source::Store(loaded.folder.join(path)));
        let events = loaded.config.log.events.map(|path| Source::Events(loaded.folder.join(path)));
        Ok(store.or(events).unwrap_or_else(usual))
    }
}

async fn stored(path: &Path, id: &str) -> anyhow::Result<RunTree> {
    let runs = RunHistory::open(path).with_context(|| format!("the store {}", path.display()))?;
    let found = runs.trace(id).await.with_context(|| format!("the store {}", path.display()))?;
    Ok(RunTree::from_records(id, found.into_iter().flat_map(|found| found.events))?)
}
