//! The status and headers of a response.

use brigade_core::RateLimits;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;

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
}

impl ResponseHead {
    pub(crate) fn new(status: StatusCode, headers: &HeaderMap) -> Self {
        Self::read(status, headers, Timestamp::now())
    }

    pub(crate) fn read(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Self {
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
        }
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
