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
    /// There is no file.
    #[error("cannot read {0}; `brigade init {0}` writes one; the default is ./brigade.toml", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file has bytes that are not text.
    #[error("{}:{line}: this line is not UTF-8; save the file as UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The line with the first such byte. Lines start at 1.
        line: usize,
    },
    /// The file is UTF-16, which some editors and shells of Windows write.
    #[error("{} is UTF-16, but the configuration must be UTF-8; save it as UTF-8", .0.display())]
    Utf16(PathBuf),
    /// The file cannot be read.
    #[error("cannot read {}; the configuration must be a file that this user may read", path.display())]
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
