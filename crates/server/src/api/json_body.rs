//! JSON request bodies with exact error messages.

use std::{fmt, marker::PhantomData, sync::Arc};

use axum::{
    extract::{FromRequest, Request},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CONTENT_ENCODING, CONTENT_TYPE},
    },
};
use brigade_edge::{read_body, reword};
use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{
        self, DeserializeOwned, MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};
use serde_json::{Number, error::Category};

use super::{ApiError, api::Api, error_code::ErrorCode};

/// A request body of JSON that deserializes to `T`.
#[derive(Debug)]
pub(crate) struct JsonBody<T>(pub(crate) T);

/// Deserializes only from a JSON object. Derived implementations also accept an array of the fields' values, which would
/// hide a mistake of the client.
#[derive(Debug, Clone, Copy, Default, Serialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Object<T>(pub(crate) T);

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
pub(crate) enum TextOr<T> {
    Text(String),
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
pub(crate) fn whole<'de, D: Deserializer<'de>, T: TryFrom<i64>>(deserializer: D) -> Result<Option<T>, D::Error> {
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

impl<T: DeserializeOwned> FromRequest<Arc<Api>> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, ApiError> {
        // Browsers let pages of other sites send text and forms to any address, but not JSON.
        if !is_json(request.headers()) {
            let message = "the body must be JSON; send the header `content-type: application/json`";
            return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorCode::NotJson, message));
        }
        let is_encoded = |encoding: &HeaderValue| !encoding.as_bytes().eq_ignore_ascii_case(b"identity");
        if request.headers().get(CONTENT_ENCODING).is_some_and(is_encoded) {
            let message = "the body must not be compressed; send it without the header `content-encoding`";
            return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorCode::NotJson, message));
        }
        let bytes = read_body(request.into_body(), api.max_body).await?;
        parse(&bytes).map(Self)
    }
}

/// Parses JSON. The parser limits the depth of nesting.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // Some clients begin with a byte order mark.
    let mut json = serde_json::Deserializer::from_slice(bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes));
    let value = serde_path_to_error::deserialize::<_, Object<T>>(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let error = error.into_inner();
        let text = error.to_string();
        let (text, _) = text.rsplit_once(" at line ").unwrap_or((&text, ""));
        let problem = match error.classify() {
            Category::Data => reword(text),
            _ if text == "number out of range" => "the number is too large".to_owned(),
            _ if text.ends_with("hex escape") => "`\\ud83d` and its like are half a character; send both".to_owned(),
            _ => return not_json(&error),
        };
        match &*path {
            "." => ApiError::invalid(format!("the body: {problem}")),
            path => ApiError::field(path, format!("`{path}`: {problem}")),
        }
    })?;
    json.end().map_err(|error| not_json(&format_args!("there is more after its end: {error}")))?;
    Ok(value.0)
}

fn not_json(why: &dyn fmt::Display) -> ApiError {
    ApiError { code: ErrorCode::InvalidJson, ..ApiError::invalid(format!("the body is not valid JSON: {why}")) }
}

fn is_json(headers: &HeaderMap) -> bool {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case("application/json")
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
