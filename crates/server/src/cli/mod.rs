//! The command line.

pub(crate) mod board;
pub(crate) mod check;
pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod exit;
pub(crate) mod init;
pub(crate) mod keys;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod signals;
pub(crate) mod simulate;
pub(crate) mod trace;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::{
    cli::check::Check,
    cli::config::ConfigCommand,
    cli::demo::Demo,
    cli::doctor::Doctor,
    cli::exit::{EXIT_CODES, Exit},
    cli::init::Init,
    cli::keys::Keys,
    cli::run::RunAgent,
    cli::serve::Serve,
    cli::simulate::Simulate,
    cli::trace::Trace,
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
    /// Writes a configuration for the keys, or the Ollama, that it finds
    Init(Init),
    /// Checks a configuration: is it right, and is it wise?
    Check(Check),
    /// Asks the providers, at no cost, whether they accept the keys
    Doctor(Doctor),
    /// Gives one agent one task
    Run(RunAgent),
    /// Serves agents over HTTP, to any OpenAI client
    Serve(Serve),
    /// Shows a run as a tree, from the store or the file of its events
    Trace(Trace),
    /// Makes keys for those who may ask
    Keys(Keys),
    /// Shows the configuration, or its schema
    Config(ConfigCommand),
    /// Runs a provider simulator: OpenAI and Anthropic protocols, scripted answers, faults
    Simulate(Simulate),
    /// Prints completions for a shell
    #[command(after_help = "Example:\n  brigade completions bash > /etc/bash_completion.d/brigade")]
    Completions {
        /// Which shell
        shell: Shell,
    },
}

const EXAMPLES: &str = "\
Examples:
  brigade demo                                  a team at work, no key needed
  brigade init && brigade run assistant \"Hi.\"   an agent of your own
  brigade serve --demo                          the team over HTTP";

impl Cli {
    pub(crate) async fn run(self) -> anyhow::Result<Exit> {
        match self.command {
            Command::Demo(demo) => demo.run().await,
            Command::Init(init) => init.run().await,
            Command::Check(check) => check.run(),
            Command::Doctor(doctor) => doctor.run().await,
            Command::Run(run) => run.run().await,
            Command::Serve(serve) => serve.run().await,
            Command::Trace(trace) => trace.run().await,
            Command::Keys(keys) => Ok(keys.run()),
            Command::Config(config) => config.run(),
            Command::Simulate(simulate) => simulate.run().await,
            Command::Completions { shell } => {
                clap_complete::generate(shell, &mut Self::command(), "brigade", &mut std::io::stdout());
                Ok(Exit::Finished)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
