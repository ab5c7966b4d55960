//! Response headers, as each vendor sends them.

use std::time::Duration;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, SERVER};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::{SignedDuration, Timestamp};

use crate::limits::limiter::{BucketLevel, LimitStatus};
use crate::protocol::dialect::WireDialect;
use crate::protocol::ids::Ids;

/// The id of the `number`th call, in the vendor's form.
pub(crate) fn request_id(dialect: WireDialect, number: u64) -> String {
    let mut ids = Ids::new(number);
    match dialect {
        WireDialect::Anthropic => ids.letters("req_011C", 20),
        WireDialect::OpenaiChat | WireDialect::OpenaiResponses => ids.hex("req_", 32),
    }
}

/// The headers of a response.
pub(crate) fn standard(dialect: WireDialect, stream: bool, id: &str, limits: &LimitStatus) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(24);
    let content_type = if stream { "text/event-stream; charset=utf-8" } else { "application/json" };
    map.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    map.insert(SERVER, HeaderValue::from_static("cloudflare"));
    map.insert("cf-cache-status", HeaderValue::from_static("DYNAMIC"));
    if stream {
        map.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    match dialect {
        WireDialect::Anthropic => {
            set(&mut map, "request-id", id);
            map.insert("x-robots-tag", HeaderValue::from_static("none"));
            anthropic_limits(&mut map, limits);
        }
        WireDialect::OpenaiChat | WireDialect::OpenaiResponses => {
            set(&mut map, "x-request-id", id);
            let exposed = HeaderValue::from_static("X-Request-ID");
            map.insert("access-control-expose-headers", exposed);
            map.insert("openai-version", HeaderValue::from_static("2020-10-01"));
            map.insert("openai-processing-ms", HeaderValue::from_static("42"));
            openai_limits(&mut map, limits);
        }
    }
    map
}

/// Adds whether and when a failed call should be retried.
pub(crate) fn add_retry_headers(map: &mut HeaderMap, dialect: WireDialect, status: u16, wait: Option<Duration>) {
    if dialect == WireDialect::Anthropic {
        let should_retry = matches!(status, 408 | 409 | 429 | 500..);
        map.insert("x-should-retry", HeaderValue::from_static(if should_retry { "true" } else { "false" }));
    }
    let Some(wait) = wait else {
        return;
    };
    let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    map.insert(RETRY_AFTER, millis.div_ceil(1000).max(1).into());
    if dialect != WireDialect::Anthropic {
        map.insert("retry-after-ms", millis.into());
    }
}

fn openai_limits(map: &mut HeaderMap, limits: &LimitStatus) {
    let names = [
        ("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
        ("x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ];
    for ((limit, remaining, reset), level) in names.into_iter().zip([limits.requests, limits.tokens]) {
        map.insert(limit, level.limit.into());
        map.insert(remaining, level.remaining.into());
        set(map, reset, &go_duration(level.reset));
    }
}

fn anthropic_limits(map: &mut HeaderMap, limits: &LimitStatus) {
    let names = [
        (
            "anthropic-ratelimit-requests-limit",
            "anthropic-ratelimit-requests-remaining",
            "anthropic-ratelimit-requests-reset",
        ),
        (
            "anthropic-ratelimit-input-tokens-limit",
            "anthropic-ratelimit-input-tokens-remaining",
            "anthropic-ratelimit-input-tokens-reset",
        ),
        (
            "anthropic-ratelimit-output-tokens-limit",
            "anthropic-ratelimit-output-tokens-remaining",
            "anthropic-ratelimit-output-tokens-reset",
        ),
        (
            "anthropic-ratelimit-tokens-limit",
            "anthropic-ratelimit-tokens-remaining",
            "anthropic-ratelimit-tokens-reset",
        ),
    ];
    let output = BucketLevel { limit: 800_000, remaining: 800_000, reset: Duration::ZERO };
    let both = BucketLevel {
        limit: limits.tokens.limit.saturating_add(output.limit),
        remaining: limits.tokens.remaining.saturating_add(output.remaining),
        reset: limits.tokens.reset,
    };
    let levels = [limits.requests, limits.tokens, output, both];
    let now = Timestamp::now();
    for ((limit, remaining, reset), level) in names.into_iter().zip(levels) {
        map.insert(limit, level.limit.into());
        map.insert(remaining, level.remaining.into());
        set(map, reset, &rfc_3339(now, level.reset));
    }
}

fn set(map: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        map.insert(HeaderName::from_static(name), value);
    }
}

/// A time in whole seconds, rounded up so that a client that waits for it does not retry too early.
fn rfc_3339(now: Timestamp, after: Duration) -> String {
    let seconds = i64::try_from(after.as_millis().div_ceil(1000)).unwrap_or(i64::MAX);
    let moment = now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(now);
    let whole = Timestamp::from_second(moment.as_second() + i64::from(seconds > 0));
    whole.unwrap_or(moment).to_string()
}

/// A duration in the format of Go's `time.Duration`, which `OpenAI` uses: `0s`, `120ms`, `6m0s`,
/// `1m13.588s`.
fn go_duration(span: Duration) -> String {
    let millis = span.as_millis();
    let (minutes, rest) = (millis / 60_000, millis % 60_000);
    let (seconds, thousandths) = (rest / 1000, rest % 1000);
    if millis > 0 && millis < 1000 {
        return format!("{millis}ms");
    }
    let minutes = if minutes > 0 { format!("{minutes}m") } else { String::new() };
    if thousandths == 0 {
        return format!("{minutes}{seconds}s");
    }
    let fraction = format!("{thousandths:03}");
    format!("{minutes}{seconds}.{}s", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_formatted_as_in_go() {
        let spans = [
            (0, "0s"),
            (120, "120ms"),
            (1000, "1s"),
            (12_967, "12.967s"),
            (360_000, "6m0s"),
            (73_588, "1m13.588s"),
            (60_050, "1m0.05s"),
        ];
        for (millis, text) in spans {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn a_reset_is_never_too_early() {
        let now: Timestamp = "2026-01-01T00:00:00.9Z".parse().unwrap();
        assert_eq!(rfc_3339(now, Duration::from_millis(10)), "2026-01-01T00:00:02Z");
        assert_eq!(rfc_3339(now, Duration::ZERO), "2026-01-01T00:00:00Z");
    }
}
