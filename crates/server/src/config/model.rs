//! Models.

use brigade_core::{Effort, Reasoning, Settings};
use brigade_resilience::Policy;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Name, units};

/// A model, how it answers, and what is done when it does not.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "a model has a name, which is called a model")]
pub(crate) struct Model {
    /// The account.
    #[schemars(with = "String")]
    pub(crate) provider: Name,
    /// The model's name at the provider.
    pub(crate) model: String,
    /// The models that are asked, in turn, when this one cannot answer. Their own fallbacks do not count.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub(crate) fallbacks: Vec<Name>,
    /// The most tokens of an answer, reasoning included.
    #[serde(default, deserialize_with = "units::some_positive")]
    pub(crate) max_output_tokens: Option<u32>,
    /// Randomness, from 0 to 2 (Anthropic: to 1).
    pub(crate) temperature: Option<f32>,
    /// Reasons for at most so many tokens before answering.
    pub(crate) thinking: Option<u32>,
    /// Reasons to this degree: "minimal", "low", "medium", "high", "`x_high`" or "max".
    #[schemars(with = "Option<String>")]
    pub(crate) effort: Option<Effort>,
    /// Such as "flex" or "priority", where the provider has such tiers.
    pub(crate) service_tier: Option<String>,
    /// What happens when money is limited and the model has no price.
    #[serde(default)]
    pub(crate) unpriced: Unpriced,
    /// Timeouts, rate limits, breaker, retries and rules for fallbacks.
    #[serde(default)]
    #[schemars(schema_with = "policy_schema")]
    pub(crate) policy: Policy,
}

/// What happens when money is limited and a model has no price.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unpriced {
    /// The call is refused: what cannot be counted cannot be limited.
    #[default]
    Deny,
    /// It runs uncounted, and the log says so once.
    Warn,
}

impl Model {
    /// How it answers, unless the agent says otherwise.
    pub(crate) fn settings(&self) -> Settings {
        Settings::default()
            .max_output_tokens(self.max_output_tokens)
            .temperature(self.temperature)
            .reasoning(self.thinking.map(Reasoning::Budget).or(self.effort.map(Reasoning::Effort)))
            .service_tier(self.service_tier.clone())
    }
}

/// The names and the kinds of the policy's fields follow from its defaults.
fn policy_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let defaults = serde_json::to_value(Policy::default()).unwrap_or_default();
    schemars::Schema::try_from(schema_like(&defaults)).unwrap_or_default()
}

fn schema_like(value: &serde_json::Value) -> serde_json::Value {
    use serde_json::{Value, json};
    match value {
        Value::Object(fields) => {
            let fields: serde_json::Map<_, _> =
                fields.iter().map(|(name, value)| (name.clone(), schema_like(value))).collect();
            json!({ "type": "object", "properties": fields, "additionalProperties": false })
        }
        Value::String(_) => json!({ "type": "string", "default": value }),
        Value::Number(_) => json!({ "type": "integer", "default": value }),
        Value::Bool(_) => json!({ "type": "boolean", "default": value }),
        Value::Null | Value::Array(_) => json!(true),
    }
}
