//! Rate limits from response headers, in one form for all providers.
//!
//! OpenAI and its look-alikes send `x-ratelimit-{limit,remaining,reset}-{requests,tokens}` with resets as Go durations
//! (`1m13.588s`, `120ms`) or bare seconds; Anthropic sends `anthropic-ratelimit-{requests,tokens,input-tokens,
//! output-tokens}-{limit,remaining,reset}` with resets in RFC 3339; Mistral has windows in the names; Together has one
//! unnamed limit.

use std::time::Duration;

use brigade_core::{RateLimitStatus, RateLimits};
use http::{HeaderMap, HeaderValue};
use jiff::{SignedDuration, Timestamp};

/// The longest plausible wait. A value beyond it is treated as invalid.
pub(super) const MAX_WAIT: Duration = Duration::from_hours(366 * 24);

/// The time until all exhausted limits are reset: the wait after a failure without `retry-after`.
pub(crate) fn exhausted_reset(limits: &RateLimits) -> Option<Duration> {
    let all = [limits.requests, limits.tokens, limits.input_tokens, limits.output_tokens];
    all.iter().filter(|allowance| allowance.remaining == Some(0)).filter_map(|allowance| allowance.reset).max()
}

/// The limits by their names in the headers.
#[derive(Debug, Default)]
pub(crate) struct RateLimitHeaders {
    requests: RateLimitStatus,
    minute_requests: RateLimitStatus,
    unnamed: RateLimitStatus,
    tokens: RateLimitStatus,
    minute_tokens: RateLimitStatus,
    project_tokens: RateLimitStatus,
    input_tokens: RateLimitStatus,
    output_tokens: RateLimitStatus,
}

/// A header value that cannot be parsed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InvalidHeader;

impl RateLimitHeaders {
    /// Adds a header, if it is about a limit.
    pub(crate) fn add(&mut self, name: &str, value: &HeaderValue, now: Timestamp) {
        let Some((limited, field)) = parts(name) else { return };
        let (Some(allowance), Some(value)) = (self.of(limited), filled(value)) else { return };
        match field {
            "limit" => allowance.limit = allowance.limit.or_else(|| value.parse().ok()),
            "remaining" => allowance.remaining = allowance.remaining.or_else(|| value.parse().ok()),
            "reset" => allowance.reset = allowance.reset.or_else(|| wait(value, now)),
            _ => {}
        }
    }

    fn of(&mut self, limited: &str) -> Option<&mut RateLimitStatus> {
        Some(match limited {
            "requests" => &mut self.requests,
            "req-minute" => &mut self.minute_requests,
            "" => &mut self.unnamed,
            "tokens" => &mut self.tokens,
            "tokens-minute" => &mut self.minute_tokens,
            "project-tokens" => &mut self.project_tokens,
            "input-tokens" => &mut self.input_tokens,
            "output-tokens" => &mut self.output_tokens,
            _ => return None,
        })
    }

    /// The limits in one form, with the requested wait.
    pub(crate) fn limits(&self, retry_after: Option<Duration>) -> RateLimits {
        RateLimits::default()
            .requests(first([self.requests, self.minute_requests, self.unnamed]))
            .tokens(self.tokens())
            .input_tokens(self.input_tokens)
            .output_tokens(self.output_tokens)
            .retry_after(retry_after)
    }

    /// OpenAI limits the tokens of a project and of its organization. The limit with fewer remaining tokens applies.
    fn tokens(&self) -> RateLimitStatus {
        let own = first([self.tokens, self.minute_tokens]);
        let project = self.project_tokens;
        match (own.remaining, project.remaining) {
            (Some(own_left), Some(project_left)) if project_left < own_left => project,
            (None, Some(_)) => project,
            _ => own,
        }
    }
}

/// The first limit that was stated.
fn first<const N: usize>(allowances: [RateLimitStatus; N]) -> RateLimitStatus {
    allowances.into_iter().find(|known| *known != RateLimitStatus::default()).unwrap_or_default()
}

/// Splits a header's name into limit and field: `requests` and `remaining` of `x-ratelimit-remaining-requests`.
fn parts(name: &str) -> Option<(&str, &str)> {
    if let Some(name) = name.strip_prefix("x-ratelimit-") {
        let split = |field| Some((name.strip_prefix(field)?, field));
        let (limited, field) = ["limit", "remaining", "reset"].into_iter().find_map(split)?;
        return Some((limited.strip_prefix('-').unwrap_or(limited), field));
    }
    name.strip_prefix("anthropic-ratelimit-")?.rsplit_once('-')
}

/// The requested wait. `retry-after-ms` is more exact than `retry-after`, except where it is zero (Azure).
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Result<Option<Duration>, InvalidHeader> {
    let exact = single(headers, "retry-after-ms")?.map(|value| seconds(value).ok_or(InvalidHeader)).transpose();
    let exact = exact.map(|wait| wait.map(|wait| wait / 1000));
    let coarse = single(headers, "retry-after").and_then(|value| {
        value.map(|value| seconds(value).or_else(|| until_date(value, now)).ok_or(InvalidHeader)).transpose()
    });
    match (exact, coarse) {
        (Ok(Some(exact)), _) if exact > Duration::ZERO => Ok(Some(exact)),
        (Ok(exact), Ok(coarse)) => Ok(coarse.or(exact)),
        (_, Ok(Some(coarse))) => Ok(Some(coarse)),
        (Err(invalid), _) | (_, Err(invalid)) => Err(invalid),
    }
}

/// The value of a header, which is invalid if there are several different values.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, InvalidHeader> {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return Ok(None) };
    if values.any(|other| other != first) {
        return Err(InvalidHeader);
    }
    first.to_str().map(|value| Some(value.trim())).map_err(|_| InvalidHeader)
}

/// The time until an HTTP date.
fn until_date(value: &str, now: Timestamp) -> Option<Duration> {
    let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    let wait = Duration::try_from(date.duration_since(now)).ok()?;
    (wait <= MAX_WAIT).then_some(wait)
}

/// Parses a reset in any of its forms.
pub(super) fn wait(value: &str, now: Timestamp) -> Option<Duration> {
    let time = || unix_time(value).or_else(|| value.parse().ok());
    // Zero if the time has passed.
    let until = |time: Timestamp| time.duration_since(now).max(SignedDuration::ZERO).unsigned_abs();
    go_duration(value).or_else(|| seconds(value)).or_else(|| time().map(until)).filter(|wait| *wait <= MAX_WAIT)
}

/// The value of a header without blanks around it; absent if it is empty or not text.
pub(crate) fn filled(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok().map(str::trim_ascii).filter(|value| !value.is_empty())
}

/// Parses a decimal number of seconds.
fn seconds(value: &str) -> Option<Duration> {
    let number: f64 = value.parse().ok()?;
    Duration::try_from_secs_f64(number).ok().filter(|wait| *wait <= MAX_WAIT)
}

/// Parses a number too large for a wait: seconds or milliseconds since 1970.
fn unix_time(value: &str) -> Option<Timestamp> {
    let number: i64 = value.parse().ok().filter(|number| *number > 1_000_000_000)?;
    if number > 100_000_000_000 {
        Timestamp::from_millisecond(number).ok()
    } else {
        Timestamp::from_second(number).ok()
    }
}

/// Parses a duration as Go prints it: `1h2m3.5s`, `120ms`, `0s`.
fn go_duration(value: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = value;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let factor = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        total = total.checked_add(Duration::try_from_secs_f64(number * factor).ok()?)?;
        rest = tail;
    }
    (!value.is_empty() && total <= MAX_WAIT).then_some(total)
}

#[cfg(test)]
mod tests;
