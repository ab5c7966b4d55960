//! The steps that are one call of cargo, or a few.

use anyhow::Result;
use xshell::Shell;

use crate::source::workspace::Workspace;
use crate::steps::postgres;
use crate::steps::tally::Tally;
use crate::tools::cargo::{EVERYTHING, cargo};

pub(crate) fn fmt(shell: &Shell) -> Result<()> {
    Ok(cargo(shell, "fmt").args(["--all", "--check"]).run()?)
}

pub(crate) fn clippy(shell: &Shell) -> Result<()> {
    Ok(cargo(shell, "clippy").args(EVERYTHING).args(["--all-targets", "--", "-D", "warnings"]).run()?)
}

/// A library must build with what its own manifest asks for, not with what its neighbors happen to switch on.
pub(crate) fn each_library_alone(shell: &Shell) -> Result<()> {
    for name in Workspace::load(shell)?.libraries() {
        let check = cargo(shell, "check").args(["--locked", "--lib", "--package", name]);
        check.arg("--no-default-features").run()?;
    }
    Ok(())
}

/// Unit and integration tests, without the ones that need a PostgreSQL server. [`doctests`] are a step of their own: cargo
/// cannot take them together with a choice of targets.
pub(crate) fn tests(shell: &Shell, tally: &mut Tally) -> Result<()> {
    let test = cargo(shell, "test").args(EVERYTHING).args(["--tests", "--no-fail-fast"]);
    tally.run_tests(test.env(postgres::VARIABLE, "").into())
}

/// The locks are replaced by those of `loom`, so everything above them is compiled again, in a folder of its own.
pub(crate) fn interleavings(shell: &Shell, tally: &mut Tally) -> Result<()> {
    let test = cargo(shell, "test").args(["--locked", "--package", "brigade-core", "--test", "interleavings"]);
    tally.run_tests(test.args(["--target-dir", "target/loom"]).env("RUSTFLAGS", "--cfg brigade_loom").into())
}

/// The console in a browser. The tests report that they are skipped if there is none.
pub(crate) fn console(shell: &Shell, tally: &mut Tally) -> Result<()> {
    let test =
        cargo(shell, "test").args(["--locked", "--all-features", "--package", "brigade-server", "--test", "console"]);
    tally.run_tests(test.into())
}

/// Real MCP servers and clients, and the official suite. The tests report that they are skipped if these cannot be installed.
pub(crate) fn mcp(shell: &Shell, tally: &mut Tally) -> Result<()> {
    cargo(shell, "build")
        .args(["--locked", "--all-features", "--package", "brigade-mcp", "--example", "call"])
        .run()?;
    let test =
        cargo(shell, "test").args(["--locked", "--all-features", "--package", "brigade-server", "--test", "mcp"]);
    tally.run_tests(test.into())
}

pub(crate) fn doctests(shell: &Shell, tally: &mut Tally) -> Result<()> {
    tally.run_tests(cargo(shell, "test").args(EVERYTHING).arg("--doc").into())
}

pub(crate) fn docs(shell: &Shell) -> Result<()> {
    let doc = cargo(shell, "doc").args(EVERYTHING).arg("--no-deps");
    Ok(doc.env("RUSTDOCFLAGS", "-D warnings").run()?)
}
