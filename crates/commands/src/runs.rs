//! `brigade runs`

use std::sync::Arc;

use anyhow::{Context as _, bail};
use brigade_core::RunId;
use brigade_durable::{Durable, RunQuery, RunStore, StoredRun};
use brigade_store::{Database, SqliteRunStore};
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

The runs are those of `POST /v1/runs` in the configured `store`. The server must not be running: ask a running one with
`GET /v1/runs`, and `POST /v1/runs/ID/resume` or `/cancel`. A run that is resumed goes on when the server starts.")]
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
        let durable = Durable::shared(open_store(&self.config).await?);
        let id = self.id.map(RunId::from);
        match (self.action, id) {
            (Action::List, _) | (_, None) => {
                for run in durable.store().list(&RunQuery::default().limit(self.limit)).await? {
                    out!("{}", line(&run));
                }
            }
            (Action::Show, Some(id)) => show(&durable, id).await?,
            (Action::Resume, Some(id)) => {
                durable.resume(id, self.from.as_deref()).await?;
                note!("{id} goes on when the server starts");
            }
            (Action::Cancel, Some(id)) => {
                durable.cancel(id).await?;
                note!("{id} ends when the server starts");
            }
        }
        Ok(Exit::Finished)
    }
}

/// Opens the store of runs. Fails while a server uses it, if it is a file.
pub(crate) async fn open_store(config: &ConfigArg) -> anyhow::Result<Arc<dyn RunStore>> {
    let loaded = config.load()?;
    if let Some(address) = loaded.config.store_address() {
        return postgres::runs(address).await;
    }
    let Some(path) = &loaded.config.store else {
        bail!("no `store` is configured, so no runs are kept; add `store = \"brigade.db\"` to the configuration");
    };
    let path = loaded.folder.join(path);
    if !path.exists() {
        bail!("{} does not exist; the server creates it at its first start", path.display());
    }
    let opened = tokio::task::spawn_blocking(move || Database::open(path)).await?;
    Ok(Arc::new(SqliteRunStore::new(opened.context("stop the server, or ask it over HTTP")?)))
}

async fn show(durable: &Durable, id: RunId) -> anyhow::Result<()> {
    let run = durable.store().find(id).await?.with_context(|| format!("there is no stored run {id}"))?;
    out!("{}", line(&run));
    for step in durable.store().journal(id).await? {
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
