//! `brigade`: agents from the command line and over HTTP.
//!
//! The binary only composes the Brigade crates; what a library user would miss is in them.

#![expect(clippy::print_stdout, reason = "a command line prints its results")]

mod app;
mod board;
mod cli;
mod demo;
mod exit;
mod simulate;

use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    let command = cli::Cli::parse();
    match command.run().await {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            exit::Exit::Failed.into()
        }
    }
}
