//! Keys of those who may ask.

use std::{fmt, num::NonZeroU32, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Budget;

/// A key of somebody who may ask. Only its hash is kept; `brigade keys new` makes both.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Key {
    /// The hash of the key, as `sha256:…`.
    #[schemars(with = "String")]
    pub(crate) hash: KeyHash,
    /// What it may do: "run", "read", "admin". Run and read if absent.
    #[serde(default = "usual_scopes")]
    pub(crate) scopes: Vec<Scope>,
    /// What all runs with this key may spend together.
    #[serde(default)]
    pub(crate) budget: Budget,
    /// How many requests a minute, of whatever kind. More are answered with 429. Without limit if absent.
    pub(crate) requests_per_minute: Option<NonZeroU32>,
    /// How many of them may come at once after a pause; what ten seconds allow, if absent.
    pub(crate) burst: Option<NonZeroU32>,
}

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scope {
    /// Start runs, and cancel its own.
    Run,
    /// See its own runs and what they cost.
    Read,
    /// See and cancel everybody's runs, and read the metrics.
    Admin,
}

/// The SHA-256 of a key. Keys are 256 random bits, so a slow hash would protect nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash of a key.
    pub(crate) fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// Whether both are the same, in a time that tells nothing about where they differ.
    pub(crate) fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl FromStr for KeyHash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "a key's hash is `sha256:` and 64 hexadecimal digits; `brigade keys new` prints one";
        let hex = text.strip_prefix("sha256:").filter(|hex| hex.len() == 64 && hex.is_ascii()).ok_or(wrong)?;
        let mut bytes = [0; 32];
        for (place, byte) in bytes.iter_mut().enumerate() {
            let digits = hex.get(2 * place..2 * place + 2).ok_or(wrong)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong)?;
        }
        Ok(Self(bytes))
    }
}

impl<'de> Deserialize<'de> for KeyHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash")
    }
}

fn usual_scopes() -> Vec<Scope> {
    vec![Scope::Run, Scope::Read]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_reads_back_and_fits_its_key_only() {
        let hash = KeyHash::of("brg_1");
        let read: KeyHash = hash.to_string().parse().unwrap();
        assert!(read.matches(&KeyHash::of("brg_1")));
        assert!(!read.matches(&KeyHash::of("brg_2")));
        assert!("sha256:+1".parse::<KeyHash>().is_err());
    }
}
