//! How long the head of a request may be.

use axum::{
    extract::Request,
    http::{HeaderMap, StatusCode, Uri},
    middleware::Next,
    response::Response,
};

use super::ApiError;

/// Clients send a few KiB; so much holds every cookie and token there is. The connection's own bound, above which nothing
/// is read at all, is twice as large.
const MOST_BYTES: usize = 32 << 10;

/// Refuses a request whose head is too long, with a reason.
pub(super) async fn bound(request: Request, next: Next) -> Result<Response, ApiError> {
    let bytes = length(request.uri(), request.headers());
    if bytes > MOST_BYTES {
        let message = format!("the head of the request has {bytes} bytes; at most {MOST_BYTES} are read");
        return Err(ApiError::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_long", message));
    }
    Ok(next.run(request).await)
}

/// As it was sent: each header has a colon, a space and a line break besides.
fn length(uri: &Uri, headers: &HeaderMap) -> usize {
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    path + headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>()
}
