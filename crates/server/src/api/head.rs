//! Limits the size of a request's head.

use axum::{extract::Request, middleware::Next, response::Response};
use brigade_edge::check_head;

use super::ApiError;

/// Middleware that refuses a request whose head is too large.
pub(super) async fn limit(request: Request, next: Next) -> Result<Response, ApiError> {
    check_head(&request)?;
    Ok(next.run(request).await)
}
