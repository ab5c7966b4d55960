//! Requests of web pages from other origins: <https://fetch.spec.whatwg.org/#http-cors-protocol>.

use std::{sync::Arc, time::Duration};

use axum::http::{HeaderName, HeaderValue, Method, header, request::Parts};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::api::Api;

/// How long browsers may reuse the answer to a preflight request. A reload of the configuration takes effect after it.
const MAX_AGE: Duration = Duration::from_mins(10);

/// Answers preflight requests, and lets pages of the configured origins read responses. Never with cookies: requests are
/// authenticated by their key alone.
pub(super) fn layer(api: &Arc<Api>) -> CorsLayer {
    let api = Arc::clone(api);
    let is_allowed = move |origin: &HeaderValue, _: &Parts| api.setup().allows_origin(origin);
    let exposed = [
        header::LOCATION,
        header::RETRY_AFTER,
        HeaderName::from_static("x-request-id"),
        HeaderName::from_static("x-should-retry"),
        HeaderName::from_static("x-trace-id"),
    ];
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(is_allowed))
        .allow_methods([Method::GET, Method::POST])
        // OpenAI's clients send a dozen headers of their own.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(exposed)
        .max_age(MAX_AGE)
}
