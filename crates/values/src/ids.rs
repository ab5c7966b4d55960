//! Ids of traces, runs and models, and the scopes of long-term memory.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

/// A W3C trace id: 16 bytes, not all zero. Displays as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, schemars::JsonSchema)]
#[schemars(with = "String")]
pub struct TraceId(u128);

/// The id of one run: a UUID of version 7, so that ids sort by time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct RunId(#[schemars(with = "String", extend("format" = "uuid"))] Uuid);

/// A text could not be parsed. The message names the expected form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(String);

impl ParseError {
    /// An error with a message that names the expected form.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl TraceId {
    /// A new random id.
    pub fn random() -> Self {
        Self(Uuid::new_v4().as_u128().max(1))
    }

    /// The id with these bits, or `None` for zero, which the standard forbids.
    pub const fn from_bits(bits: u128) -> Option<Self> {
        if bits == 0 { None } else { Some(Self(bits)) }
    }

    /// The id as a number.
    pub const fn bits(self) -> u128 {
        self.0
    }

    /// The first eight digits, which are enough to search logs for.
    pub fn short(self) -> String {
        format!("{:08x}", self.0 >> 96)
    }
}

impl FromStr for TraceId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        // `from_str_radix` alone would accept a sign.
        let hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let bits = u128::from_str_radix(text, 16).ok().filter(|_| hex);
        bits.and_then(Self::from_bits)
            .ok_or_else(|| ParseError("a trace id has 32 hexadecimal digits and is not all zero".to_owned()))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Serialize for TraceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TraceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl RunId {
    /// A new id with the current time.
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id as a UUID.
    pub const fn uuid(self) -> Uuid {
        self.0
    }
}

impl Default for RunId {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Uuid> for RunId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The configured name of a model: the provider account and the model's name there. Displays as `openai/gpt-5-mini`.
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, schemars::JsonSchema)]
#[schemars(with = "String")]
pub struct ModelId(Arc<Names>);

#[derive(PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Names {
    provider: Arc<str>,
    model: Arc<str>,
}

impl ModelId {
    /// The model called `model` at the account called `provider`.
    pub fn new(provider: impl Into<Arc<str>>, model: impl Into<Arc<str>>) -> Self {
        Self(Arc::new(Names { provider: provider.into(), model: model.into() }))
    }

    /// The configured name of the account. All models of an account share its limits, breakers and credentials.
    pub fn provider(&self) -> &Arc<str> {
        &self.0.provider
    }

    /// The model's name, as sent to the provider.
    pub fn model(&self) -> &Arc<str> {
        &self.0.model
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider(), self.model())
    }
}

impl Serialize for ModelId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ModelId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (provider, model) = text.split_once('/').ok_or_else(|| de::Error::custom("a model is `provider/model`"))?;
        Ok(Self::new(provider, model))
    }
}

impl fmt::Debug for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The owner of notes in long-term memory. A note is found only in exactly the scope in which it was written: notes of a
/// tenant are not found for its users. So code that forgets to set the user cannot read the notes of all users.
#[must_use]
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Scope {
    /// The organisation; the server uses the name of the API key.
    pub tenant: Option<Arc<str>>,
    /// The end user, as named by the client.
    pub user: Option<Arc<str>>,
    /// The name of the agent.
    pub agent: Option<Arc<str>>,
}

impl Scope {
    /// Sets the organisation.
    pub fn tenant(self, tenant: impl Into<Arc<str>>) -> Self {
        Self { tenant: Some(tenant.into()), ..self }
    }

    /// Sets the end user.
    pub fn user(self, user: impl Into<Arc<str>>) -> Self {
        Self { user: Some(user.into()), ..self }
    }

    /// Sets the agent.
    pub fn agent(self, agent: impl Into<Arc<str>>) -> Self {
        Self { agent: Some(agent.into()), ..self }
    }

    /// Whether it names no tenant, user or agent.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_id_is_parsed_and_displayed_as_32_digits() {
        let id: TraceId = "a3f2b1c94e5d4c3b8a7f6e5d4c3b2a19".parse().unwrap();
        assert_eq!(id.to_string(), "a3f2b1c94e5d4c3b8a7f6e5d4c3b2a19");
        assert_eq!(id.short(), "a3f2b1c9");
    }

    #[test]
    fn trace_ids_that_the_standard_forbids_are_refused() {
        for text in ["0".repeat(32), "+".to_owned() + &"1".repeat(31), "g".repeat(32), "a".repeat(31)] {
            assert!(text.parse::<TraceId>().is_err(), "{text}");
        }
    }
}
