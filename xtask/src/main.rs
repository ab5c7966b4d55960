//! The development commands of the workspace, run as `cargo xtask <command>`.
//!
//! Continuous integration runs only `cargo xtask ci`, and a developer runs the same steps in the same order. [`ci`] has
//! the list of steps.

#![allow(clippy::print_stdout, reason = "a command line program prints its results")]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "there is no async runtime, and the measured time is real"
)]

mod book;
mod ci;
mod commands;
mod rules;
mod source;
mod steps;
mod tools;

use std::env;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use xshell::Shell;

/// The development commands of the Brigade workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs all checks that a change must pass, and stops at the first failure.
    Ci(ci::ci::Options),
    /// Runs the benchmarks in the release profile. All arguments go to the benchmark program.
    Bench {
        /// Arguments of the benchmark program.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Tests the whole stack with random faults, and fails if an invariant is broken.
    Swarm(commands::swarm::Options),
    /// Kills the server again and again under load, and fails if it loses a run, repeats a completed step or bills wrongly.
    Kills(commands::kills::Options),
    /// Tests the provider clients with damaged responses, and fails at a panic or if the chunking makes a difference.
    Fuzz(commands::fuzz::Options),
    /// Tries the clients against real providers or a local server, and reports what differs from the simulator.
    #[command(disable_help_flag = true)]
    Live {
        /// Arguments of the program, such as `--help`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Sends requests to the server that are generated from its `OpenAPI` description, and checks the responses.
    FuzzApi(steps::fuzz_api::Options),
    /// Checks the dependencies for known vulnerabilities. Needs github.com, for the `RustSec` database.
    Advisories,
    /// Changes the code in many small ways, and fails if the tests notice too few of the changes. Takes hours.
    Mutants(commands::mutants::Options),
    /// Lets git check formatting and house rules before each commit.
    Hooks(commands::hooks::Options),
    /// Compares the generated pages in docs/ with the code, checks links, and builds the site in target/book.
    Docs(book::book::Options),
    /// Prepares a release, or builds its files. Publishes nothing.
    #[command(subcommand)]
    Release(commands::release::Command),
    /// Compiles the libraries with the oldest Rust that their manifests name. Installs it with rustup.
    OldestRust,
    /// Writes the embedded price table from joined price lists.
    Prices(commands::prices::Options),
}

fn main() -> ExitCode {
    let error = match run(Arguments::parse().command) {
        Ok(code) => return code,
        Err(error) => error,
    };
    eprintln!("error: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because: {cause}");
    }
    ExitCode::FAILURE
}

fn run(command: Command) -> Result<ExitCode> {
    let shell = Shell::new()?;
    // Set by cargo at run time. The path at compile time may be outdated.
    let package = env::var_os("CARGO_MANIFEST_DIR").context("run it as `cargo xtask`")?;
    let root = Path::new(&package).parent();
    shell.change_dir(root.context("xtask is in a folder of the workspace")?);
    match command {
        Command::Ci(options) => ci::ci::run(&shell, &options),
        Command::Bench { arguments } => commands::bench::run(&shell, &arguments),
        Command::Swarm(options) => commands::swarm::run(&shell, &options),
        Command::Kills(options) => commands::kills::run(&shell, &options),
        Command::Fuzz(options) => commands::fuzz::run(&shell, &options),
        Command::Live { arguments } => return commands::live::run(&shell, &arguments),
        Command::FuzzApi(options) => steps::fuzz_api::run(&shell, &options),
        Command::Advisories => steps::deny::check_advisories(&shell),
        Command::Mutants(options) => commands::mutants::run(&shell, &options),
        Command::Hooks(options) => commands::hooks::run(&shell, &options),
        Command::Docs(options) => book::book::run(&shell, &options),
        Command::Release(command) => commands::release::run(&shell, &command),
        Command::OldestRust => commands::oldest_rust::run(&shell),
        Command::Prices(options) => commands::prices::run(&shell, &options),
    }?;
    Ok(ExitCode::SUCCESS)
}
