//! `cargo xtask swarm`: faults composed at random, as many as one likes.

use anyhow::Result;
use xshell::Shell;

use crate::tools::cargo::{EVERYTHING, cargo};

/// How many, and from where.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many compositions to play.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first seed. A failure says which seed to begin with to repeat it.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    from: u64,
}

pub(crate) fn run(shell: &Shell, options: &Options) -> Result<()> {
    let test = cargo(shell, "test").args(EVERYTHING).args(["--test", "swarm", "--", "--nocapture"]);
    let seeds = [("BRIGADE_SEEDS", options.seeds), ("BRIGADE_FROM", options.from)];
    let test = seeds.into_iter().fold(test, |test, (name, number)| test.env(name, number.to_string()));
    Ok(test.run()?)
}
