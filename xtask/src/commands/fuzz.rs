//! `cargo xtask fuzz`: tests the provider clients with damaged responses for a given time.

use anyhow::Result;
use xshell::Shell;

use crate::tools::cargo::cargo;

/// The options of `cargo xtask fuzz`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

pub(crate) fn run(shell: &Shell, options: &Options) -> Result<()> {
    let test =
        cargo(shell, "test").args(["--package", "brigade-providers", "--lib", "tests::fuzz", "--", "--nocapture"]);
    Ok(test.env("BRIGADE_FUZZ_SECONDS", options.seconds.to_string()).run()?)
}
