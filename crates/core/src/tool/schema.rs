//! JSON Schemas: generated from Rust types, and checked with errors that a model can act on.

use std::{fmt, sync::Arc};

use jsonschema::{error::ValidationErrorKind, paths::Location};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::Value;

use crate::{ParseError, RawJson, run::log::count};

/// A compiled JSON Schema. Cheap to clone.
///
/// ```
/// use brigade_core::Schema;
///
/// #[derive(schemars::JsonSchema)]
/// struct Verdict {
///     approved: bool,
/// }
///
/// let schema = Schema::compile(&Schema::generate::<Verdict>())?;
/// assert!(schema.check(&serde_json::json!({"approved": true})).is_ok());
/// let error = schema.check(&serde_json::json!({"approved": "yes"})).unwrap_err();
/// assert!(error.starts_with("at /approved: "));
/// # Ok::<(), brigade_core::ParseError>(())
/// ```
#[derive(Clone)]
pub struct Schema(Arc<Compiled>);

struct Compiled {
    validator: jsonschema::Validator,
    /// The schema as JSON text.
    text: RawJson,
    /// The names of the top-level properties; `None` if the schema lets other fields have a meaning.
    properties: Option<Vec<String>>,
}

/// The most violations reported at a time: a model corrects a handful at once, and a list of hundreds only costs tokens.
const MAX_VIOLATIONS: usize = 5;

impl Schema {
    /// The schema of a Rust type, without references, which several providers refuse.
    pub fn generate<T: JsonSchema>() -> RawJson {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        });
        let mut schema = settings.into_generator().into_root_schema_for::<T>();
        // A model has no use for the name of the Rust type, and every request would pay for it.
        schema.remove("title");
        // Serializing a schema cannot fail: it is a tree of JSON values.
        RawJson::of(&schema).unwrap_or_else(|_| RawJson::empty_object())
    }

    /// Compiles a schema.
    ///
    /// # Errors
    ///
    /// The document is not a JSON Schema, or it refers to another document: nothing is fetched.
    pub fn compile(text: &RawJson) -> Result<Self, ParseError> {
        let schema: Value = serde_json::from_str(text.get()).map_err(|error| unusable(&error))?;
        let properties = named_properties(&schema);
        let validator = jsonschema::validator_for(&schema).map_err(|error| unusable(&error))?;
        Ok(Self(Arc::new(Compiled { validator, text: text.clone(), properties })))
    }

    /// Checks a value.
    ///
    /// # Errors
    ///
    /// A text that names, for each of the first violations, its place as a JSON Pointer and the expectation. It does
    /// repeat neither the value nor a name that is not in the schema.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        let mut errors = self.0.validator.iter_errors(value);
        let mut violations: Vec<String> =
            errors.by_ref().take(MAX_VIOLATIONS).map(|error| self.violation(&error, value)).collect();
        if violations.is_empty() {
            return Ok(());
        }
        let more = errors.count();
        if more > 0 {
            violations.push(format!("and {more} more"));
        }
        Err(violations.join("; "))
    }

    /// Violations are logged, so what the model wrote must not be in them.
    fn violation(&self, error: &jsonschema::ValidationError<'_>, value: &Value) -> String {
        let place = self.place(error.instance_path(), value);
        let place = if place.is_empty() { "the top level" } else { &place };
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected }
            | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
                let fields = count(unexpected.len() as u64, "field");
                format!("at {place}: {fields} more than the schema allows; leave out what it does not name")
            }
            ValidationErrorKind::PropertyNames { .. } => format!("at {place}: a field has a name that is not allowed"),
            // The value itself can be long, and its place identifies it.
            _ => format!("at {place}: {}", error.masked()),
        }
    }

    /// A place as a JSON Pointer, with `*` for names that are not in the schema: the model chose them.
    fn place(&self, location: &Location, value: &Value) -> String {
        let (mut place, mut parent) = (String::new(), Some(value));
        for segment in location {
            let name = segment.to_string();
            let index =
                parent.and_then(Value::as_array).map(|items| name.parse().ok().and_then(|i: usize| items.get(i)));
            let is_named = serde_json::to_string(&name).is_ok_and(|name| self.0.text.get().contains(&name));
            place = format!("{place}/{}", if index.is_some() || is_named { &name } else { "*" });
            parent = index.unwrap_or_else(|| parent?.get(&name));
        }
        place
    }

    /// Replaces strings that violate the schema by the object or list that they contain. Returns whether there were any.
    pub(crate) fn unwrap_strings(&self, value: &mut Value) -> bool {
        let errors = self.0.validator.iter_errors(value);
        let places: Vec<String> = errors.map(|error| error.instance_path().to_string()).collect();
        let mut unwrapped = false;
        for place in places {
            let Some(string) = value.pointer_mut(&place) else { continue };
            let inner = string.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
            if let Some(inner) = inner.filter(|inner| inner.is_object() || inner.is_array()) {
                *string = inner;
                unwrapped = true;
            }
        }
        unwrapped
    }

    /// Whether a tool with this schema may read the top-level field `name`.
    pub(crate) fn may_read(&self, name: &str) -> bool {
        self.0.properties.as_ref().is_none_or(|names| names.iter().any(|named| named == name))
    }
}

