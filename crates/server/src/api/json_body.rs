//! JSON request bodies with exact error messages.

use std::{fmt, marker::PhantomData, sync::Arc, time::Duration};

use axum::{
    body::{Body, HttpBody as _},
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
};
use futures::StreamExt as _;
use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{
        self, DeserializeOwned, MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};
use serde_json::{Number, error::Category};
use tokio::time::{Instant, timeout_at};

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

/// Deserializes a whole number. Languages without integers write `1.0`.
pub(crate) fn whole<'de, D: Deserializer<'de>, T: TryFrom<i64>>(deserializer: D) -> Result<Option<T>, D::Error> {
    let Some(number) = Option::<Number>::deserialize(deserializer)? else { return Ok(None) };
    let invalid = || de::Error::custom(format!("`{number}` is not a valid number here; write a whole one"));
    let whole = match (number.as_i64(), number.as_u64(), number.as_f64()) {
        (Some(whole), ..) => whole,
        // More than any limit.
        (None, Some(_), _) => i64::MAX,
        #[expect(clippy::cast_possible_truncation, reason = "a float converts to the nearest integer")]
        (None, None, Some(float)) if float.fract() == 0.0 && float.abs() < TOO_LARGE => float as i64,
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
        let bytes = read(request.into_body(), api.max_body).await?;
        parse(&bytes).map(Self)
    }
}

/// How long a body may take at least.
const GRACE: Duration = Duration::from_secs(10);

/// The least number of bytes per second after that, far below the slowest mobile connection.
const LEAST_RATE: u32 = 1_024;

/// Reads a body of at most `limit` bytes. Its bytes are copied, because each piece may be a small part of a large buffer.
async fn read(body: Body, limit: usize) -> Result<Vec<u8>, ApiError> {
    let too_large = || {
        let message = "the body is larger than the limit `server.max_body`; send a shorter conversation";
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::BodyTooLarge, message)
    };
    if body.size_hint().lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(too_large());
    }
    let began = Instant::now();
    let (mut bytes, mut pieces) = (Vec::new(), body.into_data_stream());
    loop {
        let earned = Duration::from_secs(1) * u32::try_from(bytes.len()).unwrap_or(u32::MAX) / LEAST_RATE;
        let piece = match timeout_at(began + GRACE + earned, pieces.next()).await {
            Ok(None) => return Ok(bytes),
            Ok(Some(Ok(piece))) => piece,
            Ok(Some(Err(_))) => {
                return Err(ApiError::invalid("the connection ended before the whole body was received"));
            }
            Err(_) => {
                let seconds = began.elapsed().as_secs();
                let message =
                    format!("{} bytes of the body came in {seconds} s, which is too slow; retry", bytes.len());
                return Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, ErrorCode::BodyTooSlow, message));
            }
        };
        if bytes.len() + piece.len() > limit {
            return Err(too_large());
        }
        bytes.extend_from_slice(&piece);
    }
}

/// Parses JSON. The parser limits the depth of nesting.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // Some clients begin with a byte order mark.
    let mut json = serde_json::Deserializer::from_slice(bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes));
    let value = serde_path_to_error::deserialize::<_, Object<T>>(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let error = error.into_inner();
        match error.classify() {
            Category::Data if path == "." => ApiError::invalid(format!("the body: {error}")),
            Category::Data => ApiError::field(path.clone(), format!("`{path}`: {error}")),
            _ => ApiError {
                code: ErrorCode::InvalidJson,
                ..ApiError::invalid(format!("the body is not valid JSON: {error}"))
            },
        }
    })?;
    json.end().map_err(|error| ApiError {
        code: ErrorCode::InvalidJson,
        ..ApiError::invalid(format!("there is more after the end of the JSON body: {error}"))
    })?;
    Ok(value.0)
}

fn is_json(headers: &HeaderMap) -> bool {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use futures::stream;

    use super::*;

    /// A body of these pieces, each after a pause.
    fn body(pieces: usize, size: usize, pause: Duration) -> Body {
        Body::from_stream(stream::unfold(pieces, move |left| async move {
            let left = left.checked_sub(1)?;
            tokio::time::sleep(pause).await;
            // A small part of a large buffer, as a connection hands it out.
            Some((Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; 8 << 10]).slice(..size)), left))
        }))
    }

    #[test]
    fn whole_numbers_are_taken_in_any_spelling_but_not_beyond_64_bits() {
        let read = |json: &str| whole::<_, u64>(&mut serde_json::Deserializer::from_str(json)).ok();
        for (json, number) in [("null", None), ("100", Some(100)), ("100.0", Some(100)), ("1e3", Some(1_000))] {
            assert_eq!(read(json), Some(number), "{json}");
        }
        for json in ["1.5", "-1", "18446744073709551616", "1e300", "\"1\""] {
            assert_eq!(read(json), None, "{json}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_is_refused() {
        let began = Instant::now();
        let error = read(body(usize::MAX, 1, Duration::from_secs(1)), 1 << 20).await.unwrap_err();
        assert_eq!((error.status.as_u16(), error.code), (408, ErrorCode::BodyTooSlow));
        assert_eq!(began.elapsed().as_secs(), 10);
        let silent = read(body(1, 1, Duration::from_hours(1)), 1 << 20).await.unwrap_err();
        assert_eq!(silent.code, ErrorCode::BodyTooSlow);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_but_steady_body_is_taken() {
        let bytes = read(body(100, 2_048, Duration::from_secs(1)), 1 << 20).await.unwrap();
        assert_eq!(bytes.len(), 204_800);
    }

    #[tokio::test]
    async fn a_byte_of_a_body_costs_a_byte() {
        let bytes = read(body(5_000, 1, Duration::ZERO), 1 << 20).await.unwrap();
        assert!(bytes.len() == 5_000 && bytes.capacity() <= 10_000, "{}", bytes.capacity());
    }

    #[tokio::test]
    async fn a_body_has_a_maximum_size() {
        assert_eq!(read(body(10, 100, Duration::ZERO), 1_000).await.unwrap().len(), 1_000);
        assert_eq!(read(body(11, 100, Duration::ZERO), 1_000).await.unwrap_err().code, ErrorCode::BodyTooLarge);
        assert_eq!(read(Body::from(vec![0; 1_001]), 1_000).await.unwrap_err().code, ErrorCode::BodyTooLarge);
    }
}
