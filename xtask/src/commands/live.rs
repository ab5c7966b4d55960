//! `cargo xtask live`: compares real providers with the simulator.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use xshell::Shell;

use crate::tools::cargo::cargo;

/// Starts the program that depends on our clients. All `arguments` go to it, and its exit code is ours.
pub(crate) fn run(shell: &Shell, arguments: &[String]) -> Result<ExitCode> {
    let run =
        cargo(shell, "run").args(["--quiet", "--locked", "--package", "brigade-scenarios", "--bin", "brigade-live"]);
    let status = Command::from(run.arg("--").args(arguments)).status().context("cargo cannot be started")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
