//! Labels of requests.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

/// A text. Clients also send numbers and booleans.
#[derive(Debug, Clone, JsonSchema)]
pub(crate) struct MetadataValue(#[schemars(with = "MetadataSchema")] pub(crate) String);

/// The schema of [`MetadataValue`].
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum MetadataSchema {
    Text(String),
    Number(f64),
    Boolean(bool),
}

impl<'de> Deserialize<'de> for MetadataValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(text)),
            value @ (Value::Number(_) | Value::Bool(_)) => Ok(Self(value.to_string())),
            Value::Null | Value::Array(_) | Value::Object(_) => Err(de::Error::custom("expected a string")),
        }
    }
}
