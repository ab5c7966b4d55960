//! Errors of reading a configuration file.

use std::{io, path::PathBuf};

use super::ConfigError;

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadConfigError {
    /// The file is YAML.
    #[error(
        "{} is a YAML file, but the configuration must be TOML; convert it, or start with `brigade init`",
        .0.display()
    )]
    Yaml(PathBuf),
    /// The file cannot be read.
    #[error("cannot read {0}; `brigade init {0}` writes one; the default is ./brigade.toml", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        source: io::Error,
    },
    /// The configuration is not valid.
    #[error(transparent)]
    Invalid(#[from] ConfigError),
}
