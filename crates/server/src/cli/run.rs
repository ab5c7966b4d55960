//! `brigade run`

use std::{
    io::{IsTerminal, Read, Write},
    path::PathBuf,
    pin::pin,
    sync::Arc,
};

use anyhow::{Context, bail};
use brigade_core::{Delta, Event, Outcome, Run, RunBuilder, RunError, RunItem, Scope, Task, stream};
use brigade_observability::{Logging, RunLog};
use clap::Args;
use futures::StreamExt;

use super::{
    ConfigArg,
    exit::{EXIT_CODES, Exit},
    signals,
};
use crate::{
    agents::served::ServedAgent,
    app::{App, SharedState},
    config::{LOCAL_CALLER, LoadedConfig, worst_case::WorstCase},
    runs::report::{RunFailureReport, RunResult},
};

#[derive(Debug, Args)]
#[command(after_help = format!("\
Examples:
  brigade run desk \"Should we move our queue from SQS to Kafka?\"
  git diff | brigade run reviewer -
  brigade run desk \"Plan a week.\" --json | jq -r .text
  brigade run desk \"Plan a week.\" --dry-run

The answer is printed to standard output, the summary to standard error.

{EXIT_CODES}"))]
pub(super) struct RunCommand {
    /// The agent's name
    agent: String,
    /// The task; `-` reads it from standard input
    task: String,
    #[command(flatten)]
    config: ConfigArg,
    /// Calls no model; prints the maximum cost of the run
    #[arg(long, conflicts_with_all = ["json", "events"])]
    dry_run: bool,
    /// Prints one JSON object: text, stop, cost, usage, trace
    #[arg(long)]
    json: bool,
    /// Appends the run's events to this file, for `brigade trace`
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
}

impl RunCommand {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let loaded = self.config.load()?;
        let log = &loaded.config.log;
        // Only warnings: the answer and the summary say what went well.
        let logging = Logging::new().format(log.format).level(log.level.as_deref().unwrap_or("warn")).init();
        let _logging = logging.context("cannot set up logging")?;
        // A dry run needs no store, which a server may have open.
        let state = if self.dry_run { SharedState::new(&loaded.config) } else { SharedState::open(&loaded).await? };
        let app = App::from_config(&loaded, &state)?;
        let Some(agent) = app.agent(&self.agent) else {
            let known: Vec<_> = app.agents.iter().map(|served| &**served.agent.name()).collect();
            bail!("there is no agent `{}`; the agents are: {}", self.agent, known.join(", "));
        };
        if self.dry_run {
            return self.print_worst_case(&loaded, &app);
        }
        let task = self.task()?;
        let run = self.build_run(agent, &loaded, &state)?;
        let is_live = !self.json && agent.streams_text() && std::io::stdout().is_terminal();
        let result =
            if is_live { run_live(agent, &run, task).await } else { run_until_stopped(agent, &run, task).await };
        let closed = match &state.store {
            Some(store) => store.close().await,
            None => Ok(()),
        };
        if let Err(error) = &closed {
            note!("error: {error:#}");
        }
        match result {
            Ok(outcome) => {
                self.print(&outcome, is_live)?;
                Ok(if closed.is_ok() { Exit::from(&outcome) } else { Exit::CostLost })
            }
            Err(error) if self.json => {
                out!("{}", serde_json::to_string_pretty(&RunFailureReport::of(&error))?);
                Ok(Exit::Failed)
            }
            Err(error) => bail!("{}", error.chain()),
        }
    }

    fn print_worst_case(&self, loaded: &LoadedConfig, app: &App) -> anyhow::Result<Exit> {
        if let Some(agent) = loaded.config.agents.get(&self.agent) {
            out!("{}: {}", self.agent, WorstCase::estimate(&loaded.config, agent, &app.prices));
        }
        Ok(Exit::Finished)
    }

    fn task(&self) -> anyhow::Result<Task> {
        if self.task != "-" {
            return Ok(self.task.as_str().into());
        }
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read the task from standard input")?;
        if text.trim().is_empty() {
            bail!("standard input is empty; pipe the task into it");
        }
        Ok(text.into())
    }

    fn build_run(&self, agent: &ServedAgent, loaded: &LoadedConfig, state: &SharedState) -> anyhow::Result<Run> {
        let run = Run::builder().account(state.ledger.clone()).budget(agent.budget.clone());
        let run = run.scope(Scope::default().tenant(LOCAL_CALLER));
        let recorder = state.store.as_ref().map(|store| store.observer(&LOCAL_CALLER.into(), None));
        let run = recorder.into_iter().fold(run, RunBuilder::observer);
        let configured = loaded.config.log.events.as_ref().map(|path| loaded.folder.join(path));
        let Some(path) = self.events.clone().or(configured) else { return Ok(run.build()) };
        let recorder = RunLog::open(&path).with_context(|| format!("cannot write to {}", path.display()))?;
        Ok(run.observer(Arc::new(recorder)).build())
    }

    fn print(&self, outcome: &Outcome, was_live: bool) -> anyhow::Result<()> {
        if self.json {
            out!("{}", serde_json::to_string_pretty(&RunResult::of_outcome(outcome))?);
            return Ok(());
        }
        out!("{}", if was_live { String::new() } else { printable(&outcome.text) });
        note!("{}", outcome.summary());
        if !outcome.notice.is_empty() {
            note!("note: {}", printable(&outcome.notice));
        }
        for degraded in &outcome.degraded {
            note!("degraded: {}: {}", degraded.part, printable(&degraded.reason));
        }
        Ok(())
    }
}

/// Runs the agent. Ctrl-C cancels the run rather than the program, so that the partial answer is printed.
async fn run_until_stopped(agent: &ServedAgent, run: &Run, task: Task) -> Result<Outcome, RunError> {
    let mut result = pin!(agent.agent.run_in(run, task));
    tokio::select! {
        result = &mut result => result,
        () = signals::stop() => {
            run.cancel();
            result.await
        }
    }
}

/// Like [`run_until_stopped`], and prints the answer while it is generated.
async fn run_live(agent: &ServedAgent, run: &Run, task: Task) -> Result<Outcome, RunError> {
    let (mut items, mut stop) = (pin!(stream(agent.agent.clone(), run, task)), pin!(signals::stop()));
    let mut is_stopping = false;
    loop {
        tokio::select! {
            item = items.next() => match item {
                Some(RunItem::Event(agent, event)) if !agent.contains('/') => print_event(&event),
                Some(RunItem::End(result)) => return result,
                // The stream ends only after `End`.
                Some(RunItem::Event(..)) | None => {}
            },
            () = &mut stop, if !is_stopping => {
                is_stopping = true;
                run.cancel();
            }
        }
    }
}

/// Removes control characters, so that a model or a tool cannot control the terminal.
fn printable(text: &str) -> String {
    text.chars().filter(|char| !char.is_control() || matches!(char, '\n' | '\t')).collect()
}

fn print_event(event: &Event) {
    let text = match event {
        Event::Delta(Delta::Text(text)) => text.as_str(),
        Event::TurnEnded { tool_calls: 1.., .. } => "\n\n",
        Event::ReplyRestarted => "\n[the answer starts again]\n",
        _ => return,
    };
    let mut stdout = std::io::stdout();
    // The run goes on if standard output was closed.
    let _ = stdout.write_all(printable(text).as_bytes()).and_then(|()| stdout.flush());
}
