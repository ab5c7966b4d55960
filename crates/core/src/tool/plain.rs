//! The part of JSON Schema that most tools stay within, checked without a compiled validator.
//!
//! A validator for the whole of JSON Schema begins with the meta-schemas of all its drafts, which costs each program
//! some milliseconds and megabytes. This check is only ever sure of a yes: whoever gets a no asks the validator, which
//! also knows how to explain it.

use serde_json::{Map, Value};

/// A schema of types, properties, items, listed strings and bounds.
#[derive(Debug, PartialEq)]
pub(super) struct Plain {
    types: Option<Vec<Type>>,
    /// One of these strings.
    listed: Option<Vec<String>>,
    minimum: Option<i64>,
    maximum: Option<i64>,
    properties: Vec<(String, Plain)>,
    required: Vec<String>,
    /// No property but those named.
    closed: bool,
    items: Option<Box<Plain>>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Type {
    Null,
    Boolean,
    Integer,
    Number,
    String,
    Array,
    Object,
}

/// The schema is unsound, or says more than this check knows.
struct Unknown;

impl Plain {
    /// The schema, if it is sound and says nothing that this check does not know.
    pub(super) fn of(schema: &Value) -> Option<Self> {
        Self::read(schema.as_object()?).ok()
    }

    fn read(schema: &Map<String, Value>) -> Result<Self, Unknown> {
        let annotations_are_sound = ANNOTATIONS.iter().all(|name| schema.get(*name).is_none_or(Value::is_string));
        if !annotations_are_sound || !schema.keys().all(|keyword| is_known(keyword)) {
            return Err(Unknown);
        }
        Ok(Self {
            types: optional(schema, "type", types)?,
            listed: optional(schema, "enum", strings)?,
            minimum: optional(schema, "minimum", Value::as_i64)?,
            maximum: optional(schema, "maximum", Value::as_i64)?,
            properties: optional(schema, "properties", properties)?.unwrap_or_default(),
            required: optional(schema, "required", strings)?.unwrap_or_default(),
            closed: optional(schema, "additionalProperties", Value::as_bool)? == Some(false),
            items: optional(schema, "items", Self::of)?.map(Box::new),
        })
    }

    /// Whether the value certainly fits.
    pub(super) fn admits(&self, value: &Value) -> bool {
        let of_type = self.types.as_ref().is_none_or(|types| types.iter().any(|one| one.admits(value)));
        let in_list = self.listed.as_ref().is_none_or(|list| list.iter().any(|listed| value.as_str() == Some(listed)));
        of_type && in_list && self.admits_number(value) && self.admits_items(value) && self.admits_fields(value)
    }

    fn admits_number(&self, value: &Value) -> bool {
        if !value.is_number() || (self.minimum.is_none() && self.maximum.is_none()) {
            return true;
        }
        let within =
            |number| self.minimum.is_none_or(|least| least <= number) && self.maximum.is_none_or(|most| number <= most);
        value.as_i64().is_some_and(within)
    }

    fn admits_items(&self, value: &Value) -> bool {
        let (Some(schema), Value::Array(items)) = (&self.items, value) else { return true };
        items.iter().all(|item| schema.admits(item))
    }

    fn admits_fields(&self, value: &Value) -> bool {
        let Value::Object(fields) = value else { return true };
        let named = |name: &str| self.properties.iter().find(|(property, _)| property == name);
        self.required.iter().all(|name| fields.contains_key(name))
            && fields.iter().all(|(name, field)| named(name).map_or(!self.closed, |(_, schema)| schema.admits(field)))
    }
}

impl Type {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "null" => Self::Null,
            "boolean" => Self::Boolean,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "string" => Self::String,
            "array" => Self::Array,
            "object" => Self::Object,
            _ => return None,
        })
    }

    fn admits(self, value: &Value) -> bool {
        match self {
            Self::Null => value.is_null(),
            Self::Boolean => value.is_boolean(),
            // Whether 1.0 is an integer is for the validator to say.
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Number => value.is_number(),
            Self::String => value.is_string(),
            Self::Array => value.is_array(),
            Self::Object => value.is_object(),
        }
    }
}

const CHECKED: [&str; 8] =
    ["type", "enum", "minimum", "maximum", "properties", "required", "additionalProperties", "items"];

/// They say something, but demand nothing. Formats are not asserted in the draft that holds where none is named.
const ANNOTATIONS: [&str; 3] = ["title", "description", "format"];

fn is_known(keyword: &str) -> bool {
    CHECKED.contains(&keyword) || ANNOTATIONS.contains(&keyword) || keyword == "default"
}

/// What a keyword says, if it is there.
fn optional<'a, T>(
    schema: &'a Map<String, Value>,
    keyword: &str,
    read: impl Fn(&'a Value) -> Option<T>,
) -> Result<Option<T>, Unknown> {
    schema.get(keyword).map(|value| read(value).ok_or(Unknown)).transpose()
}

