//! The steps that are one call of cargo, or a few.
//!
//! Clippy, tests, doctests and examples select the same packages and features. Another selection
//! would resolve to other features of the dependencies and compile them all again.

use std::env;

use anyhow::Result;
use xshell::{Cmd, Shell, cmd};

use crate::source::workspace::Workspace;

/// The one selection, see above. `--locked`: a check never changes the lock file.
pub(crate) const EVERYTHING: [&str; 3] = ["--locked", "--workspace", "--all-features"];

/// A call of cargo as if from a plain shell.
///
/// `cargo run`, which started us, describes this package in the environment. Build scripts that
/// watch those variables would run again whenever xtask and a shell take turns, and everything
/// above them would be compiled again.
pub(crate) fn cargo<'a>(shell: &'a Shell, subcommand: &str) -> Cmd<'a> {
    let mut command = cmd!(shell, "cargo {subcommand}");
    for (name, _) in env::vars_os() {
        let describes_xtask =
            name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"));
        if describes_xtask {
            command = command.env_remove(name);
        }
    }
    command
}

pub(crate) fn fmt(shell: &Shell) -> Result<()> {
    Ok(cargo(shell, "fmt").args(["--all", "--check"]).run()?)
}

pub(crate) fn clippy(shell: &Shell) -> Result<()> {
    Ok(cargo(shell, "clippy").args(EVERYTHING).args(["--all-targets", "--", "-D", "warnings"]).run()?)
}

/// A library must build with what its own manifest asks for, not with what its neighbours happen to
/// switch on.
pub(crate) fn each_library_alone(shell: &Shell) -> Result<()> {
    for name in Workspace::load(shell)?.libraries() {
        let check = cargo(shell, "check").args(["--locked", "--lib", "--package", name]);
        check.arg("--no-default-features").run()?;
    }
    Ok(())
}

/// Unit and integration tests. [`doctests`] are a step of their own: cargo cannot take them together
/// with a choice of targets.
pub(crate) fn tests(shell: &Shell) -> Result<()> {
    Ok(cargo(shell, "test").args(EVERYTHING).args(["--tests", "--no-fail-fast"]).run()?)
}

/// The locks are other ones here, so everything above them is compiled once more, in a folder of its own.
pub(crate) fn interleavings(shell: &Shell) -> Result<()> {
    let test = cargo(shell, "test").args(["--locked", "--package", "brigade-core", "--test", "interleavings"]);
    Ok(test.args(["--target-dir", "target/loom"]).env("RUSTFLAGS", "--cfg brigade_loom").run()?)
}

pub(crate) fn doctests(shell: &Shell) -> Result<()> {
    Ok(cargo(shell, "test").args(EVERYTHING).arg("--doc").run()?)
}

pub(crate) fn docs(shell: &Shell) -> Result<()> {
    let doc = cargo(shell, "doc").args(EVERYTHING).arg("--no-deps");
    Ok(doc.env("RUSTDOCFLAGS", "-D warnings").run()?)
}

/// Benchmarks measure what ships, built as it ships. They select their own package alone, so that nothing else is
/// compiled that way, save the server where it is what is measured.
pub(crate) fn bench(shell: &Shell, arguments: &[String]) -> Result<()> {
    if arguments.iter().any(|argument| argument == "load") {
        cargo(shell, "build").args(["--locked", "--profile", "dist", "--package", "brigade-server"]).run()?;
    }
    // Not only the one that is run: it starts the other.
    cargo(shell, "build").args(["--locked", "--profile", "dist", "--package", "brigade-bench", "--bins"]).run()?;
    let run = cargo(shell, "run").args(["--locked", "--profile", "dist", "--package", "brigade-bench"]);
    Ok(run.arg("--").args(arguments).run()?)
}
