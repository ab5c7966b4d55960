//! Tells clients which of their tools an agent does not have.

use axum::{
    http::{HeaderName, HeaderValue},
    response::Response,
};

/// The names of tools of the client that the agent does not have, because it has a tool of its own with this name, or because
/// only the servers of the vendor have such a tool.
pub(super) const IGNORED_TOOLS: HeaderName = HeaderName::from_static("x-brigade-ignored-tools");

/// Adds the names to a response.
pub(super) fn named(mut response: Response, ignored: &[String]) -> Response {
    if !ignored.is_empty()
        && let Ok(names) = HeaderValue::from_str(&ignored.join(", "))
    {
        response.headers_mut().insert(IGNORED_TOOLS, names);
    }
    response
}
