//! Requests of web pages from other origins: <https://fetch.spec.whatwg.org/#http-cors-protocol>.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, request::Parts};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

/// How long browsers may reuse the answer to a preflight request. A change of the allowed origins takes effect after it.
const MAX_AGE: Duration = Duration::from_mins(10);

/// Answers preflight requests, and lets pages of the allowed origins read responses, including these
/// headers.
///
/// Pages may send GET, POST and DELETE requests with any headers, because the clients of many APIs send a dozen of their own. They
/// cannot send cookies, so the service must authenticate requests by a header. Browsers reuse the answer to a preflight
/// request for 10 minutes; a change of `is_allowed` takes effect after that.
///
/// ```
/// use axum::{Router, http::header::LOCATION};
/// use brigade_edge::{Origin, cors_layer};
///
/// let allowed: Origin = "https://app.example".parse()?;
/// let app: Router = Router::new().layer(cors_layer(move |origin| allowed.matches(origin.as_bytes()), [LOCATION]));
/// # Ok::<(), brigade_edge::ParseOriginError>(())
/// ```
pub fn cors_layer(
    is_allowed: impl Fn(&HeaderValue) -> bool + Clone + Send + Sync + 'static,
    exposed_headers: impl IntoIterator<Item = HeaderName>,
) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(move |origin: &HeaderValue, _: &Parts| is_allowed(origin)))
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(exposed_headers.into_iter().collect::<Vec<_>>())
        .max_age(MAX_AGE)
}
