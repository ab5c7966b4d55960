//! Tells clients which of their tools an agent does not have.

use axum::{
    http::{HeaderName, HeaderValue},
    response::Response,
};

/// The names of tools of the client that the agent does not have, because it has a tool of its own with this name, or because
/// only the servers of the vendor have such a tool.
pub(super) const IGNORED_TOOLS: HeaderName = HeaderName::from_static("x-brigade-ignored-tools");

/// Clients limit the size of a header.
const MAX_BYTES: usize = 1 << 10;

/// Adds the names to a response, as many as fit.
pub(super) fn named(mut response: Response, ignored: &[String]) -> Response {
    let mut names = String::new();
    for name in ignored.iter().filter(|name| name.is_ascii()) {
        if names.len() + name.len() > MAX_BYTES {
            break;
        }
        let gap = if names.is_empty() { "" } else { ", " };
        names = format!("{names}{gap}{name}");
    }
    if !names.is_empty()
        && let Ok(names) = HeaderValue::from_str(&names)
    {
        response.headers_mut().insert(IGNORED_TOOLS, names);
    }
    response
}
