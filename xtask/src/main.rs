//! The chores of the workspace, run as `cargo xtask <chore>`.
//!
//! `ci` is the one that matters: it is all that continuous integration runs, and a laptop runs the
//! same steps in the same order. [`ci`] holds the list of steps; each family of checks has its own
//! file.

#![allow(clippy::print_stdout, reason = "a command line program talks on its standard output")]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a chore has no runtime, and the time that it measures is real"
)]

mod chores;
mod ci;
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

/// The chores of the Brigade workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Checks everything that a change must pass, and stops at the first failure.
    Ci(ci::ci::Options),
    /// Runs the benchmarks, built as what ships; what follows goes to the benchmark program.
    Bench {
        /// Arguments of the benchmark program.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Plays faults composed at random against the whole stack, and stops at nothing but a broken invariant.
    Swarm(chores::swarm::Options),
    /// Reads responses damaged at random, and stops at a panic or where the chunks make a difference.
    Fuzz(chores::fuzz::Options),
    /// Sends requests to the server that are derived from its own description, and stops where an answer breaks it.
    FuzzApi(steps::fuzz_api::Options),
    /// Writes the embedded price table anew, from joined price lists.
    Prices(chores::prices::Options),
}

fn main() -> ExitCode {
    let Err(error) = run(Arguments::parse().chore) else {
        return ExitCode::SUCCESS;
    };
    eprintln!("error: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because: {cause}");
    }
    ExitCode::FAILURE
}

fn run(chore: Chore) -> Result<()> {
    let shell = Shell::new()?;
    // Cargo says at run time where this package lies: the program may be older than its place.
    let package = env::var_os("CARGO_MANIFEST_DIR").context("run it as `cargo xtask`")?;
    let root = Path::new(&package).parent();
    shell.change_dir(root.context("xtask lies in a folder of the workspace")?);
    match chore {
        Chore::Ci(options) => ci::ci::run(&shell, &options),
        Chore::Bench { arguments } => chores::bench::run(&shell, &arguments),
        Chore::Swarm(options) => chores::swarm::run(&shell, &options),
        Chore::Fuzz(options) => chores::fuzz::run(&shell, &options),
        Chore::FuzzApi(options) => steps::fuzz_api::run(&shell, &options),
        Chore::Prices(options) => chores::prices::run(&shell, &options),
    }
}
