//! The status and headers of a response.

use brigade_core::RateLimits;
use http::{HeaderMap, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use reqwest::Url;

use super::rate_limits::{self, RateLimitHeaders};

/// What the status and headers of a response say.
#[derive(Debug)]
pub(crate) struct ResponseHead {
    pub(crate) status: StatusCode,
    /// The provider's id of the request.
    pub(crate) request_id: Option<String>,
    pub(crate) limits: RateLimits,
    /// The provider's retry advice (`x-should-retry`), with which OpenAI and Anthropic override the status.
    pub(crate) should_retry: Option<bool>,
    /// The response had a `retry-after` that is not valid.
    pub(crate) retry_after_rejected: bool,
    /// The origin that a redirect names.
    pub(crate) location: Option<String>,
    /// The time by the server's clock.
    pub(crate) now: Timestamp,
}

/// A smaller difference between two clocks is that of `Date`, which has whole seconds.
const MIN_SKEW: SignedDuration = SignedDuration::from_secs(2);

impl ResponseHead {
    pub(crate) fn new(status: StatusCode, headers: &HeaderMap) -> Self {
        Self::read(status, headers, Timestamp::now())
    }

    pub(crate) fn read(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Self {
        let now = server_time(headers, now);
        let mut request_id = None;
        let mut should_retry = None;
        let mut has_retry_after = false;
        let mut allowances = RateLimitHeaders::default();
        for (name, value) in headers {
            match name.as_str() {
                "x-should-retry" => should_retry = should_retry.or_else(|| rate_limits::filled(value)?.parse().ok()),
                "retry-after" | "retry-after-ms" => has_retry_after = true,
                name => match request_id_rank(name) {
                    Some(rank) => {
                        let id = rate_limits::filled(value).map(|id| (rank, id));
                        request_id = [request_id, id].into_iter().flatten().min_by_key(|(rank, _)| *rank);
                    }
                    None => allowances.add(name, value, now),
                },
            }
        }
        let retry_after = if has_retry_after { rate_limits::retry_after(headers, now) } else { Ok(None) };
        Self {
            status,
            request_id: request_id.map(|(_, id)| id.to_owned()),
            retry_after_rejected: retry_after.is_err(),
            limits: allowances.limits(retry_after.unwrap_or_default()),
            should_retry,
            location: status.is_redirection().then(|| location(headers)).flatten(),
            now,
        }
    }
}

/// The time by the server's clock, to which its dates refer. <https://www.rfc-editor.org/rfc/rfc9110#section-6.6.1>
fn server_time(headers: &HeaderMap, local: Timestamp) -> Timestamp {
    let date = headers.get(header::DATE).and_then(rate_limits::filled);
    let date = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()).map(|date| date.timestamp());
    date.filter(|date| date.duration_since(local).abs() >= MIN_SKEW).unwrap_or(local)
}

/// Where a redirect leads, without the path and the query, which may quote the request.
fn location(headers: &HeaderMap) -> Option<String> {
    let location = headers.get(header::LOCATION).and_then(rate_limits::filled)?;
    match Url::parse(location) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Some(url.origin().ascii_serialization()),
        Ok(_) => None,
        Err(_) => Some("another path of the same server".to_owned()),
    }
}

/// The rank of a header that holds a request id; the lowest is used.
fn request_id_rank(name: &str) -> Option<u8> {
    Some(match name {
        "x-request-id" => 0,
        "request-id" => 1,
        "mistral-correlation-id" => 2,
        "x-generation-id" => 3,
        "apim-request-id" => 4,
        _ => return None,
    })
}
