//! `brigade demo`: a supervisor and three workers, against a simulated provider in a process of its own.

use std::{process::Stdio, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use brigade_core::{Agent, Budget, ChatModel, OnFailure, Outcome, Run, Tool, ToolError, ToolOutput, Worker, tool_fn};
use brigade_rehearsal::demo as story;
use clap::Args;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::{
    app::{App, Standing},
    cli::board::Board,
    cli::exit::Exit,
    config::Config,
};

/// Arguments of `brigade demo`.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// The question. The simulated answers fit the one that is asked by default
    #[arg(default_value = story::QUESTION)]
    question: String,
    /// Uses a simulator that runs already, at this base URL
    #[arg(long, value_name = "URL")]
    simulator: Option<String>,
}

/// The simulator, ended when this is dropped.
pub(crate) struct Simulator {
    pub(crate) base_url: String,
    _process: Option<Child>,
}

/// The dearest honest run of the demo costs a tenth of this.
const BUDGET: &str = "0.50";

/// What the supervisor is told.
pub(crate) const INSTRUCTIONS: &str = "You are desk. Plan the work, delegate it, then answer in your own words.";

impl Demo {
    pub(crate) async fn run(self) -> anyhow::Result<Exit> {
        let simulator = match self.simulator {
            Some(base_url) => Simulator { base_url, _process: None },
            None => Simulator::start().await?,
        };
        eprintln!("Simulated provider at {}: scripted answers, list prices, no money is spent.\n", simulator.base_url);
        let app = App::demo(&simulator.base_url, Standing::new(&Config::default()))?;
        let desk = app.agents.get(story::SUPERVISOR).context("the demo has no supervisor")?;
        let board = Board::new();
        let run = Run::builder().budget(desk.budget.clone()).observer(Arc::clone(&board) as _).build();
        let cancel = async {
            // Without a signal handler the process would just end, which is what Ctrl-C asks for.
            if tokio::signal::ctrl_c().await.is_ok() {
                run.cancel();
            }
            std::future::pending::<()>().await;
        };
        let work = board.show(desk.agent.run_in(&run, self.question.as_str()));
        let outcome = tokio::select! {
            outcome = work => outcome,
            () = cancel => bail!("cancelled"),
        };
        match outcome {
            Ok(outcome) => Ok(show(&outcome)),
            Err(error) => bail!("{}\nIs the simulator at {} still running?", error.chain(), simulator.base_url),
        }
    }
}

/// What one run of the demo may spend.
pub(crate) fn budget() -> anyhow::Result<Budget> {
    Ok(Budget::default().usd(BUDGET)?.turns(24).wall(Duration::from_mins(5)))
}

/// Answer and summary go to standard output; what to know about them, to standard error.
fn show(outcome: &Outcome) -> Exit {
    eprintln!();
    println!("{}\n\n{} (simulated)", outcome.text, outcome.summary());
    if !outcome.notice.is_empty() {
        eprintln!("note: {}", outcome.notice);
    }
    for degraded in &outcome.degraded {
        eprintln!("degraded: {}: {}", degraded.part, degraded.reason);
    }
    Exit::from(outcome)
}

/// The cast. The instructions begin as the simulator's script expects.
pub(crate) fn team(supervisor: Arc<dyn ChatModel>, worker: &Arc<dyn ChatModel>) -> Agent {
    let [researcher, critic, estimator] = story::WORKERS;
    let agent = |name, instructions| Agent::new(name, Arc::clone(worker)).instructions(instructions);
    let researcher = agent(researcher, "You are researcher. Find facts with the search tool. Cite each one.")
        .purpose("Finds facts and cites them.")
        .tool(search());
    let critic =
        agent(critic, "You are critic. List what has not been proven.").purpose("Finds the weak spots of a plan.");
    let estimator = agent(estimator, "You are estimator. Estimate cost with the calculate tool. Show the sums.")
        .purpose("Estimates what something costs.")
        .tool(calculate());
    let worker = |agent| Worker::new(agent).timeout(Duration::from_secs(30));
    Agent::new(story::SUPERVISOR, supervisor)
        .instructions(INSTRUCTIONS)
        .worker(worker(researcher).on_failure(OnFailure::fallback("No research available.")))
        .worker(worker(critic))
        .worker(worker(estimator))
}

#[derive(Deserialize, JsonSchema)]
struct Search {
    /// What to look for.
    query: String,
}

fn search() -> impl Tool {
    tool_fn(story::SEARCH_TOOL, "Searches vendor documentation.", |args: Search, _| async move {
        if args.query.trim().is_empty() {
            return Err(ToolError::new("the query is empty; write what to look for"));
        }
        // What a search takes.
        tokio::time::sleep(Duration::from_millis(200)).await;
        Ok(ToolOutput::text(story::SEARCH_RESULT))
    })
}

#[derive(Deserialize, JsonSchema)]
struct Calculate {
    /// Numbers with + - *.
    expression: String,
}

fn calculate() -> impl Tool {
    tool_fn(story::CALCULATE_TOOL, "Calculates sums and products.", |args: Calculate, _| async move {
        let sum = sum(&args.expression).ok_or_else(|| ToolError::new("write numbers with + - * only"))?;
        Ok(ToolOutput::text(format!("{sum:.2}")))
    })
}

/// Sums of products, as in `3 * 0.5 + 2 - 1`.
fn sum(expression: &str) -> Option<f64> {
    let mut total = 0.0;
    for term in expression.replace('-', "+-").split('+').filter(|term| !term.trim().is_empty()) {
        let (sign, term) = term.trim().strip_prefix('-').map_or((1.0, term), |rest| (-1.0, rest));
        let factors = term.split('*').map(|factor| factor.trim().parse::<f64>().ok());
        total += sign * factors.product::<Option<f64>>()?;
    }
    Some(total)
}

impl Simulator {
    /// Starts `brigade simulate --demo` and waits for its address.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find the brigade program to start the simulator")?;
        let mut process = Command::new(program)
            .args(["simulate", "--demo", "--until-stdin-closes"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the simulator")?;
        let stdout = process.stdout.take().context("the simulator has no output")?;
        let address =
            BufReader::new(stdout).lines().next_line().await.context("cannot read the simulator's address")?;
        let base_url = address.context("the simulator ended before it listened; try `brigade simulate --demo`")?;
        Ok(Self { base_url, _process: Some(process) })
    }
}

#[cfg(test)]
mod tests {
    use super::sum;

    #[test]
    fn sums_of_products_are_calculated_and_other_things_refused() {
        assert_eq!(sum("3 * 0.5 + 2 - 1"), Some(2.5));
        assert_eq!(sum("3 - 2 * 2"), Some(-1.0));
        assert_eq!(sum("rm -rf"), None);
    }
}
