//! The schemas of an `OpenAPI` document.

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, transform::RecursiveTransform};
use serde_json::{Map, Value, json};

/// The schemas of the types that an `OpenAPI` document refers to.
#[derive(Debug)]
pub struct ApiSchemas {
    requests: SchemaGenerator,
    responses: SchemaGenerator,
}

impl ApiSchemas {
    /// No schemas.
    #[expect(clippy::new_without_default, reason = "a document has one set of schemas")]
    pub fn new() -> Self {
        let mut settings = SchemaSettings::draft2020_12()
            .with_transform(RecursiveTransform(bound_integers))
            .with_transform(RecursiveTransform(write_links_as_code));
        settings.definitions_path = "/components/schemas".into();
        Self { requests: settings.clone().into_generator(), responses: settings.for_serialize().into_generator() }
    }

    /// A reference to the schema of a request's type.
    pub fn request<T: JsonSchema>(&mut self) -> Value {
        self.requests.subschema_for::<T>().to_value()
    }

    /// A reference to the schema of a response's type.
    pub fn response<T: JsonSchema>(&mut self) -> Value {
        self.responses.subschema_for::<T>().to_value()
    }

    /// The fields of a type as query parameters.
    pub fn query<T: JsonSchema>(&mut self) -> Vec<Value> {
        let mut schema = T::json_schema(&mut self.requests).to_value();
        let Some(Value::Object(fields)) = schema.get_mut("properties").map(Value::take) else { return Vec::new() };
        fields.into_iter().map(|(name, schema)| query_parameter(&name, schema)).collect()
    }

    /// The schemas that were referred to, with the `examples` of types by their names.
    pub fn definitions(mut self, examples: Map<String, Value>) -> Map<String, Value> {
        let mut definitions = self.requests.take_definitions(true);
        definitions.extend(self.responses.take_definitions(true));
        for (name, examples) in examples {
            if let Some(Value::Object(schema)) = definitions.get_mut(&name) {
                schema.insert("examples".to_owned(), examples);
            }
        }
        definitions
    }
}

/// A parameter is absent rather than null.
fn query_parameter(name: &str, mut schema: Value) -> Value {
    let mut description = Value::Null;
    if let Value::Object(schema) = &mut schema {
        description = schema.remove("description").unwrap_or_default();
        schema.remove("default");
        if let Some(Value::Array(types)) = schema.get("type") {
            let value = types.iter().find(|name| *name != "null").cloned().unwrap_or_default();
            schema.insert("type".to_owned(), value);
        }
    }
    json!({ "name": name, "in": "query", "description": description, "schema": schema })
}

/// States the range of an integer as numbers, for tools that do not know its format.
fn bound_integers(schema: &mut Schema) {
    let max: u64 = match schema.get("format").and_then(Value::as_str) {
        Some("uint32") => u32::MAX.into(),
        Some("int64") => i64::MAX.unsigned_abs(),
        Some("uint64") => u64::MAX,
        _ => return,
    };
    if schema.get("maximum").is_none() {
        schema.insert("maximum".to_owned(), max.into());
    }
}

/// Writes links of Rust's documentation, such as `[a name](path)`, as their text.
fn write_links_as_code(schema: &mut Schema) {
    let Some(Value::String(description)) = schema.get_mut("description") else { return };
    let mut text = String::new();
    let mut rest = description.as_str();
    while let Some((before, after)) = rest.split_once('[') {
        let Some((link, after)) = after.split_once(']') else { break };
        text.extend([before, link]);
        rest = after.strip_prefix('(').and_then(|target| target.split_once(')')).map_or(after, |(_, after)| after);
    }
    text.push_str(rest);
    *description = text;
}
