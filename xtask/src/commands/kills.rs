//! `cargo xtask kills`: kills the server again and again under load, and judges what it makes of that.

use anyhow::Result;
use xshell::Shell;

use crate::tools::cargo::cargo;

/// The options of `cargo xtask kills`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The number of kills.
    #[arg(long, default_value_t = 1_000)]
    count: u64,
    /// The seed of the times between kills. What the server does at these times differs each time.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(shell: &Shell, options: &Options) -> Result<()> {
    let test =
        cargo(shell, "test").args(["--locked", "--package", "brigade-server", "--all-features", "--test", "serve"]);
    let test = test.args(["--", "kills::", "--nocapture"]);
    let numbers = [("BRIGADE_KILLS", options.count), ("BRIGADE_SEED", options.seed)];
    let test = numbers.into_iter().fold(test, |test, (name, number)| test.env(name, number.to_string()));
    Ok(test.run()?)
}
