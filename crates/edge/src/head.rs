//! Limits the size of a request's head.

use axum::{
    extract::Request,
    http::{HeaderMap, StatusCode, Uri},
    middleware::Next,
    response::Response,
};

use super::{ApiError, error_code::ErrorCode};

/// Clients send a few KiB; this leaves room for large cookies and tokens. The connection's own limit, at which it is closed
/// without an answer, is twice as high.
const MAX_BYTES: usize = 32 << 10;

/// Middleware that refuses a request whose head is too large.
pub(super) async fn limit(request: Request, next: Next) -> Result<Response, ApiError> {
    let bytes = size(request.uri(), request.headers());
    if bytes > MAX_BYTES {
        let message =
            format!("the head of the request has {bytes} bytes, the limit is {MAX_BYTES}; send fewer headers");
        return Err(ApiError::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, ErrorCode::HeadTooLong, message));
    }
    Ok(next.run(request).await)
}

/// The size on the wire, where each header also has a colon, a space and a line break.
fn size(uri: &Uri, headers: &HeaderMap) -> usize {
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    path + headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>()
}
