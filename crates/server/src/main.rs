//! `brigade`: agents from the command line and over HTTP.
//!
//! The binary only composes the Brigade crates; what a library user would miss is in them.

#![expect(clippy::print_stdout, reason = "a command line prints its results")]

mod agents;
mod api;
mod app;
mod cli;
mod config;
mod health;
mod models;
mod runs;

use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    let command = cli::Cli::parse();
    match command.run().await {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            cli::exit::Exit::Failed.into()
        }
    }
}
