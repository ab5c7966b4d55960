//! What a file refers to instead of saying it: secrets, and texts in files of their own.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};

/// Where a secret is kept: `{ env = "OPENAI_API_KEY" }` or `{ file = "/run/secrets/openai" }`. Never the secret itself,
/// because files are shown, sent and committed.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Secret {
    /// The environment variable that holds it.
    Env(String),
    /// The file that holds it. White space around it does not count.
    File(PathBuf),
}

/// A text, or the file that holds it: `{ file = "desk.md" }`.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub(crate) enum Text {
    /// The text.
    Inline(String),
    /// The file, from the folder of the configuration.
    #[serde(rename_all = "snake_case")]
    File {
        /// Its path.
        file: PathBuf,
    },
}

impl Secret {
    /// The secret. The error says where it was looked for, never what was found.
    pub(crate) fn read(&self, folder: &Path) -> Result<String, String> {
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

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "the environment variable `{name}`"),
            Self::File(path) => write!(f, "the file {}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecretVisitor)
    }
}

struct SecretVisitor;

/// How the problem of a secret that was written down begins.
pub(super) const LITERAL_SECRET: &str = "a secret must not stand in the configuration";

const SECRET_FORM: &str = "a reference to a secret: `{ env = \"NAME\" }` or `{ file = \"PATH\" }`";

impl<'de> Visitor<'de> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SECRET_FORM)
    }

    // Not `invalid_type`, which would repeat the secret.
    fn visit_str<E: de::Error>(self, _: &str) -> Result<Secret, E> {
        Err(E::custom(format!("{LITERAL_SECRET}; write {SECRET_FORM}")))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Secret, A::Error> {
        let secret = match map.next_key::<String>()?.as_deref() {
            Some("env") => Secret::Env(map.next_value()?),
            Some("file") => Secret::File(map.next_value()?),
            Some(other) => return Err(de::Error::unknown_field(other, &["env", "file"])),
            None => return Err(de::Error::custom(format!("this is empty; write {SECRET_FORM}"))),
        };
        match map.next_key::<String>()? {
            Some(_) => Err(de::Error::custom("a secret is in one place; keep `env` or `file`")),
            None => Ok(secret),
        }
    }
}

impl Text {
    /// The text.
    pub(crate) fn read(&self, folder: &Path) -> Result<String, String> {
        match self {
            Self::Inline(text) => Ok(text.clone()),
            Self::File { file } => {
                let path = folder.join(file);
                fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, or `{ file = \"PATH\" }`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text::Inline(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Text, A::Error> {
        match map.next_key::<String>()?.as_deref() {
            Some("file") => Ok(Text::File { file: map.next_value()? }),
            Some(other) => Err(de::Error::unknown_field(other, &["file"])),
            None => Err(de::Error::custom("this is empty; write a text, or `{ file = \"PATH\" }`")),
        }
    }
}
