//! What the head of a response says.

use brigade_core::RateLimits;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;

use super::rate_limits::{self, RateLimitHeaders};

/// What the head of a response says.
#[derive(Debug)]
pub(crate) struct ResponseHead {
    pub(crate) status: StatusCode,
    /// The provider's id of the exchange.
    pub(crate) request_id: Option<String>,
    pub(crate) limits: RateLimits,
    /// The provider's own word on whether to ask again (`x-should-retry`); OpenAI and Anthropic overrule with it what a
    /// status says.
    pub(crate) should_retry: Option<bool>,
    /// A `retry-after` was there that makes no sense.
    pub(crate) retry_after_rejected: bool,
}

impl ResponseHead {
    pub(crate) fn new(status: StatusCode, headers: &HeaderMap) -> Self {
        Self::read(status, headers, Timestamp::now())
    }

    /// One pass over what came costs a fraction of a look-up for each of the three dozen names that may come.
    pub(crate) fn read(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Self {
        let mut request_id = None;
        let mut should_retry = None;
        let mut asked_to_wait = false;
        let mut allowances = RateLimitHeaders::default();
        for (name, value) in headers {
            match name.as_str() {
                "x-should-retry" => should_retry = should_retry.or_else(|| rate_limits::filled(value)?.parse().ok()),
                "retry-after" | "retry-after-ms" => asked_to_wait = true,
                name => match request_id_rank(name) {
                    Some(rank) => {
                        let id = rate_limits::filled(value).map(|id| (rank, id));
                        request_id = [request_id, id].into_iter().flatten().min_by_key(|(rank, _)| *rank);
                    }
                    None => allowances.add(name, value, now),
                },
            }
        }
        let retry_after = if asked_to_wait { rate_limits::retry_after(headers, now) } else { Ok(None) };
        Self {
            status,
            request_id: request_id.map(|(_, id)| id.to_owned()),
            retry_after_rejected: retry_after.is_err(),
            limits: allowances.limits(retry_after.unwrap_or_default()),
            should_retry,
        }
    }
}

/// Which of the names for an id of the exchange this is, from the best on.
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
