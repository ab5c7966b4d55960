//! `brigade trace`

use std::{
    collections::HashSet,
    fmt::{self, Write as _},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use brigade_core::{Money, RunId};
use brigade_observability::{RecentRun, RunTree, TraceError, TreeStyle};
use brigade_store::{RunFilter, RunHistory, RunInfo};
use brigade_terminal::{Terminal, printable};
use clap::Args;
use jiff::Timestamp;

use crate::{exit::Exit, kept_runs, options::ConfigArg, out};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade trace                                 the latest runs
  brigade demo && brigade trace a3f2b1c9        a run that was printed with this trace id
  brigade trace a3f2b1c9 --store brigade.db
  brigade trace a3f2b1c9 --events events.jsonl

The id is in the summary of a run, in the log lines and in the response header `x-trace-id`. Without an option, the run is
looked up in the configured `store`, in the configured file `log.events`, in `events.jsonl`, and among the runs of the
command line. The server can keep running.")]
pub struct TraceCommand {
    /// The trace id: its first 8 digits, or all 32. Without it, the latest runs are listed
    id: Option<String>,
    /// The file of events to read, as `log.events` and `brigade run --events` write it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["store", "config"])]
    events: Option<PathBuf>,
    /// The store to read
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    store: Option<PathBuf>,
    /// The most runs to list
    #[arg(long, value_name = "NUMBER", default_value_t = 10, conflicts_with = "id")]
    limit: u32,
    #[command(flatten)]
    config: ConfigArg,
}

/// A place where runs are kept.
#[derive(Debug)]
enum Source {
    Store(PathBuf),
    Events(PathBuf),
}

/// A run in the list.
#[derive(Debug)]
struct ListedRun {
    run: RunId,
    trace: String,
    began: Timestamp,
    agent: String,
    outcome: Option<String>,
    elapsed: Option<Duration>,
    cost: Option<Money>,
    /// Whether it is among the runs of the command line, which are of any folder.
    is_of_any_folder: bool,
}

impl TraceCommand {
    pub async fn run(self) -> anyhow::Result<Exit> {
        let sources = self.sources()?;
        let text = match &self.id {
            Some(id) => show(&id.to_ascii_lowercase(), &sources).await?,
            None => list(&sources, self.limit).await?,
        };
        out!("{}", text.trim_end());
        Ok(Exit::Finished)
    }

    fn sources(&self) -> anyhow::Result<Vec<Source>> {
        if let Some(path) = &self.store {
            return Ok(vec![Source::Store(path.clone())]);
        }
        if let Some(path) = &self.events {
            return Ok(vec![Source::Events(path.clone())]);
        }
        let mut sources = Vec::new();
        if let Some(loaded) = self.config.load_if_there()? {
            // There is no history in PostgreSQL.
            let file = loaded.config.store.as_ref().filter(|_| loaded.config.store_address().is_none());
            sources.extend(file.map(|path| Source::Store(loaded.folder.join(path))));
            sources.extend(loaded.config.log.events.map(|path| Source::Events(loaded.folder.join(path))));
        }
        sources.push(Source::Events(PathBuf::from("events.jsonl")));
        sources.extend(kept_runs::kept_runs_path().map(Source::Events));
        Ok(sources)
    }
}

/// Explains a cost that may be many times that of an answer.
const UNCERTAIN: &str = "uncertain: the most that a call without an answer can cost, which counts against budgets;\n  \
     `max_output_tokens` of the model or agent limits it";

/// Draws the run with this id, from the first source that has it.
async fn show(id: &str, sources: &[Source]) -> anyhow::Result<String> {
    if !(8..=36).contains(&id.len()) || !id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') {
        return Err(TraceError::Id(id.to_owned()).into());
    }
    for source in sources {
        if let Some(tree) = source.tree(id).await? {
            let Terminal { width, color, .. } = Terminal::of_stdout();
            let style = TreeStyle::default().color(color);
            let mut text = tree.render(width.into_iter().fold(style, TreeStyle::width));
            if text.contains(" uncertain") {
                text.push_str(UNCERTAIN);
            }
            return Ok(text);
        }
    }
    bail!(
        "no run has the trace id {id}; looked in:{}\n`brigade trace` lists the latest runs; `--store` and `--events` look \
         elsewhere",
        places(sources)
    )
}

