//! `cargo xtask oldest-rust`: compiles the libraries with the oldest Rust that their manifests name.

use anyhow::{Context, Result};
use toml::Table;
use xshell::{Shell, cmd};

use crate::tools::cargo::cargo;

/// Installs the toolchain if it is missing, and checks all crates with all features, in a folder of its own.
pub(crate) fn run(shell: &Shell) -> Result<()> {
    let manifest: Table = shell.read_file("Cargo.toml")?.parse()?;
    let package = manifest.get("workspace").and_then(|workspace| workspace.get("package"));
    let version = package.and_then(|package| package.get("rust-version")?.as_str());
    let version = version.context("Cargo.toml has no workspace.package.rust-version")?;
    cmd!(shell, "rustup toolchain install {version} --profile minimal --no-self-update").run()?;
    let check = cargo(shell, "check").args(["--locked", "--all-features", "--target-dir", "target/oldest-rust"]);
    // Unlike `+version`, it works for the cargo that rustup has already chosen for us.
    Ok(check.env("RUSTUP_TOOLCHAIN", version).run()?)
}
