//! The `[approvals]` section, and which calls a person must approve.

use std::{fmt, time::Duration};

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Unexpected, Visitor},
};
use serde_json::{Map, Value};

use super::{SecretSource, units};

/// How calls wait until a person approves them.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ApprovalsConfig {
    /// After this time a call without an answer is denied. "24h" by default: a person sees it on the next day.
    #[serde(serialize_with = "humantime_serde::serialize", deserialize_with = "units::duration")]
    #[schemars(with = "String")]
    pub expire: Duration,
    /// How long after its start a request to `/v1/chat/completions` still stays open while a call waits. "60s" by default,
    /// which clients wait for an answer anyway. It keeps its place among `server.max_runs` meanwhile. Then the response says
    /// what the run waits for. "0s" ends it at once.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub wait_in_request: Duration,
    /// Whether the key that started a run may not approve its calls. False by default.
    pub four_eyes: bool,
    /// The address that gets a `POST` when calls of a run begin to wait, such as `https://hooks.example.com/brigade`. It has the
    /// ids of the run and of the approvals and the names of the tools, but no arguments, and is signed as
    /// <https://www.standardwebhooks.com> describes it.
    pub webhook: Option<String>,
    /// The secret that signs these messages: `whsec_` and 24 to 64 random bytes in base64, as
    /// `echo "whsec_$(openssl rand -base64 32)"` makes them.
    pub webhook_secret: Option<SecretSource>,
    /// Whether the address of `webhook` may be on this machine or in a private network. False by default.
    pub webhook_allow_private: bool,
}

/// Which calls a person must approve.
#[derive(Debug, Clone, Default, PartialEq, JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ApproveConfig {
    /// No call.
    #[default]
    Never,
    /// Every call.
    Always,
    /// Calls whose arguments match this JSON Schema: `{ when = { properties = { amount = { minimum = 100 } } } }`.
    When(Map<String, Value>),
}

/// What is done with a call that may have had its effect before a crash.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum InDoubtConfig {
    /// The run waits until a person decides.
    #[default]
    Ask,
    /// The run fails.
    Fail,
    /// The model reads that it is not known.
    TellModel,
}

/// Reads [`ApproveConfig`].
struct ApproveVisitor;

impl<'de> Deserialize<'de> for ApproveConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ApproveVisitor)
    }
}

impl<'de> Visitor<'de> for ApproveVisitor {
    type Value = ApproveConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`\"never\"`, `\"always\"`, or `{ when = SCHEMA }` with a JSON Schema of the arguments")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ApproveConfig, E> {
        match text {
            "never" => Ok(ApproveConfig::Never),
            "always" => Ok(ApproveConfig::Always),
            other => Err(E::invalid_value(Unexpected::Str(other), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ApproveConfig, A::Error> {
        let wrong = || de::Error::invalid_value(Unexpected::Map, &Self);
        match map.next_key::<String>()?.as_deref() {
            Some("when") => {}
            Some(other) => return Err(de::Error::unknown_field(other, &["when"])),
            None => return Err(wrong()),
        }
        let schema = map.next_value()?;
        match map.next_key::<String>()? {
            Some(other) => Err(de::Error::unknown_field(&other, &["when"])),
            None => Ok(ApproveConfig::When(schema)),
        }
    }
}

impl Default for ApprovalsConfig {
    fn default() -> Self {
        Self {
            expire: Duration::from_hours(24),
            wait_in_request: Duration::from_mins(1),
            four_eyes: false,
            webhook: None,
            webhook_secret: None,
            webhook_allow_private: false,
        }
    }
}
