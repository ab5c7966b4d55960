//! The tests that need a PostgreSQL server.

use anyhow::Result;
use xshell::Shell;

use crate::source::workspace::Workspace;
use crate::steps::tally::Tally;
use crate::tools::cargo::cargo;
use crate::tools::postgres::Server;

/// Names the server for the tests. Empty in the other steps, because the tests have this one.
pub(crate) const VARIABLE: &str = "BRIGADE_TEST_POSTGRES";

/// Starts a server, runs the tests that need it, and ends it. Skipped if no server can be started.
pub(crate) fn check(shell: &Shell, tally: &mut Tally) -> Result<()> {
    let folder = Workspace::load(shell)?.target_directory.join("xtask/postgres");
    let server = match Server::start(shell, &folder) {
        Ok(server) => server,
        Err(error) => return tally.skip("postgres", format!("PostgreSQL cannot be started: {error:#}")),
    };
    let test = cargo(shell, "test").args(["--locked", "--all-features", "--package", "brigade-store", "--tests"]);
    // Only the tests whose paths have this word in them.
    tally.run_tests(test.arg("postgres").env(VARIABLE, server.address()).into())
}
