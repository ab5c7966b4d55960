//! Removes meaningless slashes from paths.

use std::convert::Infallible;

use axum::{Router, extract::Request, http::Uri, response::Response};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;

/// Removes meaningless slashes. Clients join base addresses and paths with one slash too many, or end with one.
///
/// ```
/// assert_eq!(brigade_edge::without_extra_slashes("//v1/models/"), "/v1/models");
/// ```
pub fn without_extra_slashes(path: &str) -> String {
    let names = path.split('/').filter(|name| !name.is_empty());
    names.fold(String::new(), |path, name| path + "/" + name)
}

/// Answers a request that no route matches as if its path had no extra slashes. If no route
/// matches that path either, the fallback of `routes` answers.
///
/// ```
/// use axum::{Router, routing::get};
///
/// let routes: Router = Router::new().route("/v1/models", get(|| async { "None." }));
/// let routes = brigade_edge::ignore_extra_slashes(routes); // also answers `//v1/models/`
/// ```
pub fn ignore_extra_slashes(routes: Router) -> Router {
    let exact = routes.clone();
    routes.fallback(move |request| route_without_extra_slashes(exact.clone(), request))
}

async fn route_without_extra_slashes(routes: Router, mut request: Request) -> Result<Response, Infallible> {
    let uri = request.uri();
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    // Fails only if the path is longer than the maximum of `Uri`; then it stays as it is.
    if let Ok(uri) = format!("{}{query}", without_extra_slashes(uri.path())).parse::<Uri>() {
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
            assert_eq!(without_extra_slashes(path), expected);
        }
    }
}
