//! `brigade config`: what the configuration may say, and what it says.

use clap::{Args, Subcommand};
use schemars::generate::SchemaSettings;

use crate::{
    config::{Config, ConfigFile},
    exit::Exit,
};

/// Arguments of `brigade config`.
#[derive(Debug, Args)]
pub(crate) struct ConfigCommand {
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
    /// Prints what the file and the environment say together
    #[command(after_help = "\
Examples:
  brigade config show
  BRIGADE__SERVER__LISTEN=127.0.0.1:9000 brigade config show --origin")]
    Show {
        #[command(flatten)]
        config: ConfigFile,
        /// Also says which values the environment set
        #[arg(long)]
        origin: bool,
    },
}

impl ConfigCommand {
    pub(crate) fn run(self) -> anyhow::Result<Exit> {
        match self.command {
            Command::Schema => {
                let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Config>();
                println!("{}", serde_json::to_string_pretty(&schema)?);
            }
            Command::Show { config, origin } => {
                let loaded = config.load()?;
                if origin {
                    println!("# {}", config.path.display());
                    for one in &loaded.overridden {
                        println!("# {} is from {}", one.key(), one.variable);
                    }
                }
                print!("{}", toml::to_string_pretty(&loaded.table)?);
            }
        }
        Ok(Exit::Finished)
    }
}
