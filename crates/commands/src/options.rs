//! Options that several commands have.

use std::{convert::Infallible, env, path::PathBuf};

use brigade_config::LoadedConfig;
use clap::Args;

/// The option for the configuration file.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigArg {
    /// The configuration, a TOML file; by default the one that `BRIGADE_CONFIG` names, else ./brigade.toml
    #[arg(id = "config", long = "config", value_name = "FILE")]
    file: Option<PathBuf>,
}

/// The options of commands that ask providers.
#[derive(Debug, Clone, Default, Args)]
pub struct ProvidersArg {
    #[command(flatten)]
    pub config: ConfigArg,
    /// Asks the built-in simulator in place of all providers. Needs none of their keys
    #[arg(long)]
    pub simulate: bool,
}

/// Options that other servers have, and that people try first.
#[derive(Debug, Clone, Default, Args)]
pub struct ListenHint {
    #[arg(short, long, hide = true, value_parser = in_listen)]
    port: Option<Infallible>,
    #[arg(long, aliases = ["bind", "address", "addr"], hide = true, value_parser = in_listen)]
    host: Option<Infallible>,
}

impl ConfigArg {
    /// The file, if the option or the environment names one.
    pub fn named(&self) -> Option<PathBuf> {
        let variable = || env::var_os("BRIGADE_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
        self.file.clone().or_else(variable)
    }

    pub fn path(&self) -> PathBuf {
        self.named().unwrap_or_else(|| PathBuf::from("brigade.toml"))
    }

    pub fn load(&self) -> anyhow::Result<LoadedConfig> {
        Ok(LoadedConfig::from_file(&self.path())?)
    }

    /// The configuration; `None` if no file is named and there is none here.
    pub fn load_if_there(&self) -> anyhow::Result<Option<LoadedConfig>> {
        if self.named().is_none() && !self.path().exists() { Ok(None) } else { self.load().map(Some) }
    }
}

impl ProvidersArg {
    pub fn load(&self) -> anyhow::Result<LoadedConfig> {
        let loaded = self.config.load()?;
        Ok(if self.simulate { loaded.simulated() } else { loaded })
    }

    pub fn path(&self) -> PathBuf {
        self.config.path()
    }
}

/// The error of an option that [`ListenHint`] has.
fn in_listen(_: &str) -> Result<Infallible, &'static str> {
    Err("address and port are one option; write `--listen 127.0.0.1:8080`")
}
