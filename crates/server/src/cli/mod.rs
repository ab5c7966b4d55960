//! The command line of `brigade`.

mod check;
mod demo;
mod demo_history;
mod doctor;
mod mcp;
mod reload;
mod run;
mod serve;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use brigade_commands::{
    ApprovalsCommand, ConfigCommand, EXIT_CODES, Exit, InitCommand, KeysCommand, OutputClosed, PricesCommand,
    RunsCommand, SimulateCommand, StoreCommand, TraceCommand, note, out,
};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

/// Runs agents and teams of agents, with enforced budgets and limits.
#[derive(Debug, Parser)]
#[command(name = "brigade", version, arg_required_else_help = true, after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a demo team, a supervisor with three workers, on a simulated provider
    Demo(demo::DemoCommand),
    /// Writes a configuration for the API keys, or the Ollama, that it finds
    Init(InitCommand),
    /// Checks a configuration and gives advice
    Check(check::CheckCommand),
    /// Checks that all providers are reachable and accept their keys, at no cost
    Doctor(doctor::DoctorCommand),
    /// Runs one agent with one task
    Run(run::RunCommand),
    /// Serves agents over HTTP to any OpenAI client
    Serve(serve::ServeCommand),
    /// Shows a run as a tree, or lists the latest runs
    Trace(TraceCommand),
    /// Backs up, restores, checks or prunes the store
    Store(StoreCommand),
    /// Lists, shows, resumes and cancels stored runs
    Runs(RunsCommand),
    /// Lists and answers the calls that wait for an approval
    Approvals(ApprovalsCommand),
    /// Pins and lists the tools of MCP servers, and offers agents to MCP clients
    #[command(subcommand)]
    Mcp(mcp::McpCommand),
    /// Creates API keys for clients
    Keys(KeysCommand),
    /// Says how old the prices of models are, and how to bring your own
    Prices(PricesCommand),
    /// Prints the configuration or its JSON Schema
    Config(ConfigCommand),
    /// Runs a provider simulator: OpenAI and Anthropic protocols, scripted answers, faults
    Simulate(SimulateCommand),
    /// Prints completions for a shell
    #[command(after_help = "Example:\n  brigade completions bash > /etc/bash_completion.d/brigade")]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Writes manual pages, one for each command
    #[command(after_help = "Example:\n  brigade manual /usr/local/share/man/man1")]
    Manual {
        /// The folder; it is created if it does not exist
        folder: PathBuf,
    },
}

const EXAMPLES: &str = "\
Examples:
  brigade demo                                  runs a demo team, without an API key
  brigade demo --crash                          kills its process in the middle, and carries the run on
  brigade init && brigade run assistant \"Hi.\"   runs your own agent
  brigade serve --demo                          serves the demo team over HTTP";

/// Runs the `brigade` program with the arguments of the process.
pub async fn main() -> ExitCode {
    match Cli::parse().run().await {
        Ok(exit) => exit.into(),
        Err(error) if error.is::<OutputClosed>() => Exit::Finished.into(),
        Err(error) => {
            note!("error: {error:#}");
            Exit::Failed.into()
        }
    }
}

impl Cli {
    async fn run(self) -> anyhow::Result<Exit> {
        match self.command {
            Command::Demo(command) => command.run().await,
            Command::Init(command) => command.run().await,
            Command::Check(command) => command.run(),
            Command::Doctor(command) => command.run().await,
            Command::Run(command) => command.run().await,
            Command::Serve(command) => command.run().await,
            Command::Trace(command) => command.run().await,
            Command::Store(command) => command.run().await,
            Command::Runs(command) => command.run().await,
            Command::Approvals(command) => command.run().await,
            Command::Mcp(command) => command.run().await,
            Command::Keys(command) => command.run(),
            Command::Prices(command) => command.run(|loaded| Ok(crate::app::prices(loaded)?)),
            Command::Config(command) => command.run(),
            Command::Simulate(command) => command.run().await,
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Self::command(), "brigade", &mut script);
                out!("{}", String::from_utf8_lossy(&script).trim_end());
                Ok(Exit::Finished)
            }
            Command::Manual { folder } => {
                let failed = || format!("cannot write manual pages to {}", folder.display());
                std::fs::create_dir_all(&folder).with_context(failed)?;
                clap_mangen::generate_to(Self::command(), &folder).with_context(failed)?;
                out!("Wrote {}; `man -l {}` shows it.", folder.display(), folder.join("brigade.1").display());
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
