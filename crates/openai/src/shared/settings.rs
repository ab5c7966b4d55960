//! Settings of requests that both APIs have.

use std::ops::RangeInclusive;

use brigade_core::{Effort, OutputSchema, RawJson, Reasoning, Schema};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::field_error::FieldError;

/// The form of an answer.
pub(crate) enum OutputForm<'a> {
    Text,
    JsonObject,
    JsonSchema(NamedForm<'a>),
}

/// A form with a name.
pub(crate) struct NamedForm<'a> {
    pub(crate) name: &'a str,
    pub(crate) schema: &'a Map<String, Value>,
    pub(crate) strict: Option<bool>,
}

/// Where a request has the form of the answer.
pub(crate) struct FormFields {
    pub(crate) form: &'static str,
    pub(crate) schema: &'static str,
}

pub(crate) fn check_range(name: &str, value: Option<f32>, range: RangeInclusive<f32>) -> Result<(), FieldError> {
    if value.is_some_and(|value| !range.contains(&value)) {
        let message = format!("`{name}` must be between {} and {}", range.start(), range.end());
        return Err(FieldError::invalid(name, message));
    }
    Ok(())
}

/// The limit of output tokens. Clients of local servers write -1 for no limit.
pub(crate) fn output_limit(name: &str, value: Option<i64>) -> Result<Option<u32>, FieldError> {
    match value {
        None | Some(-1) => Ok(None),
        Some(tokens @ 1..) => Ok(Some(u32::try_from(tokens).unwrap_or(u32::MAX))),
        Some(_) => {
            let message = format!("`{name}` must be at least 1, or -1 for the agent's own limit");
            Err(FieldError::invalid(name, message))
        }
    }
}

pub(crate) fn parse_effort(param: &str, effort: &str) -> Result<Reasoning, FieldError> {
    Ok(Reasoning::Effort(match effort {
        "none" => return Ok(Reasoning::Off),
        "minimal" => Effort::Minimal,
        "low" => Effort::Low,
        "medium" => Effort::Medium,
        "high" => Effort::High,
        "xhigh" => Effort::XHigh,
        "max" => Effort::Max,
        other => {
            let message = format!("unknown effort `{other}`; use none, minimal, low, medium, high, xhigh or max");
            return Err(FieldError::invalid(param, message));
        }
    }))
}

/// The schema that answers must match: the one that was asked for, or else the configured one.
pub(crate) fn output_schema(
    form: &OutputForm<'_>,
    fields: &FormFields,
    configured: Option<OutputSchema>,
) -> Result<Option<OutputSchema>, FieldError> {
    let (name, schema, strict) = match form {
        OutputForm::Text => return Ok(configured),
        OutputForm::JsonObject => ("answer", raw(&json!({ "type": "object" })), false),
        OutputForm::JsonSchema(form) => (form.name, raw(form.schema), form.strict == Some(true)),
    };
    if configured.is_some() {
        let message = format!("the answers of this agent have a configured schema; remove `{}`", fields.form);
        return Err(FieldError::unsupported(fields.form, message));
    }
    let invalid = |error: String| FieldError::invalid(fields.schema, error);
    let schema = schema.map_err(invalid)?;
    Schema::compile(&schema).map_err(|error| invalid(error.to_string()))?;
    Ok(Some(OutputSchema::new(name, schema).strict(strict)))
}

fn raw(schema: &impl Serialize) -> Result<RawJson, String> {
    RawJson::of(schema).map_err(|error| error.to_string())
}
