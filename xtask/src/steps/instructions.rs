//! Instructions per model call, in the debug build that the other steps use too. A build as it ships would take minutes.

use anyhow::Result;
use xshell::{Shell, cmd};

use crate::source::workspace::Workspace;
use crate::steps::tally::Tally;
use crate::tools::cargo::{EVERYTHING, cargo};

/// Counts with callgrind, and fails if a number differs from the expected one. Skipped without valgrind.
pub(crate) fn check(shell: &Shell, tally: &Tally) -> Result<()> {
    if let Err(error) = cmd!(shell, "valgrind --version").quiet().ignore_stdout().ignore_stderr().run() {
        return tally.skip("instructions", format!("valgrind cannot be started: {error}"));
    }
    let programs = ["--bin", "brigade-bench", "--bin", "brigade-bench-contender"];
    cargo(shell, "build").args(EVERYTHING).args(programs).run()?;
    let bench = Workspace::load(shell)?.target_directory.join("debug/brigade-bench");
    Ok(cmd!(shell, "{bench} instructions").run()?)
}
