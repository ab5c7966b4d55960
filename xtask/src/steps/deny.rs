//! `cargo deny`: banned crates, licences, sources, and advisories when their database can be had.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use xshell::Shell;

use crate::tools::cargo::cargo;
use crate::tools::time_limit;

/// The version whose configuration format `deny.toml` follows.
const VERSION: &str = "0.20.2";

/// The database is a small git repository; a host that does not answer must not hold up the rest.
const FETCH_LIMIT: Duration = Duration::from_mins(2);

/// Checks the dependencies. Only the advisories need more than the registry.
pub(crate) fn check(shell: &Shell) -> Result<()> {
    install(shell)?;
    // A build fetches what this platform needs; the licences of the others are judged as well.
    cargo(shell, "fetch").arg("--locked").run()?;
    deny(shell, &["bans", "licenses", "sources"])?;
    let fetch = Command::from(cargo(shell, "deny").args(["fetch", "db"]));
    if let Err(error) = time_limit::run(fetch, FETCH_LIMIT) {
        println!("advisories: NOT CHECKED, the database cannot be had ({error})");
        return Ok(());
    }
    deny(shell, &["advisories"])
}

fn deny(shell: &Shell, checks: &[&str]) -> Result<()> {
    let check = cargo(shell, "deny").args(["--locked", "--offline", "check"]);
    Ok(check.arg("--hide-inclusion-graph").args(checks).run()?)
}

/// Any installed version is used as it is; a machine without one gets ours.
fn install(shell: &Shell) -> Result<()> {
    if let Ok(version) = cargo(shell, "deny").arg("--version").quiet().ignore_stderr().read() {
        println!("{version}");
        return Ok(());
    }
    let install = cargo(shell, "install").args(["--locked", "cargo-deny", "--version", VERSION]);
    Ok(install.run()?)
}
