//! The `brigade` program.

use std::{process::ExitCode, time::Duration};

/// How long the end of the program waits for blocking work. A read of standard input may never end.
const BLOCKING_WORK: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            brigade_commands::note!("error: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let exit = runtime.block_on(brigade_server::run_command_line());
    runtime.shutdown_timeout(BLOCKING_WORK);
    exit
}
