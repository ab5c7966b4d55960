//! `cargo deny`: banned crates, licences and sources in every `ci`, known vulnerabilities with a command of their own.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use xshell::Shell;

use crate::source::workspace::Workspace;
use crate::tools::cargo::cargo;
use crate::tools::{programs, time_limit};

/// The version whose configuration format `deny.toml` follows.
const VERSION: &str = "0.20.2";

/// The database is a small git repository. A host that does not answer must not delay the other checks.
const FETCH_LIMIT: Duration = Duration::from_mins(2);

/// Checks bans, licences and sources, for which the registry is enough.
pub(crate) fn check(shell: &Shell) -> Result<()> {
    prepare(shell)?;
    deny(shell, &["bans", "licenses", "sources"])
}

/// Checks for known vulnerabilities. The database is on GitHub and changes every day, so the result of one commit changes
/// too: run this on a schedule rather than for every change.
pub(crate) fn check_advisories(shell: &Shell) -> Result<()> {
    programs::prefer_installed(shell, &Workspace::load(shell)?.target_directory)?;
    prepare(shell)?;
    let fetch = Command::from(cargo(shell, "deny").args(["fetch", "db"]));
    time_limit::run(fetch, FETCH_LIMIT)
        .context("the RustSec database cannot be fetched from github.com; run this where that host can be reached")?;
    deny(shell, &["advisories"])
}

fn prepare(shell: &Shell) -> Result<()> {
    programs::install_with_cargo(shell, &Workspace::load(shell)?.target_directory, "deny", VERSION)?;
    // A build fetches the dependencies of this platform only, and the licences of the others are checked as well.
    Ok(cargo(shell, "fetch").arg("--locked").run()?)
}

fn deny(shell: &Shell, checks: &[&str]) -> Result<()> {
    let check = cargo(shell, "deny").args(["--locked", "--offline", "check"]);
    Ok(check.arg("--hide-inclusion-graph").args(checks).run()?)
}
