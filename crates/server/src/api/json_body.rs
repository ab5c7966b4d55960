//! JSON request bodies with exact error messages.

use std::{fmt, sync::Arc};

use axum::{
    extract::{FromRequest, Request},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CONTENT_ENCODING, CONTENT_TYPE},
    },
};
use brigade_edge::{Object, read_body, reword};
use brigade_openai::ErrorCode;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::{ApiError, api::Api};

/// A request body of JSON that deserializes to `T`.
#[derive(Debug)]
pub(crate) struct JsonBody<T>(pub(crate) T);

/// Like [`JsonBody`], with the text of the body, which may be stored.
#[derive(Debug)]
pub(crate) struct JsonText<T>(pub(crate) T, pub(crate) Vec<u8>);

impl<T: DeserializeOwned> FromRequest<Arc<Api>> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, ApiError> {
        JsonText::from_request(request, api).await.map(|JsonText(body, _)| Self(body))
    }
}

impl<T: DeserializeOwned> FromRequest<Arc<Api>> for JsonText<T> {
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
        parse(&bytes).map(|body| Self(body, bytes))
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
