//! `[models.NAME]` sections.

use std::time::Duration;

use brigade_core::{Effort, Reasoning, Settings};
use brigade_resilience::Policy;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};

use super::{Name, units};

/// A model, its settings and its resilience policy.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ModelConfig {
    /// The name of an account in `providers`.
    #[schemars(with = "String")]
    pub provider: Name,
    /// The model's name at the provider.
    pub model: String,
    /// Names of models in `models` that are tried in turn if this one fails. Their own fallbacks are not used.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub fallbacks: Vec<Name>,
    /// The maximum number of tokens in one answer, including reasoning.
    #[serde(default, deserialize_with = "units::some_positive")]
    pub max_output_tokens: Option<u32>,
    /// Randomness from 0 to 2 (Anthropic: 0 to 1).
    #[serde(default, deserialize_with = "units::some_temperature")]
    pub temperature: Option<f32>,
    /// The maximum number of reasoning tokens per answer. Set either this or `effort`.
    pub thinking: Option<u32>,
    /// The reasoning effort: "minimal", "low", "medium", "high", "`x_high`" or "max".
    #[schemars(with = "Option<String>")]
    pub effort: Option<Effort>,
    /// The provider's service tier, such as "flex" or "priority".
    pub service_tier: Option<String>,
    /// What to do under a limit in dollars if the model has no price.
    #[serde(default)]
    pub unpriced: UnpricedConfig,
    /// Timeouts, rate limits, circuit breaker, retries and rules for fallbacks.
    #[serde(default, deserialize_with = "policy")]
    #[schemars(schema_with = "policy_schema")]
    pub policy: Policy,
}

/// What to do under a limit in dollars if a model has no price.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnpricedConfig {
    /// Refuses the call, because its cost cannot be limited.
    #[default]
    Deny,
    /// Makes the call without counting its cost, and logs one warning.
    Warn,
}

impl ModelConfig {
    /// The settings that apply unless the agent overrides them.
    pub fn settings(&self) -> Settings {
        Settings::default()
            .max_output_tokens(self.max_output_tokens)
            .temperature(self.temperature)
            .reasoning(self.thinking.map(Reasoning::Budget).or(self.effort.map(Reasoning::Effort)))
            .service_tier(self.service_tier.clone())
    }
}

/// Reads a policy, and refuses the zeros with which no call could ever succeed.
fn policy<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Policy, D::Error> {
    let policy = Policy::deserialize(deserializer)?;
    let Policy { timeouts, limits, breaker, retry, hedge_after, .. } = &policy;
    let zeros = [
        ("timeouts.first_delta", timeouts.first_delta.is_zero()),
        ("timeouts.first_delta_reasoning", timeouts.first_delta_reasoning.is_zero()),
        ("timeouts.idle", timeouts.idle.is_zero()),
        ("timeouts.attempt", timeouts.attempt.is_zero()),
        ("limits.requests_per_minute", limits.requests_per_minute == Some(0)),
        ("limits.input_tokens_per_minute", limits.input_tokens_per_minute == Some(0)),
        ("limits.output_tokens_per_minute", limits.output_tokens_per_minute == Some(0)),
        ("limits.tokens_per_minute", limits.tokens_per_minute == Some(0)),
        ("limits.requests_per_day", limits.requests_per_day == Some(0)),
        ("limits.tokens_per_day", limits.tokens_per_day == Some(0)),
        ("limits.burst_percent", limits.burst_percent == 0),
        ("breaker.failures_in_row", breaker.failures_in_row == 0),
        ("breaker.failed_percent", breaker.failed_percent == 0),
        ("breaker.window", breaker.window.is_zero()),
        ("retry.attempts", retry.attempts == 0),
        ("retry.attempts_billed", retry.attempts_billed == 0),
        ("hedge_after", *hedge_after == Some(Duration::ZERO)),
    ];
    match zeros.iter().find(|(_, is_zero)| *is_zero) {
        Some((name, _)) => Err(de::Error::custom(format!("`{name}` must be greater than zero"))),
        None => Ok(policy),
    }
}

/// Derives the names and types of the policy's fields from its defaults.
fn policy_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let defaults = serde_json::to_value(Policy::default()).unwrap_or_default();
    schemars::Schema::try_from(schema_of_default(&defaults)).unwrap_or_default()
}

fn schema_of_default(value: &serde_json::Value) -> serde_json::Value {
    use serde_json::{Value, json};
    match value {
        Value::Object(fields) => {
            let fields: serde_json::Map<_, _> =
                fields.iter().map(|(name, value)| (name.clone(), schema_of_default(value))).collect();
            json!({ "type": "object", "properties": fields, "additionalProperties": false })
        }
        Value::String(_) => json!({ "type": "string", "default": value }),
        Value::Number(_) => json!({ "type": "integer", "default": value }),
        Value::Bool(_) => json!({ "type": "boolean", "default": value }),
        Value::Null | Value::Array(_) => json!(true),
    }
}
