//! `brigade config`: what the configuration may say, and what it says.

use clap::{Args, Subcommand};
use schemars::generate::SchemaSettings;

use crate::{
    cli::exit::Exit,
    config::{Config, ConfigFile, Loaded, Server},
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
        /// Says of each value where it was set: in a line of the file, in a variable, or nowhere but in the program
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
                    show_origins(&loaded)?;
                } else {
                    print!("{}", toml::to_string_pretty(&loaded.table)?);
                }
            }
        }
        Ok(Exit::Finished)
    }
}

/// One value a line, in TOML, with its origin behind it.
fn show_origins(loaded: &Loaded) -> anyhow::Result<()> {
    let mut lines: Vec<_> =
        loaded.values.iter().map(|value| (&*value.key, value.value.to_string(), &*value.origin)).collect();
    let built_in = toml::Table::try_from(Server::default())?;
    let built_in: Vec<_> = built_in.iter().map(|(key, value)| (format!("server.{key}"), value.to_string())).collect();
    let unset = built_in.iter().filter(|(key, _)| loaded.values.iter().all(|value| value.key != *key));
    lines.extend(unset.map(|(key, value)| (&**key, value.clone(), "built in")));
    lines.sort_unstable();
    for (key, value, origin) in lines {
        println!("{key} = {value}  # {origin}");
    }
    Ok(())
}