/// Lists the latest runs of all sources.
async fn list(sources: &[Source], limit: u32) -> anyhow::Result<String> {
    let mut runs = Vec::new();
    let of_any_folder = kept_runs::kept_runs_path();
    for source in sources {
        let is_of_any_folder = of_any_folder.as_deref() == Some(source.path());
        runs.extend(source.runs(limit).await?.into_iter().map(|run| ListedRun { is_of_any_folder, ..run }));
    }
    // A run may be in the store and in a file of events.
    let mut known = HashSet::new();
    runs.retain(|run| known.insert(run.run));
    if runs.is_empty() {
        bail!("there are no runs yet; looked in:{}\n`brigade demo` makes one", places(sources));
    }
    runs.sort_by_key(|run| std::cmp::Reverse(run.began));
    let mut text =
        format!("{:<8}  {:<20}  {:<16}  {:<16}  {:>7}  {:>9}\n", "trace", "began", "agent", "outcome", "time", "cost");
    runs.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    for run in &runs {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{run}");
    }
    if runs.iter().any(|run| run.is_of_any_folder) {
        text.push_str("* a run of the command line without a store, in this or another folder");
    }
    Ok(text)
}

/// The sources as lines, each with whether it exists.
fn places(sources: &[Source]) -> String {
    let line = |source: &Source| {
        let missing = if source.path().exists() { "" } else { " (no such file)" };
        format!("\n  {source}{missing}")
    };
    sources.iter().map(line).collect()
}

impl Source {
    fn path(&self) -> &Path {
        let (Self::Store(path) | Self::Events(path)) = self;
        path
    }

    /// The tree of a run; `None` if this source does not have it.
    async fn tree(&self, id: &str) -> anyhow::Result<Option<RunTree>> {
        if !self.path().exists() {
            return Ok(None);
        }
        let tree = match self {
            Self::Events(path) => RunTree::open(path, id),
            Self::Store(path) => {
                let context = || format!("cannot read the store {}", path.display());
                let runs = RunHistory::open(path).with_context(context)?;
                let Some(history) = runs.trace(id).await.with_context(context)? else { return Ok(None) };
                RunTree::from_records(id, history.events)
            }
        };
        match tree {
            Ok(tree) => Ok(Some(tree)),
            // A file of events has trace ids only, and an id with hyphens is that of a run.
            Err(TraceError::NotFound(_) | TraceError::Id(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn runs(&self, limit: u32) -> anyhow::Result<Vec<ListedRun>> {
        match self {
            Self::Store(path) if path.exists() => {
                let context = || format!("cannot read the store {}", path.display());
                let runs = RunHistory::open(path).with_context(context)?;
                let runs = runs.list(RunFilter::default().limit(limit)).await.with_context(context)?;
                Ok(runs.into_iter().map(ListedRun::from).collect())
            }
            Self::Store(_) => Ok(Vec::new()),
            Self::Events(path) => match RecentRun::read(path, usize::try_from(limit).unwrap_or(usize::MAX)) {
                Ok(runs) => Ok(runs.into_iter().map(ListedRun::from).collect()),
                Err(TraceError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
                Err(error) => Err(error.into()),
            },
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(path) => write!(f, "the store {}", path.display()),
            Self::Events(path) => write!(f, "the file of events {}", path.display()),
        }
    }
}

impl From<RecentRun> for ListedRun {
    fn from(run: RecentRun) -> Self {
        let RecentRun { run, trace, agent, began, outcome, cost, elapsed, .. } = run;
        Self { run, trace: trace.to_string(), began, agent, outcome, elapsed, cost, is_of_any_folder: false }
    }
}

impl From<RunInfo> for ListedRun {
    fn from(run: RunInfo) -> Self {
        Self {
            run: run.run,
            trace: run.trace,
            began: Timestamp::from_microsecond(run.started_us).unwrap_or_default(),
            agent: run.agent,
            outcome: run.outcome,
            elapsed: run.elapsed_us.map(Duration::from_micros),
            cost: run.cost,
            is_of_any_folder: false,
        }
    }
}

impl fmt::Display for ListedRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace, began, agent, outcome, elapsed, cost, is_of_any_folder, .. } = self;
        let short = trace.get(..8).unwrap_or(trace);
        let elapsed = elapsed.map(|elapsed| format!("{:.1}s", elapsed.as_secs_f64())).unwrap_or_default();
        let cost = cost.map(|cost| cost.to_string()).unwrap_or_default();
        let (began, agent) = (format!("{began:.0}"), printable(agent));
        let outcome = outcome.as_deref().unwrap_or("not ended");
        let mark = if *is_of_any_folder { " *" } else { "" };
        write!(f, "{short:<8}  {began:<20}  {agent:<16}  {outcome:<16}  {elapsed:>7}  {cost:>9}{mark}")
    }
}
