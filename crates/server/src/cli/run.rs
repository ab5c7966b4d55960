//! `brigade run`

use std::{
    io::{Read, Write},
    path::PathBuf,
    pin::pin,
    sync::Arc,
};

use anyhow::{Context, bail};
use brigade_commands::{EXIT_CODES, Exit, ProvidersArg, note, out};
use brigade_config::{LOCAL_CALLER, LoadedConfig, WorstCase};
use brigade_core::{
    Delta, ErrorChain, Event, Observer, Outcome, Run, RunBuilder, RunError, RunItem, Scope, Task, stream,
};
use brigade_durable::Approver;
use brigade_edge::stop_signal;
use brigade_observability::{Collector, Logging, RunLog};
use brigade_store::StoreError;
use brigade_terminal::{AnswerText, ApprovalPrompt, Terminal};
use clap::Args;
use futures::StreamExt;

use crate::{
    agents::served::ServedAgent,
    app::{App, SharedState},
    runs::report::{RunFailureReport, RunResult},
    setup::error::SetupError,
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
    providers: ProvidersArg,
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
        let loaded = self.providers.load()?;
        let log = &loaded.config.log;
        // Only warnings: the answer and the summary say what went well.
        let logging = Logging::new().format(log.format).level(log.level.as_deref().unwrap_or("warn")).init();
        let _logging = logging.context("cannot set up logging")?;
        loaded.ignored_variables.iter().for_each(|warning| tracing::warn!("{warning}"));
        // A dry run needs no store, which a server may have open.
        let state = if self.dry_run {
            SharedState::new(&loaded.config)
        } else {
            SharedState::open(&loaded).await.map_err(with_running_server)?
        };
        let app = App::from_config(&loaded, &state)?;
        let Some(agent) = app.agent(&self.agent) else {
            let known: Vec<_> = app.agents.iter().map(|served| &**served.agent.name()).collect();
            bail!("there is no agent `{}`; the agents are: {}", self.agent, known.join(", "));
        };
        if self.dry_run {
            return self.print_worst_case(&loaded, &app);
        }
        let task = self.task()?;
        let spans = Collector::of_environment()?;
        let run = self.build_run(agent, &loaded, &state, &spans)?;
        let terminal = Terminal::of_stdout();
        let is_live = !self.json && agent.streams_text() && terminal.width.is_some();
        let result = if is_live {
            run_live(agent, &run, task, terminal).await
        } else {
            run_until_stopped(agent, &run, task).await
        };
        spans.shutdown().await;
        let closed = match &state.store {
            Some(store) => store.close().await,
            None => Ok(()),
        };
        if let Err(error) = &closed {
            note!("error: the last part of the history is lost: {}", ErrorChain(error));
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
        let mut text = self.task.clone();
        if text == "-" {
            text.clear();
            std::io::stdin().read_to_string(&mut text).context("cannot read the task from standard input")?;
        }
        if text.trim().is_empty() {
            bail!(
                "the task is empty; write one, such as `{} run {} \"Say hello.\"`",
                brigade_commands::program(),
                self.agent
            );
        }
        Ok(text.into())
    }

    fn build_run(
        &self,
        agent: &ServedAgent,
        loaded: &LoadedConfig,
        state: &SharedState,
        spans: &Collector,
    ) -> anyhow::Result<Run> {
        let run = Run::builder().account(state.ledger.clone()).budget(agent.budget.clone());
        let run = run.scope(Scope::default().tenant(LOCAL_CALLER));
        // In a terminal the person decides at once. Otherwise calls that need an approval are not made.
        let run = run.shared(ApprovalPrompt::of_terminal().map(Approver::new).unwrap_or_default());
        let store = state.store.as_ref().map(|store| store.observer(&LOCAL_CALLER.into(), None));
        let configured = loaded.config.log.events.as_ref().map(|path| loaded.folder.join(path));
        let events = match self.events.clone().or(configured) {
            Some(path) => {
                let log = RunLog::open(&path).with_context(|| format!("cannot write to {}", path.display()))?;
                Some(Arc::new(log) as Arc<dyn Observer>)
            }
            None if store.is_none() => brigade_commands::kept_runs_recorder(),
            None => None,
        };
        let observers = store.into_iter().chain(events).chain(spans.observer(None));
        Ok(observers.fold(run, RunBuilder::observer).build())
    }

    fn print(&self, outcome: &Outcome, was_live: bool) -> anyhow::Result<()> {
        if self.json {
            out!("{}", serde_json::to_string_pretty(&RunResult::of_outcome(outcome))?);
            return Ok(());
        }
        out!("{}", if was_live { String::new() } else { AnswerText::whole(Terminal::of_stdout(), &outcome.text) });
        note!("{}", outcome.summary());
        brigade_commands::note_end(outcome);
        Ok(())
    }
}

