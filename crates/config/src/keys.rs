//! `[keys.NAME]` sections: API keys of clients.

use std::{fmt, num::NonZeroU32, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{BudgetConfig, NAME_RULE, Name, is_plain_name, units};

/// An API key of a client. The configuration contains only its hash; `brigade keys new` creates both.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct KeyConfig {
    /// The SHA-256 hash of the key, as `sha256:…`.
    #[schemars(with = "String")]
    pub hash: KeyHash,
    /// What the key may do: "run", "read", "approve", "admin". "run" and "read" by default.
    #[serde(default = "default_scopes")]
    pub scopes: Vec<KeyScope>,
    /// The names of other keys whose calls this key may approve, with the scope "approve". None by default.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub approves: Vec<Name>,
    /// What all runs of this key may spend together.
    #[serde(default)]
    pub budget: BudgetConfig,
    /// The maximum number of runs of this key at the same time; more get status 429. Half of `server.max_runs` by default, so
    /// that no key takes all; all of them if there is only one key.
    #[serde(default, deserialize_with = "units::some_positive")]
    pub max_runs: Option<usize>,
    /// The maximum number of requests per minute, of any kind; more get status 429. Unlimited by default.
    pub requests_per_minute: Option<NonZeroU32>,
    /// The number of requests that may come at once after a pause. By default, the number that
    /// `requests_per_minute` allows in ten seconds.
    pub burst: Option<NonZeroU32>,
}

/// What an API key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeyScope {
    /// Start runs, and cancel the key's own runs.
    Run,
    /// Read the key's own runs, their cost and their approvals.
    Read,
    /// See and answer the approvals of the key's own runs, and of the keys in `approves`. "admin" does not include this.
    Approve,
    /// Read and cancel the runs of all keys, see their approvals, and read the metrics.
    Admin,
}

/// The SHA-256 hash of an API key. Keys are random, so a slow hash would add no protection.
///
/// ```
/// use brigade_config::KeyHash;
///
/// let hash = KeyHash::of("brg_1");
/// assert!(hash.to_string().starts_with("sha256:"));
/// assert_eq!(hash.to_string().parse::<KeyHash>()?, hash);
/// # Ok::<(), brigade_config::ParseKeyHashError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash([u8; 32]);

/// The text is not a hash of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the hash of a key is `sha256:` and 64 hexadecimal digits; `brigade keys new` prints one")]
pub struct ParseKeyHashError;

impl KeyHash {
    /// Hashes a key.
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// Compares in constant time, so that the response time does not reveal how much of a hash is right.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl FromStr for KeyHash {
    type Err = ParseKeyHashError;

    fn from_str(text: &str) -> Result<Self, ParseKeyHashError> {
        let hex = text.strip_prefix("sha256:").filter(|hex| hex.len() == 64 && hex.is_ascii());
        let hex = hex.ok_or(ParseKeyHashError)?;
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            let digits = hex.get(2 * index..2 * index + 2).ok_or(ParseKeyHashError)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| ParseKeyHashError)?;
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
        // Keeps hashes out of logs, because a key can be tested against its hash.
        f.write_str("KeyHash")
    }
}

/// The name of the caller if there are no keys, and on the command line.
pub const LOCAL_CALLER: &str = "local";

/// Explains why a name cannot be used for a key; `None` if it can. Names are part of the ids of sessions, which a slash
/// would make ambiguous, and they appear in metric labels and log lines.
pub fn key_name_problem(name: &str) -> Option<String> {
    if name == LOCAL_CALLER {
        return Some(format!(
            "a key cannot have the name `{LOCAL_CALLER}`, which stands for requests without a key; rename `keys.{name}`"
        ));
    }
    let problem = || format!("`{name}` is not a valid name of a key; rename `keys.{name:?}`, using {NAME_RULE}");
    (!is_plain_name(name)).then(problem)
}

fn default_scopes() -> Vec<KeyScope> {
    vec![KeyScope::Run, KeyScope::Read]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_round_trips_and_matches_only_its_key() {
        let hash = KeyHash::of("brg_1");
        let parsed: KeyHash = hash.to_string().parse().unwrap();
        assert!(parsed.matches(&KeyHash::of("brg_1")));
        assert!(!parsed.matches(&KeyHash::of("brg_2")));
        assert!("sha256:+1".parse::<KeyHash>().is_err());
    }
}
