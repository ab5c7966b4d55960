//! `brigade`: agents from the command line and over HTTP.
//!
//! The binary only composes the Brigade crates; what a library user would miss is in them.

#![expect(clippy::print_stdout, reason = "a command line prints its results")]

mod api;
mod app;
mod board;
mod check;
mod cli;
mod config;
mod config_command;
mod demo;
mod doctor;
mod event_log;
mod exit;
mod health;
mod init;
mod keys;
mod lint;
mod listen;
mod past;
mod recall;
mod report;
mod run;
mod runs;
mod serve;
mod signals;
mod simulate;
mod simulated;
mod spans;
mod store;
mod tally;
mod team;
mod tools;
mod trace;
mod worst_case;

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
