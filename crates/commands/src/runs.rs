//! `brigade runs`

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context as _, bail};
use brigade_config::LoadedConfig;
use brigade_core::{RunId, StepRecord};
use brigade_durable::{Durable, RunQuery, RunStore, StoredRun};
use brigade_store::{Database, SqliteRunStore, StoredRuns};
use brigade_terminal::printable;
use clap::{Args, ValueEnum};
use uuid::Uuid;

use crate::{exit::Exit, note, options::ConfigArg, out, postgres};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade runs                                       the latest stored runs
  brigade runs show 019abf3e-5e1c-7cc0-a5f1-0d9c6d2b7e43
  brigade runs resume 019abf3e-5e1c-7cc0-a5f1-0d9c6d2b7e43 --from 2/tool:1
  brigade runs cancel 019abf3e-5e1c-7cc0-a5f1-0d9c6d2b7e43

The runs are those of `POST /v1/runs` in the configured `store`. `list` and `show` work while a server is running. `resume` and
`cancel` need a stopped one: ask a running server with `POST /v1/runs/ID/resume` or `/cancel`. A run that is resumed goes on
when the server starts.")]
pub struct RunsCommand {
    /// What to do
    #[arg(value_enum, default_value_t = Action::List)]
    action: Action,
    /// The id of the run
    #[arg(required_if_eq_any([("action", "show"), ("action", "resume"), ("action", "cancel")]))]
    id: Option<Uuid>,
    /// The path of the step to resume from: it and all later steps are done again, whatever effects they had
    #[arg(long, value_name = "PATH")]
    from: Option<String>,
    /// The most runs to list
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    limit: usize,
    #[command(flatten)]
    config: ConfigArg,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Action {
    /// Lists the latest stored runs
    List,
    /// Shows a run with its steps
    Show,
    /// Resumes a run that failed, was set aside or waits
    Resume,
    /// Cancels a run
    Cancel,
}

impl RunsCommand {
    pub async fn run(self) -> anyhow::Result<Exit> {
        let id = self.id.map(RunId::from);
        match (self.action, id) {
            (Action::List, _) | (_, None) => {
                let runs = RunReader::open(&self.config).await?;
                for run in runs.list(RunQuery::default().limit(self.limit)).await? {
                    out!("{}", line(&run));
                }
            }
            (Action::Show, Some(id)) => show(&RunReader::open(&self.config).await?, id).await?,
            (Action::Resume, Some(id)) => {
                let durable = self.durable(&format!("POST /v1/runs/{id}/resume")).await?;
                durable.resume(id, self.from.as_deref()).await?;
                note!("{id} goes on when the server starts");
            }
            (Action::Cancel, Some(id)) => {
                let durable = self.durable(&format!("POST /v1/runs/{id}/cancel")).await?;
                durable.cancel(id).await?;
                note!("{id} ends when the server starts");
            }
        }
        Ok(Exit::Finished)
    }

    /// The runs, to be changed. `request` does the same at a running server.
    async fn durable(&self, request: &str) -> anyhow::Result<Durable> {
        let store = open_store(&self.config).await;
        Ok(Durable::shared(
            store.with_context(|| format!("cannot change the store; ask a running server with `{request}`"))?,
        ))
    }
}

/// Opens the store of runs. Fails while a server uses it, if it is a file.
pub(crate) async fn open_store(config: &ConfigArg) -> anyhow::Result<Arc<dyn RunStore>> {
    let loaded = config.load()?;
    if let Some(address) = loaded.config.store_address() {
        return postgres::runs(address).await;
    }
    let path = store_path(&loaded)?;
    let opened = tokio::task::spawn_blocking(move || Database::open(path)).await?;
    Ok(Arc::new(SqliteRunStore::new(opened.context("stop the server, or ask it over HTTP")?)))
}

/// The stored runs, to be read while a server may use them.
enum RunReader {
    File(StoredRuns),
    Shared(Arc<dyn RunStore>),
}

impl RunReader {
    async fn open(config: &ConfigArg) -> anyhow::Result<Self> {
        let loaded = config.load()?;
        match loaded.config.store_address() {
            Some(address) => Ok(Self::Shared(postgres::runs(address).await?)),
            None => Ok(Self::File(StoredRuns::open(store_path(&loaded)?)?)),
        }
    }

    async fn list(&self, query: RunQuery) -> anyhow::Result<Vec<StoredRun>> {
        Ok(match self {
            Self::File(runs) => runs.list(query).await?,
            Self::Shared(runs) => runs.list(&query).await?,
        })
    }

    async fn find(&self, run: RunId) -> anyhow::Result<Option<StoredRun>> {
        Ok(match self {
            Self::File(runs) => runs.find(run).await?,
            Self::Shared(runs) => runs.find(run).await?,
        })
    }

    async fn journal(&self, run: RunId) -> anyhow::Result<Vec<StepRecord>> {
        Ok(match self {
            Self::File(runs) => runs.journal(run).await?,
            Self::Shared(runs) => runs.journal(run).await?,
        })
    }
}

/// The path of the store, which exists.
fn store_path(loaded: &LoadedConfig) -> anyhow::Result<PathBuf> {
    let Some(path) = &loaded.config.store else {
        bail!("no `store` is configured, so no runs are kept; add `store = \"brigade.db\"` to the configuration");
    };
    let path = loaded.folder.join(path);
    if !path.exists() {
        bail!("{} does not exist; the server creates it at its first start", path.display());
    }
    Ok(path)
}

async fn show(runs: &RunReader, id: RunId) -> anyhow::Result<()> {
    let run = runs.find(id).await?.with_context(|| format!("there is no stored run {id}"))?;
    out!("{}", line(&run));
    for step in runs.journal(id).await? {
        let state = format!("{:?}", step.state).to_lowercase();
        out!("  {:<24} {:<7} {} {}", printable(&step.path), state, step.cost.total(), printable(&step.name));
    }
    Ok(())
}

/// A run in one line: its state, and why it does not go on.
fn line(run: &StoredRun) -> String {
    let StoredRun { id, queue, account, submitted_at, cost, waiting, error, .. } = run;
    let why = waiting.as_ref().map(|waiting| waiting.note.as_str()).or(error.as_deref()).unwrap_or_default();
    let text = format!("{id} {:<9} {submitted_at:.0} {queue} {account} {} {why}", run.status.name(), cost.total());
    printable(text.trim_end())
}
