//! `cargo xtask swarm`: tests a given number of random compositions of faults.

use anyhow::Result;
use xshell::Shell;

use crate::tools::cargo::{EVERYTHING, cargo};

/// The options of `cargo xtask swarm`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The number of compositions.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first seed. A failure prints its seed, to repeat it.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    from: u64,
}

pub(crate) fn run(shell: &Shell, options: &Options) -> Result<()> {
    let test = cargo(shell, "test").args(EVERYTHING).args(["--test", "swarm", "--", "--nocapture"]);
    let seeds = [("BRIGADE_SEEDS", options.seeds), ("BRIGADE_FROM", options.from)];
    let test = seeds.into_iter().fold(test, |test, (name, number)| test.env(name, number.to_string()));
    Ok(test.run()?)
}
