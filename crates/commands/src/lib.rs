//! Commands of the `brigade` program that need no server, and what all of its commands share.
//!
//! The program itself is in `brigade-server`, with the commands that build agents. This crate is a part of that program: its
//! functions return `anyhow` errors, which are printed, and it is of little use to other programs.

#![allow(missing_docs, reason = "clap would print documentation of the types of commands as their help")]

mod approvals;
mod config;
mod crash_demo;
mod exit;
mod init;
mod kept_runs;
mod keys;
mod mcp;
mod options;
mod output;
mod postgres;
mod prices;
mod runs;
mod simulate;
mod simulator;
mod store;
mod trace;

pub use approvals::ApprovalsCommand;
pub use config::ConfigCommand;
pub use crash_demo::{CrashDemo, ResumedDemo, crash_and_resume, run_until_crash};
pub use exit::{EXIT_CODES, Exit};
pub use init::InitCommand;
pub use kept_runs::{create_kept_runs, kept_runs_path, kept_runs_recorder};
pub use keys::KeysCommand;
pub use mcp::{McpPinsCommand, OpenMcpServers, examine_mcp};
pub use options::{ConfigArg, ListenHint, ProvidersArg};
pub use output::{OutputClosed, address, count, note_end, note_line, print_line, program};
pub use prices::PricesCommand;
pub use runs::RunsCommand;
pub use simulate::SimulateCommand;
pub use simulator::SimulatorProcess;
pub use store::StoreCommand;
pub use trace::TraceCommand;
