//! Values that the configuration refers to: secrets, and text in separate files.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};
use toml::Value;

/// Where to read a secret: `{ env = "OPENAI_API_KEY" }` or `{ file = "/run/secrets/openai" }`. The secret itself is not
/// allowed, because configuration files are committed and shared.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecretSource {
    /// An environment variable.
    Env(String),
    /// A file. White space at its start and end is ignored.
    File(PathBuf),
}

/// Text, or a file that contains it: `{ file = "desk.md" }`.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub enum TextSource {
    /// The text.
    Inline(String),
    /// A file, relative to the configuration file.
    #[serde(rename_all = "snake_case")]
    File {
        /// Its path.
        file: PathBuf,
    },
}

/// Text that may be a secret: written here, or where to read it. Literal text is never printed.
#[derive(Clone, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub enum SecretOrText {
    /// The text.
    Text(String),
    /// Where to read it: `{ env = "NAME" }` or `{ file = "PATH" }`.
    Secret(SecretSource),
}

impl SecretOrText {
    /// Returns the text, or reads the secret.
    pub fn read(&self, folder: &Path) -> Result<String, String> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::Secret(source) => source.read(folder),
        }
    }
}

impl fmt::Debug for SecretOrText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str(HIDDEN),
            Self::Secret(source) => source.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for SecretOrText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self::Text(text)),
            value => secret(&value).map(Self::Secret).ok_or_else(|| expected(&format!("text, or {SECRET_FORM}"))),
        }
    }
}

/// Stands for text that may be a secret, wherever the configuration is printed.
pub(super) const HIDDEN: &str = "[hidden]";

impl SecretSource {
    /// Reads the secret. The error names the source, never its content.
    pub fn read(&self, folder: &Path) -> Result<String, String> {
        let secret = match self {
            Self::Env(name) => {
                std::env::var(name).map_err(|_| format!("the environment variable `{name}` is not set; export it"))?
            }
            Self::File(path) => {
                let path = folder.join(path);
                fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?
            }
        };
        let secret = secret.trim();
        if secret.is_empty() { Err(format!("{self} is empty")) } else { Ok(secret.to_owned()) }
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "the environment variable `{name}`"),
            Self::File(path) => write!(f, "the file {}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(_) => Err(de::Error::custom(format!("{LITERAL_SECRET}; write {SECRET_FORM}"))),
            value => secret(&value).ok_or_else(|| expected(SECRET_FORM)),
        }
    }
}

/// The start of the message about a literal secret.
pub(super) const LITERAL_SECRET: &str = "a secret must not be written in the configuration";

const SECRET_FORM: &str = "a reference to a secret: `{ env = \"NAME\" }` or `{ file = \"PATH\" }`";

fn secret(value: &Value) -> Option<SecretSource> {
    match only_entry(value)? {
        ("env", name) => Some(SecretSource::Env(name.to_owned())),
        ("file", path) => Some(SecretSource::File(path.into())),
        _ => None,
    }
}

/// The key and the text of a table with one entry.
fn only_entry(value: &Value) -> Option<(&str, &str)> {
    let (key, value) = value.as_table().filter(|table| table.len() == 1)?.iter().next()?;
    Some((key, value.as_str()?))
}

/// An error that does not repeat the value, which may be a secret.
fn expected<E: de::Error>(form: &str) -> E {
    E::custom(format!("expected {form}"))
}

impl TextSource {
    /// Reads the text.
    pub fn read(&self, folder: &Path) -> Result<String, String> {
        match self {
            Self::Inline(text) => Ok(text.clone()),
            Self::File { file } => {
                let path = folder.join(file);
                fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))
            }
        }
    }
}

impl<'de> Deserialize<'de> for TextSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self::Inline(text)),
            value => match only_entry(&value) {
                Some(("file", path)) => Ok(Self::File { file: path.into() }),
                _ => Err(expected("text, or `{ file = \"PATH\" }`")),
            },
        }
    }
}
