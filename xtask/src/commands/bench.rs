//! `cargo xtask bench`: the benchmarks, built as what ships.

use anyhow::Result;
use xshell::Shell;

use crate::tools::cargo::cargo;

/// Builds only the benchmarks in the profile `dist`, and the server where it is measured. All `arguments` go to the
/// benchmark program.
pub(crate) fn run(shell: &Shell, arguments: &[String]) -> Result<()> {
    if arguments.iter().any(|argument| argument == "load") {
        cargo(shell, "build").args(["--locked", "--profile", "dist", "--package", "brigade-server"]).run()?;
    }
    // The benchmark program starts the other programs of its package.
    cargo(shell, "build").args(["--locked", "--profile", "dist", "--package", "brigade-bench", "--bins"]).run()?;
    let run = cargo(shell, "run").args(["--locked", "--profile", "dist", "--package", "brigade-bench"]);
    Ok(run.arg("--").args(arguments).run()?)
}