fn unusable(error: &dyn fmt::Display) -> ParseError {
    ParseError::new(format!("this is not a usable JSON Schema: {error}"))
}

/// The names of the top-level properties, if no other keyword, such as `oneOf` or `$ref`, gives a meaning to more fields.
fn named_properties(schema: &Value) -> Option<Vec<String>> {
    let schema = schema.as_object()?;
    let is_closed = schema.iter().all(|(keyword, value)| match keyword.as_str() {
        "$schema" | "$id" | "$comment" | "$defs" | "definitions" | "title" | "description" | "default" | "examples"
        | "type" | "properties" | "required" | "minProperties" | "maxProperties" => true,
        "additionalProperties" => *value == Value::Bool(false),
        _ => false,
    });
    let named = schema.get("properties")?.as_object()?;
    is_closed.then(|| named.keys().cloned().collect())
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
    #[expect(dead_code, reason = "only its schema is used")]
    struct Search {
        query: String,
        limit: Option<u8>,
    }

    #[test]
    fn a_violation_names_its_place_but_not_the_value() {
        let schema = Schema::compile(&Schema::generate::<Search>()).unwrap();
        assert_eq!(schema.check(&json!({"query": "kafka", "limit": 3})), Ok(()));
        let error = schema.check(&json!({"query": ["secret words"], "limit": -1})).unwrap_err();
        assert!(error.contains("at /query: ") && error.contains("at /limit: "), "{error}");
        assert!(!error.contains("secret words"), "{error}");
        let error = schema.check(&json!({})).unwrap_err();
        assert!(error.starts_with("at the top level: "), "{error}");
    }

    #[test]
    fn unexpected_field_names_are_not_repeated() {
        for keyword in ["additionalProperties", "unevaluatedProperties"] {
            let schema = format!(r#"{{"type":"object","properties":{{"a":{{}}}},"{keyword}":false}}"#);
            let schema = Schema::compile(&RawJson::parse(schema).unwrap()).unwrap();
            let error = schema.check(&json!({"a": 1, "secret words": 2})).unwrap_err();
            assert_eq!(error, "at the top level: 1 field more than the schema allows; leave out what it does not name");
        }
        let schema = RawJson::parse(r#"{"propertyNames":{"maxLength":3}}"#.into()).unwrap();
        let error = Schema::compile(&schema).unwrap().check(&json!({"secret words": 2})).unwrap_err();
        assert!(!error.contains("secret words"), "{error}");
        let map = r#"{"properties":{"by name":{"additionalProperties":{"items":{"type":"integer"}}}}}"#;
        let schema = Schema::compile(&RawJson::parse(map.into()).unwrap()).unwrap();
        for name in ["secret words", "4111111111111111"] {
            let error = schema.check(&json!({"by name": {name: [1, "x"]}})).unwrap_err();
            assert_eq!(error, "at /by name/*/1: value is not of type \"integer\"");
        }
    }

    #[test]
    fn the_name_of_the_rust_type_is_left_out() {
        assert!(!Schema::generate::<Search>().get().contains("Search"));
    }

    #[test]
    fn at_most_five_violations_are_listed() {
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
