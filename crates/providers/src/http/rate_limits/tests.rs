use http::StatusCode;

use super::*;
use crate::http::response_head::ResponseHead;

const NOW: &str = "2025-06-02T15:14:45Z";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect::<Vec<_>>()
        .into_iter()
        .fold(HeaderMap::new(), |mut map, (name, value): (http::HeaderName, http::HeaderValue)| {
            map.append(name, value);
            map
        })
}

fn head(pairs: &[(&'static str, &str)]) -> ResponseHead {
    ResponseHead::read(StatusCode::OK, &headers(pairs), NOW.parse().unwrap())
}

fn limits(pairs: &[(&'static str, &str)]) -> RateLimits {
    head(pairs).limits
}

fn retry_after(pairs: &[(&'static str, &str)]) -> (Option<Duration>, bool) {
    let head = head(pairs);
    (head.limits.retry_after, head.retry_after_rejected)
}

#[test]
fn a_reset_that_is_too_far_is_invalid_in_every_form() {
    let year = 366 * 24 * 3600;
    for value in [
        "999999h",
        "99999999999",
        "32503680000",
        "32503680000000",
        "3000-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "inf",
        "1e300",
    ] {
        let reset = limits(&[("x-ratelimit-reset-requests", value)]).requests.reset;
        assert_eq!(reset, None, "{value}");
        let anthropic = limits(&[("anthropic-ratelimit-requests-reset", value)]).requests.reset;
        assert_eq!(anthropic, None, "{value}");
    }
    let reset = |value: &str| limits(&[("x-ratelimit-reset-requests", value)]).requests.reset;
    assert_eq!(reset("2025-06-02T15:15:45Z"), Some(Duration::from_mins(1)));
    assert_eq!(reset("2000-01-01T00:00:00Z"), Some(Duration::ZERO));
    assert_eq!(reset("8784h"), Some(Duration::from_secs(year)));
}

#[test]
fn openai_limits_are_read() {
    let limits = limits(&[
        ("x-ratelimit-limit-requests", "10000"),
        ("x-ratelimit-remaining-requests", "9999"),
        ("x-ratelimit-reset-requests", "6ms"),
        ("x-ratelimit-limit-tokens", "30000000"),
        ("x-ratelimit-remaining-tokens", "0"),
        ("x-ratelimit-reset-tokens", "1m0.052s"),
    ]);
    assert_eq!(limits.requests.reset, Some(Duration::from_millis(6)));
    assert_eq!(limits.tokens.remaining, Some(0));
    assert_eq!(exhausted_reset(&limits), Some(Duration::from_millis(60_052)));
    assert_eq!(limits.input_tokens, RateLimitStatus::default());
}

#[test]
fn anthropic_limits_are_read_and_the_exhausted_one_gives_the_wait() {
    let limits = limits(&[
        ("anthropic-ratelimit-input-tokens-limit", "200000"),
        ("anthropic-ratelimit-input-tokens-remaining", "0"),
        ("anthropic-ratelimit-input-tokens-reset", "2025-06-02T15:15:48Z"),
        ("anthropic-ratelimit-requests-limit", "4000"),
        ("anthropic-ratelimit-requests-remaining", "4000"),
        ("anthropic-ratelimit-requests-reset", "2025-06-02T15:14:40Z"),
    ]);
    assert_eq!(exhausted_reset(&limits), Some(Duration::from_secs(63)));
    assert_eq!(limits.requests.reset, Some(Duration::ZERO));
}

#[test]
fn the_lower_limit_of_organization_and_project_applies() {
    let limits = limits(&[("x-ratelimit-remaining-tokens", "500"), ("x-ratelimit-remaining-project-tokens", "20")]);
    assert_eq!(limits.tokens.remaining, Some(20));
}

#[test]
fn resets_of_all_forms_are_read() {
    let reset = |value: &str| limits(&[("x-ratelimit-reset-requests", value)]).requests.reset;
    assert_eq!(reset("0s"), Some(Duration::ZERO));
    assert_eq!(reset("6m0s"), Some(Duration::from_mins(6)));
    assert_eq!(reset("1h2m3s"), Some(Duration::from_secs(3723)));
    assert_eq!(reset("10.332999999s"), Some(Duration::from_nanos(10_332_999_999)));
    assert_eq!(reset("2.5"), Some(Duration::from_millis(2500)));
    assert_eq!(reset("1748877290"), Some(Duration::from_secs(5)));
    assert_eq!(reset("1748877290000"), Some(Duration::from_secs(5)));
    for invalid in ["soon", "-1", "NaN", "1x", "s", "1m-3s", "99999999h"] {
        assert_eq!(reset(invalid), None, "{invalid}");
    }
}

#[test]
fn milliseconds_override_seconds() {
    assert_eq!(
        retry_after(&[("retry-after", "1"), ("retry-after-ms", "494")]),
        (Some(Duration::from_millis(494)), false)
    );
    assert_eq!(retry_after(&[("retry-after", "1"), ("retry-after-ms", "0")]), (Some(Duration::from_secs(1)), false));
    assert_eq!(retry_after(&[("retry-after", "86400")]), (Some(Duration::from_hours(24)), false));
    let date = "Mon, 02 Jun 2025 15:15:00 GMT";
    assert_eq!(retry_after(&[("retry-after", date)]), (Some(Duration::from_secs(15)), false));
    assert_eq!(retry_after(&[]), (None, false));
}

#[test]
fn an_invalid_retry_after_counts_as_absent() {
    for value in ["-1", "banana", "NaN", "inf", "1e300", "Mon, 02 Jun 2025 15:14:00 GMT", "99999999999999999999"] {
        assert_eq!(retry_after(&[("retry-after", value)]), (None, true), "{value}");
    }
    assert_eq!(retry_after(&[("retry-after", "1"), ("retry-after", "9")]), (None, true));
}

#[test]
fn the_preferred_request_id_header_is_used() {
    let id = |pairs| head(pairs).request_id;
    assert_eq!(id(&[("apim-request-id", "a"), ("x-request-id", "b"), ("request-id", "c")]).as_deref(), Some("b"));
    assert_eq!(id(&[("x-request-id", " "), ("x-generation-id", "g")]).as_deref(), Some("g"));
    assert_eq!(id(&[("cf-ray", "1")]), None);
}

#[test]
fn the_providers_retry_advice_is_read() {
    assert_eq!(head(&[("x-should-retry", "false")]).should_retry, Some(false));
    assert_eq!(head(&[("x-should-retry", "perhaps")]).should_retry, None);
}
