//! Values that the configuration refers to: secrets, and text in separate files.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};

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
        deserializer.deserialize_any(SecretOrTextVisitor)
    }
}

struct SecretOrTextVisitor;

impl<'de> Visitor<'de> for SecretOrTextVisitor {
    type Value = SecretOrText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "text, or {SECRET_FORM}")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<SecretOrText, E> {
        Ok(SecretOrText::Text(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SecretOrText, A::Error> {
        SecretVisitor.visit_map(map).map(SecretOrText::Secret)
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
        deserializer.deserialize_any(SecretVisitor)
    }
}

struct SecretVisitor;

/// The start of the message about a literal secret.
pub(super) const LITERAL_SECRET: &str = "a secret must not be written in the configuration";

const SECRET_FORM: &str = "a reference to a secret: `{ env = \"NAME\" }` or `{ file = \"PATH\" }`";

impl<'de> Visitor<'de> for SecretVisitor {
    type Value = SecretSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SECRET_FORM)
    }

    // Not `invalid_type`, which would repeat the secret.
    fn visit_str<E: de::Error>(self, _: &str) -> Result<SecretSource, E> {
        Err(E::custom(format!("{LITERAL_SECRET}; write {SECRET_FORM}")))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretSource, A::Error> {
        let secret = match map.next_key::<String>()?.as_deref() {
            Some("env") => SecretSource::Env(map.next_value()?),
            Some("file") => SecretSource::File(map.next_value()?),
            Some(other) => return Err(de::Error::unknown_field(other, &["env", "file"])),
            None => return Err(de::Error::custom(format!("the secret is empty; write {SECRET_FORM}"))),
        };
        match map.next_key::<String>()? {
            Some(_) => Err(de::Error::custom("a secret has one source; keep either `env` or `file`")),
            None => Ok(secret),
        }
    }
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
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = TextSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, or `{ file = \"PATH\" }`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<TextSource, E> {
        Ok(TextSource::Inline(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TextSource, A::Error> {
        match map.next_key::<String>()?.as_deref() {
            Some("file") => Ok(TextSource::File { file: map.next_value()? }),
            Some(other) => Err(de::Error::unknown_field(other, &["file"])),
            None => Err(de::Error::custom("the text is empty; write text, or `{ file = \"PATH\" }`")),
        }
    }
}
