//! The host that a request was sent to.

use std::net::IpAddr;

use axum::http::{HeaderMap, header::HOST, uri::Authority};

/// Whether a request was sent to one of this machine's own names: `localhost`, `127.0.0.1` or `[::1]`, with any port. True
/// without a `host` header, which all browsers send.
///
/// A service that trusts all clients on its machine must refuse other requests. Otherwise a web page whose name resolves
/// to 127.0.0.1 could send requests (DNS rebinding).
///
/// ```
/// use axum::http::{HeaderMap, HeaderValue, header::HOST};
/// use brigade_edge::is_sent_to_loopback;
///
/// let to = |host| HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))]);
/// assert!(is_sent_to_loopback(&to("localhost:8080")));
/// assert!(!is_sent_to_loopback(&to("evil.example:8080")));
/// ```
pub fn is_sent_to_loopback(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST) else { return true };
    let Ok(authority) = Authority::try_from(host.as_bytes()) else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}
