//! JSON request bodies with exact error messages.

use std::{fmt, marker::PhantomData};

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
};
use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::error::Category;

use super::ApiError;

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

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        // Browsers let pages of other sites send text and forms to any address, but not JSON.
        if !is_json(request.headers()) {
            let message = "the body must be JSON; send the header `content-type: application/json`";
            return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", message));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "the body is larger than the limit `server.max_body`; send a shorter conversation",
            ),
            _ => ApiError::invalid("the connection ended before the whole body was received"),
        })?;
        parse(&bytes).map(Self)
    }
}

/// Parses JSON. The parser limits the depth of nesting.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize::<_, Object<T>>(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let error = error.into_inner();
        match error.classify() {
            Category::Data if path == "." => ApiError::invalid(format!("the body: {error}")),
            Category::Data => ApiError::field(path.clone(), format!("`{path}`: {error}")),
            _ => ApiError { code: "invalid_json", ..ApiError::invalid(format!("the body is not valid JSON: {error}")) },
        }
    })?;
    json.end().map_err(|error| ApiError {
        code: "invalid_json",
        ..ApiError::invalid(format!("there is more after the end of the JSON body: {error}"))
    })?;
    Ok(value.0)
}

fn is_json(headers: &HeaderMap) -> bool {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case("application/json")
}
