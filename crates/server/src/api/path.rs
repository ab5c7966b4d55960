//! Parameters of paths.

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};

use super::ApiError;

/// The `{id}` of a path. A path that cannot be decoded is an [`ApiError`].
#[derive(Debug)]
pub(crate) struct PathId(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let id = Path::from_request_parts(parts, state).await;
        id.map(|Path(id)| Self(id)).map_err(|rejection| ApiError::field("id", rejection.body_text()))
    }
}