fn types(value: &Value) -> Option<Vec<Type>> {
    match value {
        Value::String(name) => Some(vec![Type::named(name)?]),
        Value::Array(names) if !names.is_empty() => distinct(names.iter().map(|name| Type::named(name.as_str()?))),
        _ => None,
    }
}

fn strings(value: &Value) -> Option<Vec<String>> {
    distinct(value.as_array()?.iter().map(|string| string.as_str().map(str::to_owned)))
}

fn distinct<T: PartialEq>(items: impl Iterator<Item = Option<T>>) -> Option<Vec<T>> {
    let mut seen = Vec::new();
    for item in items {
        let item = item?;
        if seen.contains(&item) {
            return None;
        }
        seen.push(item);
    }
    Some(seen)
}

fn properties(value: &Value) -> Option<Vec<(String, Plain)>> {
    value.as_object()?.iter().map(|(name, schema)| Some((name.clone(), Plain::of(schema)?))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn name() -> impl Strategy<Value = String> {
        prop::sample::select(vec!["a", "b", "c"]).prop_map(str::to_owned)
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-3_i64..9).prop_map(Value::from),
            Just(json!(u64::MAX)),
            prop::sample::select(vec![-1.0, 0.5, 2.0]).prop_map(Value::from),
            name().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map(name(), inner, 0..3).prop_map(|fields| fields.into_iter().collect()),
            ]
        })
    }

    /// Schemas of the keywords that are known here, sound and unsound.
    fn any_schema() -> impl Strategy<Value = Value> {
        let types = vec!["null", "boolean", "integer", "number", "string", "array", "object", "text"];
        let one = prop::sample::select(types).prop_map(Value::from);
        let types = prop_oneof![one.clone(), prop::collection::vec(one, 0..3).prop_map(Value::from)];
        let names = || prop::collection::vec(name(), 0..3).prop_map(Value::from);
        let bound = || prop_oneof![(-2_i64..5).prop_map(Value::from), Just(json!(1.5)), Just(json!("1"))];
        let leaf = prop::collection::vec(
            prop_oneof![
                4 => types.prop_map(|value| ("type", value)),
                1 => names().prop_map(|value| ("enum", value)),
                2 => bound().prop_map(|value| ("minimum", value)),
                2 => bound().prop_map(|value| ("maximum", value)),
                1 => names().prop_map(|value| ("required", value)),
                1 => any::<bool>().prop_map(|value| ("additionalProperties", value.into())),
                1 => prop_oneof![Just(json!("text")), Just(json!(1))].prop_map(|value| ("description", value)),
                1 => Just(("format", json!("date-time"))),
            ],
            0..4,
        );
        let leaf =
            leaf.prop_map(|keywords| keywords.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
        leaf.prop_recursive(3, 12, 3, |inner: BoxedStrategy<Value>| {
            let properties = prop::collection::btree_map(name(), inner.clone(), 0..3);
            (inner.clone(), prop::option::of(properties), prop::option::of(inner)).prop_map(
                |(mut schema, fields, items)| {
                    let map = schema.as_object_mut().expect("made as an object");
                    map.extend(fields.map(|fields| ("properties".to_owned(), fields.into_iter().collect())));
                    map.extend(items.map(|items| ("items".to_owned(), items)));
                    schema
                },
            )
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn a_yes_is_never_contradicted_by_the_validator(schema in any_schema(), values in prop::collection::vec(any_value(), 8)) {
            if let Some(plain) = Plain::of(&schema) {
                let validator = jsonschema::validator_for(&schema).expect("a plain schema is sound");
                for value in values.iter().filter(|value| plain.admits(value)) {
                    prop_assert!(validator.is_valid(value), "{schema} does not admit {value}");
                }
            }
        }
    }

    #[test]
    fn what_tools_commonly_take_is_admitted_at_once() {
        let schema = json!({
            "type": "object",
            "description": "What to look for.",
            "properties": {
                "query": {"type": "string", "description": "In a few words."},
                "limit": {"type": ["integer", "null"], "format": "uint8", "minimum": 0, "maximum": 255, "default": null},
                "kinds": {"type": "array", "items": {"type": "string", "enum": ["book", "film"]}},
            },
            "required": ["query"],
            "additionalProperties": false,
        });
        let plain = Plain::of(&schema).unwrap();
        assert!(plain.admits(&json!({"query": "kafka", "limit": 3, "kinds": ["book"]})));
        assert!(plain.admits(&json!({"query": "kafka", "limit": null})));
        let refused = [
            json!({}),
            json!({"query": 1}),
            json!({"query": "", "limit": 256}),
            json!({"query": "", "limit": 1.0}),
            json!({"query": "", "kinds": ["song"]}),
            json!({"query": "", "more": 1}),
        ];
        assert!(refused.iter().all(|value| !plain.admits(value)));
    }

    #[test]
    fn a_schema_that_says_more_is_left_to_the_validator() {
        for schema in [json!(true), json!({"$ref": "#"}), json!({"items": {"pattern": "a"}}), json!({"type": "text"})] {
            assert_eq!(Plain::of(&schema), None);
        }
    }
}
