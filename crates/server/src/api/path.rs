//! Paths of requests.

use std::convert::Infallible;

use axum::{
    Router,
    extract::{FromRequestParts, Path, Request},
    http::{Uri, request::Parts},
    response::Response,
};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;

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

/// Removes slashes that mean nothing. Clients join base addresses and paths with one slash too many, or end with one.
pub(super) fn normalized(path: &str) -> String {
    let names = path.split('/').filter(|name| !name.is_empty());
    names.fold(String::new(), |path, name| path + "/" + name)
}

/// Answers a request that no route matched, as if its path had no superfluous slashes.
pub(super) async fn route_normalized(routes: Router, mut request: Request) -> Result<Response, Infallible> {
    let uri = request.uri();
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    // Fails only for a path that is longer than a path may be.
    if let Ok(uri) = format!("{}{query}", normalized(uri.path())).parse::<Uri>() {
        *request.uri_mut() = uri;
    }
    TowerToHyperService::new(routes).call(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn superfluous_slashes_are_removed() {
        for (path, expected) in [
            ("/v1/models", "/v1/models"),
            ("//v1//models/", "/v1/models"),
            ("/v1/models///", "/v1/models"),
            ("//", ""),
            ("/v1/runs/%2f/", "/v1/runs/%2f"),
        ] {
            assert_eq!(normalized(path), expected);
        }
    }
}
