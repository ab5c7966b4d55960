//! `cargo deny`: banned crates, licences, sources, and known vulnerabilities if their database can be fetched.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use xshell::Shell;

use crate::source::workspace::Workspace;
use crate::steps::tally::Tally;
use crate::tools::cargo::cargo;
use crate::tools::{programs, time_limit};

/// The version whose configuration format `deny.toml` follows.
const VERSION: &str = "0.20.2";

/// The database is a small git repository. A host that does not answer must not delay the other checks.
const FETCH_LIMIT: Duration = Duration::from_mins(2);

/// Checks the dependencies. Only the advisories need more than the registry.
pub(crate) fn check(shell: &Shell, tally: &Tally) -> Result<()> {
    install(shell)?;
    // A build fetches what this platform needs; the licences of the others are checked as well.
    cargo(shell, "fetch").arg("--locked").run()?;
    deny(shell, &["bans", "licenses", "sources"])?;
    let fetch = Command::from(cargo(shell, "deny").args(["fetch", "db"]));
    if let Err(error) = time_limit::run(fetch, FETCH_LIMIT) {
        return tally.skip("advisories", format!("their database cannot be fetched: {error:#}"));
    }
    deny(shell, &["advisories"])
}

fn deny(shell: &Shell, checks: &[&str]) -> Result<()> {
    let check = cargo(shell, "deny").args(["--locked", "--offline", "check"]);
    Ok(check.arg("--hide-inclusion-graph").args(checks).run()?)
}

/// Installs the fixed version below the target folder, unless it is there or on the path.
fn install(shell: &Shell) -> Result<()> {
    let installed = cargo(shell, "deny").arg("--version").quiet().ignore_stderr().read();
    if installed.is_ok_and(|version| version.trim().ends_with(VERSION)) {
        return Ok(());
    }
    let folder = programs::folder(&Workspace::load(shell)?.target_directory);
    let install = cargo(shell, "install").args(["--locked", "cargo-deny", "--version", VERSION, "--root"]);
    Ok(install.arg(folder).run()?)
}
