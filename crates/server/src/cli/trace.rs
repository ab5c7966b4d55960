//! `brigade trace`

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use brigade_observability::RunTree;
use brigade_store::RunHistory;
use clap::Args;

use super::{ConfigArg, exit::Exit};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade trace a3f2b1c9                        a run of the server that uses ./brigade.toml
  brigade trace a3f2b1c9 --store brigade.db
  brigade run desk \"Plan a week.\" --events events.jsonl
  brigade trace a3f2b1c9 --events events.jsonl

The id is in the log lines and in the response header `x-trace-id`. Without an option, the run is looked up in the
configured `store`, else in the configured file `log.events`, else in `events.jsonl`. The server can keep running.")]
pub(super) struct TraceCommand {
    /// The trace id: its first 8 digits, or all 32
    id: String,
    /// The file of events to read, as `log.events` and `brigade run --events` write it
    #[arg(long, value_name = "FILE", conflicts_with = "store")]
    events: Option<PathBuf>,
    /// The store to read
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArg,
}

/// Where to look for the run.
enum Source {
    Store(PathBuf),
    Events(PathBuf),
}

impl TraceCommand {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let tree = match self.source()? {
            Source::Store(path) => from_store(&path, &self.id).await?,
            Source::Events(path) => RunTree::open(&path, &self.id)?,
        };
        out!("{tree}");
        Ok(Exit::Finished)
    }

    fn source(&self) -> anyhow::Result<Source> {
        if let Some(path) = &self.store {
            return Ok(Source::Store(path.clone()));
        }
        if let Some(path) = &self.events {
            return Ok(Source::Events(path.clone()));
        }
        let default = || Source::Events(PathBuf::from("events.jsonl"));
        if !self.config.path.exists() {
            return Ok(default());
        }
        let loaded = self.config.load()?;
        let store = loaded.config.store.map(|path| Source::Store(loaded.folder.join(path)));
        let events = loaded.config.log.events.map(|path| Source::Events(loaded.folder.join(path)));
        Ok(store.or(events).unwrap_or_else(default))
    }
}

async fn from_store(path: &Path, id: &str) -> anyhow::Result<RunTree> {
    let context = || format!("cannot read the store {}", path.display());
    let runs = RunHistory::open(path).with_context(context)?;
    let Some(history) = runs.trace(id).await.with_context(context)? else {
        bail!(
            "the store {} has no run with the id {id}; the first 8 digits of a trace id are on each log line of the run \
             and in the header `x-trace-id`",
            path.display()
        );
    };
    Ok(RunTree::from_records(id, history.events)?)
}
