//! The command line of `brigade`.

#[macro_use]
mod output;

mod check;
mod config;
mod crash_demo;
mod demo;
mod demo_history;
mod doctor;
mod exit;
mod init;
mod kept_runs;
mod keys;
mod prices;
mod reload;
mod run;
mod runs;
mod serve;
mod simulate;
mod simulator;
mod store;
mod trace;

use std::{convert::Infallible, env, path::PathBuf, process::ExitCode};

use brigade_config::LoadedConfig;
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use self::{
    exit::{EXIT_CODES, Exit},
    output::OutputClosed,
};

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
    Init(init::InitCommand),
    /// Checks a configuration and gives advice
    Check(check::CheckCommand),
    /// Checks that all providers are reachable and accept their keys, at no cost
    Doctor(doctor::DoctorCommand),
    /// Runs one agent with one task
    Run(run::RunCommand),
    /// Serves agents over HTTP to any OpenAI client
    Serve(serve::ServeCommand),
    /// Shows a run as a tree, or lists the latest runs
    Trace(trace::TraceCommand),
    /// Backs up, restores, checks or prunes the store
    Store(store::StoreCommand),
    /// Lists, shows, resumes and cancels stored runs
    Runs(runs::RunsCommand),
    /// Creates API keys for clients
    Keys(keys::KeysCommand),
    /// Says how old the prices of models are, and how to bring your own
    Prices(prices::PricesCommand),
    /// Prints the configuration or its JSON Schema
    Config(config::ConfigCommand),
    /// Runs a provider simulator: OpenAI and Anthropic protocols, scripted answers, faults
    Simulate(simulate::SimulateCommand),
    /// Prints completions for a shell
    #[command(after_help = "Example:\n  brigade completions bash > /etc/bash_completion.d/brigade")]
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// The option for the configuration file.
#[derive(Debug, Clone, Args)]
struct ConfigArg {
    /// The configuration, a TOML file; by default the one that `BRIGADE_CONFIG` names, else ./brigade.toml
    #[arg(id = "config", long = "config", value_name = "FILE")]
    file: Option<PathBuf>,
}

/// The options of commands that ask providers.
#[derive(Debug, Clone, Args)]
struct ProvidersArg {
    #[command(flatten)]
    config: ConfigArg,
    /// Asks the built-in simulator in place of all providers. Needs none of their keys
    #[arg(long)]
    simulate: bool,
}

/// Options that other servers have, and that people try first.
#[derive(Debug, Clone, Args)]
struct ListenHint {
    #[arg(short, long, hide = true, value_parser = in_listen)]
    port: Option<Infallible>,
    #[arg(long, aliases = ["bind", "address", "addr"], hide = true, value_parser = in_listen)]
    host: Option<Infallible>,
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
            Command::Keys(command) => command.run(),
            Command::Prices(command) => command.run(),
            Command::Config(command) => command.run(),
            Command::Simulate(command) => command.run().await,
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Self::command(), "brigade", &mut script);
                out!("{}", String::from_utf8_lossy(&script).trim_end());
                Ok(Exit::Finished)
            }
        }
    }
}

impl ConfigArg {
    /// The file, if the option or the environment names one.
    fn named(&self) -> Option<PathBuf> {
        let variable = || env::var_os("BRIGADE_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
        self.file.clone().or_else(variable)
    }

    fn path(&self) -> PathBuf {
        self.named().unwrap_or_else(|| PathBuf::from("brigade.toml"))
    }

    fn load(&self) -> anyhow::Result<LoadedConfig> {
        Ok(LoadedConfig::from_file(&self.path())?)
    }

    /// The configuration; `None` if no file is named and there is none here.
    fn load_if_there(&self) -> anyhow::Result<Option<LoadedConfig>> {
        if self.named().is_none() && !self.path().exists() { Ok(None) } else { self.load().map(Some) }
    }
}

impl ProvidersArg {
    fn load(&self) -> anyhow::Result<LoadedConfig> {
        let loaded = self.config.load()?;
        Ok(if self.simulate { loaded.simulated() } else { loaded })
    }

    fn path(&self) -> PathBuf {
        self.config.path()
    }
}

/// The error of an option that [`ListenHint`] has.
fn in_listen(_: &str) -> Result<Infallible, &'static str> {
    Err("address and port are one option; write `--listen 127.0.0.1:8080`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
