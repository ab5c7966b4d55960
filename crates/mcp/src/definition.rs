//! What a server says about one tool.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use brigade_core::{Effect, RawJson};

use crate::visible::visible;

/// What a server says about one tool, exactly as the server says it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ToolDefinition {
    /// The name at the server.
    pub name: String,
    /// What the tool does. It may have characters that a reader does not see; models get it without them.
    pub description: String,
    /// The JSON Schema of the arguments.
    pub input_schema: Value,
    /// What the server says about the effects of the tool.
    #[serde(default, skip_serializing_if = "ToolHints::is_empty")]
    pub hints: ToolHints,
}

/// What a server says about the effects of a tool. A hint can make a call less repeatable than the configuration says, never
/// more: a server can be wrong about itself, or lie.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ToolHints {
    /// Whether the tool changes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// Whether the tool may remove or overwrite something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destructive: Option<bool>,
    /// Whether a second call with the same arguments changes nothing more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotent: Option<bool>,
}

/// Keys of a schema with text for the reader. All others have a meaning for the server.
const TEXT_KEYS: [&str; 3] = ["title", "description", "$comment"];

impl ToolDefinition {
    /// The definition of a tool.
    pub fn new(name: impl Into<String>, description: impl Into<String>, input_schema: Value) -> Self {
        Self { name: name.into(), description: description.into(), input_schema, hints: ToolHints::default() }
    }

    /// The effect of a call, if the configuration says that it may be repeated, or if it does not.
    pub(crate) fn effect(&self, is_repeatable: bool) -> Effect {
        let ToolHints { read_only, destructive, idempotent } = self.hints;
        let denies = idempotent == Some(false) && read_only == Some(false);
        let warns = destructive == Some(true) && idempotent != Some(true) && read_only != Some(true);
        if is_repeatable && !denies && !warns { Effect::Repeatable } else { Effect::Once }
    }

    /// The schema for a model: texts have no invisible characters.
    pub(crate) fn schema_for_model(&self) -> Result<RawJson, serde_json::Error> {
        let mut schema = self.input_schema.clone();
        clean(&mut schema);
        RawJson::of(&schema)
    }
}

impl ToolHints {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The sha256 of a set of definitions, in their order by name and in canonical JSON: keys sorted, no white space.
pub(crate) fn digest(definitions: &[ToolDefinition]) -> String {
    let mut sorted: Vec<&ToolDefinition> = definitions.iter().collect();
    sorted.sort_by(|one, other| one.name.cmp(&other.name));
    let text = serde_json::to_value(sorted).map(|value| canonical(&value)).unwrap_or_default();
    Sha256::digest(text.as_bytes()).iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// JSON with sorted keys and without white space.
pub(crate) fn canonical(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            let fields = fields.into_iter().map(|(name, value)| {
                let name = Value::String(name.clone());
                format!("{name}:{}", canonical(value))
            });
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        plain => plain.to_string(),
    }
}

fn clean(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) if TEXT_KEYS.contains(&key.as_str()) => *text = visible(text),
                    value => clean(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(clean),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hinted(read_only: Option<bool>, destructive: Option<bool>, idempotent: Option<bool>) -> ToolDefinition {
        let hints = ToolHints { read_only, destructive, idempotent };
        ToolDefinition { hints, ..ToolDefinition::new("a", "b", json!({})) }
    }

    #[test]
    fn the_digest_depends_on_no_order_and_on_every_word() {
        let a = ToolDefinition::new("a", "x", json!({"type": "object", "properties": {"q": {}, "b": {}}}));
        let b = ToolDefinition::new("b", "y", json!({}));
        let same = ToolDefinition::new("a", "x", json!({"properties": {"b": {}, "q": {}}, "type": "object"}));
        assert_eq!(digest(&[a.clone(), b.clone()]), digest(&[b.clone(), same]));
        let other = ToolDefinition { description: "x\u{200b}".to_owned(), ..a.clone() };
        assert_ne!(digest(&[a, b.clone()]), digest(&[other, b]));
    }

    #[test]
    fn canonical_json_is_sorted_and_has_no_white_space() {
        let value: Value = serde_json::from_str(r#"{ "b": [1, {"z": null, "a": "\"x\""}], "a": 0.5 }"#).unwrap();
        assert_eq!(canonical(&value), r#"{"a":0.5,"b":[1,{"a":"\"x\"","z":null}]}"#);
    }

    #[test]
    fn a_hint_makes_a_call_less_repeatable_and_never_more() {
        let silent = hinted(None, None, None);
        assert_eq!((silent.effect(true), silent.effect(false)), (Effect::Repeatable, Effect::Once));
        assert_eq!(hinted(Some(true), None, Some(true)).effect(false), Effect::Once);
        assert_eq!(hinted(Some(false), Some(true), Some(false)).effect(true), Effect::Once);
        assert_eq!(hinted(None, Some(true), None).effect(true), Effect::Once);
        assert_eq!(hinted(Some(true), Some(true), None).effect(true), Effect::Repeatable);
    }

    #[test]
    fn texts_of_a_schema_lose_invisible_characters_and_values_keep_them() {
        let schema = json!({"properties": {"q": {"description": "a\u{200b}b", "enum": ["x\u{200b}"]}}});
        let cleaned = ToolDefinition::new("a", "b", schema).schema_for_model().unwrap();
        let cleaned: Value = serde_json::from_str(cleaned.get()).unwrap();
        assert_eq!(cleaned, json!({"properties": {"q": {"description": "ab", "enum": ["x\u{200b}"]}}}));
    }
}
