//! The program behind `cargo xtask live`; see the library.

use std::{io, process::ExitCode};

use brigade_scenarios::LiveCommand;
use clap::Parser as _;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    LiveCommand::parse().run(&mut io::stdout()).await
}
