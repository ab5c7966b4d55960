//! The `brigade` program.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    brigade_server::run_command_line().await
}
