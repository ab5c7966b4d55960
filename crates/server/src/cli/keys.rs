//! `brigade keys`: keys of those who may ask.

use clap::{Args, Subcommand};
use uuid::Uuid;

use crate::{cli::exit::Exit, config::KeyHash};

/// Arguments of `brigade keys`.
#[derive(Debug, Args)]
pub(crate) struct Keys {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes a key, and shows what to add to the configuration
    #[command(after_help = "\
Example:
  brigade keys new mobile-app

The key is shown once. The configuration keeps its hash, from which nobody can find the key.")]
    New {
        /// A name for logs and usage: who gets the key
        name: String,
    },
}

impl Keys {
    pub(crate) fn run(self) -> Exit {
        let Command::New { name } = self.command;
        // 244 random bits.
        let key = format!("brg_{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        eprintln!("Give this key away; it is not shown again:");
        println!("{key}");
        eprintln!(
            "\nAdd to the configuration:\n\n[keys.{name:?}]\nhash = \"{}\"\nbudget = {{ usd = \"5.00\", per = \"day\" }}",
            KeyHash::of(&key)
        );
        Exit::Finished
    }
}
