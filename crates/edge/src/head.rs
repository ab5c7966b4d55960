//! Limits the size of a request's head.

use axum::http::{HeaderMap, Request, Uri};

use crate::RequestError;

/// Half of the size at which `serve` closes the connection.
const MAX_BYTES: usize = 32 << 10;

/// Refuses a request if its path and headers have more than 32 KiB together.
///
/// Clients send a few KiB, so this leaves room for large cookies and tokens. [`serve`](crate::serve) closes a connection
/// without an answer at about twice that size.
///
/// # Errors
///
/// [`RequestError::HeadTooLarge`].
///
/// ```
/// use axum::{extract::Request, http::StatusCode, middleware::Next, response::Response};
/// use brigade_edge::check_head;
///
/// /// Middleware for `axum::middleware::from_fn`.
/// async fn limit_head(request: Request, next: Next) -> Result<Response, (StatusCode, String)> {
///     check_head(&request).map_err(|error| (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, error.to_string()))?;
///     Ok(next.run(request).await)
/// }
/// ```
pub fn check_head<B>(request: &Request<B>) -> Result<(), RequestError> {
    let bytes = size(request.uri(), request.headers());
    if bytes > MAX_BYTES {
        return Err(RequestError::HeadTooLarge { bytes, limit: MAX_BYTES });
    }
    Ok(())
}

/// The size on the wire, where each header also has a colon, a space and a line break.
fn size(uri: &Uri, headers: &HeaderMap) -> usize {
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    path + headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>()
}
