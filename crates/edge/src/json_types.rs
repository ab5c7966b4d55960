//! Types of fields in JSON bodies that take what clients send, and say exactly what is wrong.

use std::{fmt, marker::PhantomData};

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{
        self, MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};
use serde_json::Number;

/// Deserializes only from a JSON object. Derived implementations also accept an array of the fields' values, which would
/// hide a mistake of the client.
#[derive(Debug, Clone, Copy, Default, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData)).map(Self)
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(fields))
    }
}

/// A text, or a value of another type. Unlike an untagged enum, it reports what is wrong inside the value.
#[derive(Debug, Clone, PartialEq, JsonSchema)]
#[schemars(untagged)]
pub enum TextOr<T> {
    /// A text.
    Text(String),
    /// A value of the other type.
    Other(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for TextOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrVisitor(PhantomData))
    }
}

struct TextOrVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for TextOrVisitor<T> {
    type Value = TextOr<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string, or the structured form that the documentation describes")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<TextOr<T>, E> {
        Ok(TextOr::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<TextOr<T>, A::Error> {
        T::deserialize(SeqAccessDeserializer::new(items)).map(TextOr::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<TextOr<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(fields)).map(TextOr::Other)
    }
}

/// 2^64. Counts are below it.
const TOO_LARGE: f64 = 18_446_744_073_709_551_616.0;
/// -2^63. Integers below it are read as this float.
const TOO_SMALL: f64 = -9_223_372_036_854_775_808.0;

/// Deserializes a whole number. Languages without integers write `1.0`.
pub fn whole<'de, D: Deserializer<'de>, T: TryFrom<i64>>(deserializer: D) -> Result<Option<T>, D::Error> {
    let Some(number) = Option::<Number>::deserialize(deserializer)? else { return Ok(None) };
    let invalid = || de::Error::custom(format!("`{number}` is not a valid number here; write a whole one"));
    let whole = match (number.as_i64(), number.as_u64(), number.as_f64()) {
        (Some(whole), ..) => whole,
        // More than any limit.
        (None, Some(_), _) => i64::MAX,
        #[expect(clippy::cast_possible_truncation, reason = "a float converts to the nearest integer")]
        (None, None, Some(float)) if float.fract() == 0.0 && float > TOO_SMALL && float < TOO_LARGE => float as i64,
        _ => return Err(invalid()),
    };
    T::try_from(whole).map(Some).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_taken_in_any_spelling_but_not_beyond_64_bits() {
        let read = |json: &str| whole::<_, u64>(&mut serde_json::Deserializer::from_str(json)).ok();
        for (json, number) in [("null", None), ("100", Some(100)), ("100.0", Some(100)), ("1e3", Some(1_000))] {
            assert_eq!(read(json), Some(number), "{json}");
        }
        for json in ["1.5", "-1", "18446744073709551616", "1e300", "\"1\""] {
            assert_eq!(read(json), None, "{json}");
        }
        let read = |json: &str| whole::<_, i64>(&mut serde_json::Deserializer::from_str(json)).ok();
        assert_eq!(read("-9223372036854775808"), Some(Some(i64::MIN)));
        assert_eq!(read("-9223372036854775809"), None);
    }
}
