//! JSON Schemas: made from Rust types, compiled, and explained to a model when a value does not fit.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use jsonschema::error::ValidationErrorKind;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::Value;

use super::plain::Plain;
use crate::RawJson;

/// A compiled JSON Schema. Cheap to clone.
#[derive(Clone)]
pub struct Schema(Arc<Compiled>);

struct Compiled {
    plain: Option<Plain>,
    /// Compiled at once where the schema is not plain, else when a value does not fit for certain.
    validator: OnceLock<Result<jsonschema::Validator, SchemaError>>,
    source: Value,
    /// The top-level properties that the schema names.
    properties: Vec<String>,
}

/// The text is no usable JSON Schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no usable JSON Schema: {0}")]
pub struct SchemaError(String);

/// So many violations are told at a time: a model mends a handful at once, a list of hundreds only costs tokens.
const MAX_VIOLATIONS: usize = 5;

impl Schema {
    /// Compiles a schema. References to other documents are an error: nothing is fetched.
    pub fn compile(schema: &RawJson) -> Result<Self, SchemaError> {
        let schema: Value = serde_json::from_str(schema.get()).map_err(|error| SchemaError(error.to_string()))?;
        let named = schema.get("properties").and_then(Value::as_object);
        let properties = named.map(|named| named.keys().cloned().collect()).unwrap_or_default();
        let plain = Plain::of(&schema);
        let compiled = Compiled { plain, validator: OnceLock::new(), source: schema, properties };
        if compiled.plain.is_none() {
            compiled.validator().map_err(Clone::clone)?;
        }
        Ok(Self(Arc::new(compiled)))
    }

    /// Checks a value. The error names, for each violation, where it is as a JSON Pointer and what was expected.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        if self.0.plain.as_ref().is_some_and(|plain| plain.admits(value)) {
            return Ok(());
        }
        let validator = self.0.validator().map_err(ToString::to_string)?;
        if validator.is_valid(value) {
            return Ok(());
        }
        let mut errors = validator.iter_errors(value);
        let mut told: Vec<String> = errors.by_ref().take(MAX_VIOLATIONS).map(|error| violation(&error)).collect();
        let more = errors.count();
        if more > 0 {
            told.push(format!("and {more} more"));
        }
        Err(told.join("; "))
    }

    /// Whether the schema gives the top-level property `name` a meaning.
    pub(crate) fn names_property(&self, name: &str) -> bool {
        self.0.properties.iter().any(|property| property == name)
    }
}

impl Compiled {
    fn validator(&self) -> Result<&jsonschema::Validator, &SchemaError> {
        let compile = || jsonschema::validator_for(&self.source).map_err(|error| SchemaError(error.to_string()));
        self.validator.get_or_init(compile).as_ref()
    }
}

fn violation(error: &jsonschema::ValidationError<'_>) -> String {
    let place = error.instance_path().to_string();
    let place = if place.is_empty() { "the top level" } else { &place };
    match error.kind() {
        // Only the schema's own names are told: a violation gets into logs, and these are the model's words.
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            format!(
                "at {place}: {} more than the schema allows; leave out what it does not name",
                fields(unexpected.len())
            )
        }
        ValidationErrorKind::PropertyNames { .. } => format!("at {place}: a field has a name that is not allowed"),
        // The value itself can be long, and its place says which one it is.
        _ => format!("at {place}: {}", error.masked()),
    }
}

fn fields(count: usize) -> String {
    format!("{count} {}", if count == 1 { "field" } else { "fields" })
}

/// The schema of a Rust type, without references, which several providers refuse.
pub fn schema_of<T: JsonSchema>() -> RawJson {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    // The name of the Rust type tells a model nothing, and would be paid for in every request.
    schema.remove("title");
    // A schema is a tree of JSON values, which can always be written.
    RawJson::of(&schema).unwrap_or_else(|_| RawJson::empty_object())
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schema").field("properties", &self.0.properties).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Search {
        query: String,
        limit: Option<u8>,
    }

    #[test]
    fn a_violation_names_its_place_and_not_the_value() {
        let schema = Schema::compile(&schema_of::<Search>()).unwrap();
        assert_eq!(schema.check(&json!({"query": "kafka", "limit": 3})), Ok(()));
        let error = schema.check(&json!({"query": ["secret words"], "limit": -1})).unwrap_err();
        assert!(error.contains("at /query: ") && error.contains("at /limit: "), "{error}");
        assert!(!error.contains("secret words"), "{error}");
        let error = schema.check(&json!({})).unwrap_err();
        assert!(error.starts_with("at the top level: "), "{error}");
    }

    #[test]
    fn a_field_that_the_schema_does_not_name_is_not_named() {
        for keyword in ["additionalProperties", "unevaluatedProperties"] {
            let schema = format!(r#"{{"type":"object","properties":{{"a":{{}}}},"{keyword}":false}}"#);
            let schema = Schema::compile(&RawJson::parse(schema).unwrap()).unwrap();
            let error = schema.check(&json!({"a": 1, "secret words": 2})).unwrap_err();
            assert_eq!(error, "at the top level: 1 field more than the schema allows; leave out what it does not name");
        }
        let schema = RawJson::parse(r#"{"propertyNames":{"maxLength":3}}"#.into()).unwrap();
        let error = Schema::compile(&schema).unwrap().check(&json!({"secret words": 2})).unwrap_err();
        assert!(!error.contains("secret words"), "{error}");
    }

    #[test]
    fn the_name_of_the_rust_type_is_not_sent() {
        assert!(!schema_of::<Search>().get().contains("Search"));
    }

    #[test]
    fn violations_are_told_a_handful_at_a_time() {
        let schema = RawJson::parse(r#"{"type":"array","items":{"type":"string"}}"#.into()).unwrap();
        let error = Schema::compile(&schema).unwrap().check(&json!([1, 2, 3, 4, 5, 6, 7])).unwrap_err();
        assert!(error.ends_with("; and 2 more"), "{error}");
    }

    #[test]
    fn a_schema_that_refers_elsewhere_is_refused_and_not_fetched() {
        let schema = RawJson::parse(r#"{"$ref":"http://127.0.0.1:9/schema.json"}"#.into()).unwrap();
        assert!(Schema::compile(&schema).is_err());
    }
}
