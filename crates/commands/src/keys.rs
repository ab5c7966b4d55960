//! `brigade keys`

use anyhow::bail;
use brigade_config::{KeyHash, key_name_problem};
use clap::{Args, Subcommand};
use uuid::Uuid;

use crate::{exit::Exit, note, out};

#[derive(Debug, Args)]
pub struct KeysCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Creates a key, and shows what to add to the configuration
    #[command(after_help = "\
Example:
  brigade keys new mobile-app

The key is shown once. The configuration contains only its hash, from which the key cannot be computed.")]
    New {
        /// The name of the client that gets the key, as logs and usage show it
        name: String,
    },
}

impl KeysCommand {
    pub fn run(self) -> anyhow::Result<Exit> {
        let Command::New { name } = self.command;
        if let Some(problem) = key_name_problem(&name) {
            bail!(problem);
        }
        // Two UUIDs have 244 random bits.
        let key = format!("brg_{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        note!("Give this key to the client; it is not shown again:");
        out!("{key}");
        note!(
            "\nAdd this to the configuration:\n\n[keys.{name:?}]\nhash = \"{}\"\nbudget = {{ usd = \"5.00\", per = \"day\" }}",
            KeyHash::of(&key)
        );
        Ok(Exit::Finished)
    }
}
