//! `brigade config`

use brigade_config::{ConfigValue, LoadedConfig};
use clap::{Args, Subcommand};

use crate::{exit::Exit, options::ConfigArg, out};

#[derive(Debug, Args)]
pub struct ConfigCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints the JSON Schema of the configuration, for editors
    #[command(after_help = "\
Example:
  brigade config schema > brigade.schema.json
  # and as the first line of brigade.toml:
  #:schema ./brigade.schema.json")]
    Schema,
    /// Prints the configuration file merged with the environment variables
    #[command(after_help = "\
Examples:
  brigade config show
  BRIGADE__SERVER__LISTEN=127.0.0.1:9000 brigade config show --origin")]
    Show {
        #[command(flatten)]
        config: ConfigArg,
        /// Shows where each value was set: the line of the file, the environment variable, or the default
        #[arg(long)]
        origin: bool,
    },
}

impl ConfigCommand {
    pub fn run(self) -> anyhow::Result<Exit> {
        match self.command {
            Command::Schema => out!("{}", serde_json::to_string_pretty(&LoadedConfig::schema())?),
            Command::Show { config, origin: false } => {
                out!("{}", toml::to_string_pretty(&config.load()?.table)?.trim_end());
            }
            Command::Show { config, origin: true } => {
                for ConfigValue { key, value, origin, .. } in config.load()?.origins()? {
                    out!("{key} = {value}  # {origin}");
                }
            }
        }
        Ok(Exit::Finished)
    }
}
