//! `brigade trace`: a run as a tree, from the file of its events.

use std::path::PathBuf;

use brigade_observability::Tree;
use clap::Args;

use crate::exit::Exit;

/// Arguments of `brigade trace`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade run desk \"Plan a week.\" --events events.jsonl
  brigade trace a3f2b1c9 --events events.jsonl

The id is the one of the log lines and of the header `x-trace-id`. A server writes the file that `log.events` names.")]
pub(crate) struct Trace {
    /// The trace id: its first 8 digits, or all 32
    id: String,
    /// The file of events
    #[arg(long, value_name = "FILE", default_value = "events.jsonl")]
    events: PathBuf,
}

impl Trace {
    pub(crate) fn run(self) -> anyhow::Result<Exit> {
        println!("{}", Tree::open(&self.events, &self.id)?);
        Ok(Exit::Finished)
    }
}
