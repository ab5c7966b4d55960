//! How cargo is called.
//!
//! Clippy, tests, doctests and examples select the same packages and features. Another selection would resolve to other
//! features of the dependencies and compile them all again.

use std::env;

use xshell::{Cmd, Shell, cmd};

/// All packages with all features. `--locked`: a check never changes the lock file.
pub(crate) const EVERYTHING: [&str; 3] = ["--locked", "--workspace", "--all-features"];

/// A call of cargo as if from a plain shell.
///
/// `cargo run`, which started us, describes this package in the environment. Build scripts that watch those variables
/// would run again whenever xtask and a shell take turns, and everything above them would be compiled again.
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
