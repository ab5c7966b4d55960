//! `brigade demo`

use std::sync::Arc;

use anyhow::{Context, bail};
use brigade_config::Config;
use brigade_core::{Outcome, Run, RunBuilder};
use brigade_edge::stop_signal;
use brigade_rehearsal::demo as script;
use brigade_terminal::{AnswerText, ProgressDisplay, Terminal};
use clap::Args;

use super::{exit::Exit, kept_runs, output, simulator::SimulatorProcess};
use crate::app::{App, SharedState};

#[derive(Debug, Args)]
pub(super) struct DemoCommand {
    /// The question. The simulated answers fit only the default one
    #[arg(default_value = script::QUESTION)]
    question: String,
    /// Uses a running simulator at this base URL
    #[arg(long, value_name = "URL")]
    simulator: Option<String>,
}

impl DemoCommand {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        if self.question.trim().is_empty() {
            bail!("the question is empty; write one, such as `{} demo {:?}`", output::program(), script::QUESTION);
        }
        let simulator = match self.simulator {
            Some(base_url) => SimulatorProcess::at(base_url),
            None => SimulatorProcess::start().await?,
        };
        note!("Simulated provider at {}: scripted answers, list prices, no money is spent.\n", simulator.base_url);
        let app = App::demo(&simulator.base_url, &SharedState::new(&Config::default()))?;
        let team = app.agent(script::SUPERVISOR).context("the demo has no supervisor")?;
        let display = ProgressDisplay::new();
        let run = Run::builder().budget(team.budget.clone()).observer(Arc::clone(&display) as _);
        let run = kept_runs::recorder().into_iter().fold(run, RunBuilder::observer).build();
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
    if kept_runs::path().is_some_and(|path| path.exists()) {
        note!("\n{} trace {:.8}   shows the run as a tree", output::program(), outcome.trace.to_string());
    }
    output::note_end(outcome);
    Ok(Exit::from(outcome))
}
