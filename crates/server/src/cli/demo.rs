//! `brigade demo`

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::{Context, bail};
use brigade_commands::{CrashDemo, Exit, SimulatorProcess, note, out};
use brigade_config::Config;
use brigade_core::{Outcome, Run, RunBuilder};
use brigade_edge::stop_signal;
use brigade_rehearsal::demo as script;
use brigade_terminal::{AnswerText, ProgressDisplay, Terminal};
use clap::Args;

use super::serve::ServeCommand;
use crate::app::{App, SharedState};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade demo            one run, on the terminal
  brigade demo --crash    its process is killed, and another one carries the run on without paying again
  brigade demo --serve    serves the team and its console, with a dozen runs that went well or wrong")]
pub(super) struct DemoCommand {
    /// The question. The simulated answers fit only the default one
    #[arg(default_value = script::QUESTION)]
    question: String,
    /// Uses a running simulator at this base URL
    #[arg(long, value_name = "URL")]
    simulator: Option<String>,
    /// Serves the team over HTTP, with its console and a dozen runs to look at
    #[arg(long, conflicts_with_all = ["question", "simulator"])]
    serve: bool,
    /// The address to serve on
    #[arg(long, value_name = "ADDRESS", requires = "serve", value_parser = brigade_commands::address)]
    listen: Option<SocketAddr>,
    /// Kills the process when two workers have answered, and carries the run on in another one
    #[arg(long, conflicts_with = "serve")]
    crash: bool,
    /// Keeps the run in this folder, and waits to be killed when two workers have answered
    #[arg(long, value_name = "FOLDER", hide = true)]
    until_crash: Option<PathBuf>,
}

impl DemoCommand {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        if self.serve {
            return ServeCommand::demo_with_history(self.listen).run().await;
        }
        if self.question.trim().is_empty() {
            bail!(
                "the question is empty; write one, such as `{} demo {:?}`",
                brigade_commands::program(),
                script::QUESTION
            );
        }
        let simulator = match self.simulator {
            Some(base_url) => SimulatorProcess::at(base_url),
            None => SimulatorProcess::start().await?,
        };
        let app = App::demo(&simulator.base_url, &SharedState::new(&Config::default()))?;
        let team = app.agent(script::SUPERVISOR).context("the demo has no supervisor")?;
        if let Some(folder) = &self.until_crash {
            let team = CrashDemo { agent: team.agent.clone(), budget: team.budget.clone() };
            return brigade_commands::run_until_crash(&team, folder, &self.question).await;
        }
        note!("Simulated provider at {}: scripted answers, list prices, no money is spent.\n", simulator.base_url);
        if self.crash {
            let team = CrashDemo { agent: team.agent.clone(), budget: team.budget.clone() };
            let resumed = tokio::select! {
                biased;
                () = stop_signal() => bail!("cancelled"),
                resumed = brigade_commands::crash_and_resume(&team, &simulator.base_url, &self.question) => resumed?,
            };
            let exit = print(&resumed.outcome)?;
            out!("{}", resumed.summary);
            return Ok(exit);
        }
        let display = ProgressDisplay::new();
        let run = Run::builder().budget(team.budget.clone()).observer(Arc::clone(&display) as _);
        let run = brigade_commands::kept_runs_recorder().into_iter().fold(run, RunBuilder::observer).build();
        let cancel = async {
            stop_signal().await;
            run.cancel();
            std::future::pending::<()>().await;
        };
        let outcome = tokio::select! {
            // First, so that the signal is handled before a request is sent.
            biased;
            () = cancel => bail!("cancelled"),
            outcome = display.show_while(team.agent.run_in(&run, self.question.as_str())) => outcome,
        };
        match outcome {
            Ok(outcome) => print(&outcome),
            Err(error) => bail!("{}\nIs the simulator at {} still running?", error.chain(), simulator.base_url),
        }
    }
}

/// Prints the answer and the summary to standard output, and notes to standard error.
fn print(outcome: &Outcome) -> anyhow::Result<Exit> {
    note!("");
    out!("{}\n\n{} (simulated)", AnswerText::whole(Terminal::of_stdout(), &outcome.text), outcome.summary());
    if brigade_commands::kept_runs_path().is_some_and(|path| path.exists()) {
        note!("\n{} trace {:.8}   shows the run as a tree", brigade_commands::program(), outcome.trace.to_string());
    }
    brigade_commands::note_end(outcome);
    Ok(Exit::from(outcome))
}
