//! `brigade run`: one task for one agent, from the command line.

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

use crate::{
    agents::team::Served,
    api::ANYBODY,
    app::{App, Standing},
    cli::exit::{EXIT_CODES, Exit},
    cli::signals,
    config::worst_case::WorstCase,
    config::{ConfigFile, Loaded},
    runs::report::{Failure, Report},
    runs::store::Store,
};

/// Arguments of `brigade run`.
#[derive(Debug, Args)]
#[command(after_help = format!("\
Examples:
  brigade run desk \"Should we move our queue from SQS to Kafka?\"
  git diff | brigade run reviewer -
  brigade run desk \"Plan a week.\" --json | jq -r .text
  brigade run desk \"Plan a week.\" --dry-run

The answer goes to standard output, what it took to standard error.

{EXIT_CODES}"))]
pub(crate) struct RunAgent {
    /// The agent
    agent: String,
    /// What it is to do; `-` reads it from standard input
    task: String,
    #[command(flatten)]
    config: ConfigFile,
    /// Asks nobody: tells what the run can cost at the most
    #[arg(long, conflicts_with_all = ["json", "events"])]
    dry_run: bool,
    /// Answers with one JSON object: text, stop, cost, usage, trace
    #[arg(long)]
    json: bool,
    /// Adds the run's events to this file, for `brigade trace`
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
}

impl RunAgent {
    pub(crate) async fn run(self) -> anyhow::Result<Exit> {
        let loaded = self.config.load()?;
        let log = &loaded.config.log;
        // A person reads this: what goes well is in the answer and the summary.
        let logging = Logging::new().format(log.format).level(log.level.as_deref().unwrap_or("warn")).init();
        let _logging = logging.context("cannot set up the log")?;
        // What can be told without asking anybody is told beside a server that has the store open.
        let store = if self.dry_run { None } else { Store::of(&loaded).await? };
        let app = App::from_config(&loaded, Standing::new(&loaded.config).kept_in(store.clone()).await?)?;
        let Some(served) = app.agents.get(&self.agent) else {
            let known: Vec<_> = app.agents.keys().map(String::as_str).collect();
            bail!("there is no agent `{}`; the configuration has: {}", self.agent, known.join(", "));
        };
        if self.dry_run {
            return Ok(self.tell_worst_case(&loaded, &app));
        }
        let task = self.task()?;
        let run = self.context(&app, served, (&loaded, store.as_ref()))?;
        let is_live = !self.json && served.speaks_live() && std::io::stdout().is_terminal();
        let result = work(served, (&run, task), is_live).await;
        if let Some(store) = store {
            store.close().await;
        }
        match result {
            Ok(outcome) => {
                self.show(&outcome, is_live)?;
                Ok(Exit::from(&outcome))
            }
            Err(error) if self.json => {
                println!("{}", serde_json::to_string_pretty(&Failure::of(&error))?);
                Ok(Exit::Failed)
            }
            Err(error) => bail!("{}", error.chain()),
        }
    }

    fn tell_worst_case(&self, loaded: &Loaded, app: &App) -> Exit {
        if let Some(agent) = loaded.config.agents.get(&self.agent) {
            println!("{}: {}", self.agent, WorstCase::of(&loaded.config, agent, &app.prices));
        }
        Exit::Finished
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

    /// On behalf of whoever may ask without a key.
    fn context(&self, app: &App, served: &Served, (loaded, store): (&Loaded, Option<&Store>)) -> anyhow::Result<Run> {
        let run = Run::builder().account(app.ledger().clone()).budget(served.budget.clone());
        let run = run.scope(Scope::default().tenant(ANYBODY));
        let kept = store.map(|store| store.observer(&ANYBODY.into(), None));
        let run = kept.into_iter().fold(run, RunBuilder::observer);
        let configured = loaded.config.log.events.as_ref().map(|path| loaded.folder.join(path));
        let Some(path) = self.events.clone().or(configured) else { return Ok(run.build()) };
        let recorder = RunLog::open(&path).with_context(|| format!("cannot write to {}", path.display()))?;
        Ok(run.observer(Arc::new(recorder)).build())
    }

    fn show(&self, outcome: &Outcome, was_live: bool) -> anyhow::Result<()> {
        if self.json {
            println!("{}", serde_json::to_string_pretty(&Report::of(outcome))?);
            return Ok(());
        }
        println!("{}", if was_live { String::new() } else { harmless(&outcome.text) });
        eprintln!("{}", outcome.summary());
        if !outcome.notice.is_empty() {
            eprintln!("note: {}", harmless(&outcome.notice));
        }
        for degraded in &outcome.degraded {
            eprintln!("degraded: {}: {}", degraded.part, harmless(&degraded.reason));
        }
        Ok(())
    }
}

/// Works on the task, and shows the answer as it comes if somebody looks on. Ctrl-C cancels the run, not the program, so
/// that what there is of an answer is shown.
async fn work(served: &Served, (run, task): (&Run, Task), is_live: bool) -> Result<Outcome, RunError> {
    if !is_live {
        let mut work = pin!(served.agent.run_in(run, task));
        return tokio::select! {
            result = &mut work => result,
            () = signals::stop() => {
                run.cancel();
                work.await
            }
        };
    }
    let (mut items, mut stop) = (pin!(stream(served.agent.clone(), run, task)), pin!(signals::stop()));
    let mut is_stopping = false;
    loop {
        tokio::select! {
            item = items.next() => match item {
                Some(RunItem::Event(agent, event)) if !agent.contains('/') => show_live(&event),
                Some(RunItem::End(result)) => return result,
                // The end of the run is told before the stream ends.
                Some(RunItem::Event(..)) | None => {}
            },
            () = &mut stop, if !is_stopping => {
                is_stopping = true;
                run.cancel();
            }
        }
    }
}

/// A model, or what a tool has brought, must not steer the terminal: only text and line breaks pass.
fn harmless(text: &str) -> String {
    text.chars().filter(|char| !char.is_control() || matches!(char, '\n' | '\t')).collect()
}

fn show_live(event: &Event) {
    let text = match event {
        Event::Delta(Delta::Text(text)) => text.as_str(),
        Event::TurnEnded { tool_calls: 1.., .. } => "\n\n",
        Event::ReplyRestarted => "\n[the answer begins again]\n",
        _ => return,
    };
    let mut stdout = std::io::stdout();
    // A reader that went away takes the display with it, not the run.
    let _ = stdout.write_all(harmless(text).as_bytes()).and_then(|()| stdout.flush());
}
