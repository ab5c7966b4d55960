//! The command line.

use clap::{Parser, Subcommand};

use crate::{
    demo::Demo,
    exit::{EXIT_CODES, Exit},
    simulate::Simulate,
};

/// Runs teams of agents: with budgets that hold, limits kept, and a trace id on every line.
#[derive(Debug, Parser)]
#[command(name = "brigade", version, arg_required_else_help = true, after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows a supervisor with three workers at work, against a simulated provider
    Demo(Demo),
    /// Runs a provider simulator: OpenAI and Anthropic protocols, scripted answers, faults
    Simulate(Simulate),
}

const EXAMPLES: &str = "\
Examples:
  brigade demo                                    a team at work, no key needed
  brigade demo \"Should we rewrite it in Rust?\"    the same with another question
  brigade simulate --listen 127.0.0.1:4010        a provider to test against";

impl Cli {
    pub(crate) async fn run(self) -> anyhow::Result<Exit> {
        match self.command {
            Command::Demo(demo) => demo.run().await,
            Command::Simulate(simulate) => simulate.run().await,
        }
    }
}
