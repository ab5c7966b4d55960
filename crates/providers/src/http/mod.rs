//! Sends HTTP requests and interprets what every provider answers in the same way: heads, rate limits, errors, streams.

pub(crate) mod account;
mod error_rules;
pub(crate) mod http_client;
pub(crate) mod in_flight;
pub(crate) mod provider_error;
pub(crate) mod rate_limits;
pub(crate) mod request_content;
pub(crate) mod response_head;
pub(crate) mod sse;
mod suggested_wait;