/// Adds to the error of a store that a server uses how that server takes the task.
fn with_running_server(error: SetupError) -> anyhow::Error {
    let is_in_use = matches!(error, SetupError::Store { source: StoreError::InUse(_), .. });
    let error = anyhow::Error::from(error);
    if is_in_use { error.context("a running server takes tasks with `POST /v1/runs`") } else { error }
}

/// Runs the agent. Ctrl-C cancels the run rather than the program, so that the partial answer is printed.
async fn run_until_stopped(agent: &ServedAgent, run: &Run, task: Task) -> Result<Outcome, RunError> {
    let mut result = pin!(agent.agent.run_in(run, task));
    tokio::select! {
        // First, so that the signal is handled before a request is sent.
        biased;
        () = stop_signal() => {
            run.cancel();
            result.await
        }
        result = &mut result => result,
    }
}

/// Like [`run_until_stopped`], and prints the answer while it is generated.
async fn run_live(agent: &ServedAgent, run: &Run, task: Task, terminal: Terminal) -> Result<Outcome, RunError> {
    let mut answer = AnswerText::new(terminal);
    let (mut items, mut stop) = (pin!(stream(agent.agent.clone(), run, task)), pin!(stop_signal()));
    let mut is_stopping = false;
    loop {
        tokio::select! {
            biased;
            () = &mut stop, if !is_stopping => {
                is_stopping = true;
                run.cancel();
            }
            item = items.next() => match item {
                Some(RunItem::Event(agent, event)) if !agent.contains('/') => print_now(&answer_part(&mut answer, &event)),
                Some(RunItem::End(result)) => {
                    print_now(&answer.end());
                    return result;
                }
                // The stream ends only after `End`.
                Some(RunItem::Event(..)) | None => {}
            },
        }
    }
}

/// The part of the answer that an event shows.
fn answer_part(answer: &mut AnswerText, event: &Event) -> String {
    match event {
        Event::Delta(Delta::Text(text)) => answer.add(text),
        Event::TurnEnded { tool_calls: 1.., .. } => answer.add("\n\n"),
        Event::ReplyRestarted => answer.add("\n[the answer starts again]\n"),
        Event::TurnEnded { .. }
        | Event::Delta(Delta::Thinking(_) | Delta::ToolCall { .. } | Delta::Arguments { .. })
        | Event::RunStarted
        | Event::Resumed { .. }
        | Event::RunEnded { .. }
        | Event::RunFailed { .. }
        | Event::RunWaiting { .. }
        | Event::TurnStarted { .. }
        | Event::AttemptStarted { .. }
        | Event::AttemptEnded { .. }
        | Event::RateLimitWaited { .. }
        | Event::RateLimitsReported { .. }
        | Event::Retrying { .. }
        | Event::RetrySuppressed { .. }
        | Event::FellBack { .. }
        | Event::BreakerChanged { .. }
        | Event::ToolStarted { .. }
        | Event::ToolEnded { .. }
        | Event::UnknownTool { .. }
        | Event::Trimmed { .. }
        | Event::AnswerRejected { .. }
        | Event::LoopNoticed { .. }
        | Event::BudgetRefused { .. }
        | Event::BudgetWarning { .. }
        | Event::HandedOff { .. }
        | Event::Degraded { .. }
        | Event::WorkerFailed { .. }
        | Event::WireQuirk { .. } => String::new(),
    }
}

fn print_now(text: &str) {
    let mut stdout = std::io::stdout();
    // The run goes on if standard output was closed.
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}
