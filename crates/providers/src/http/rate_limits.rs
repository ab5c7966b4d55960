//! What response headers say about rate limits, in one neutral form.
//!
//! OpenAI and its look-alikes send `x-ratelimit-{limit,remaining,reset}-{requests,tokens}` with resets as Go durations
//! (`1m13.588s`, `120ms`) or bare seconds; Anthropic sends `anthropic-ratelimit-{requests,tokens,input-tokens,
//! output-tokens}-{limit,remaining,reset}` with resets in RFC 3339; Mistral has windows in the names; Together has one
//! unnamed limit.

use std::time::Duration;

use brigade_core::{RateLimitStatus, RateLimits};
use http::{HeaderMap, HeaderValue};
use jiff::{SignedDuration, Timestamp};

/// A wait that no provider can mean; beyond it a value is taken for invalid.
const LONGEST_WAIT: Duration = Duration::from_hours(366 * 24);

/// When a limit that reads zero is whole again: the wait that a failure without `retry-after` asks for. The latest, if
/// there are several.
pub(crate) fn exhausted_reset(limits: &RateLimits) -> Option<Duration> {
    let all = [limits.requests, limits.tokens, limits.input_tokens, limits.output_tokens];
    all.iter().filter(|allowance| allowance.remaining == Some(0)).filter_map(|allowance| allowance.reset).max()
}

/// What is limited, by the names that the headers have for it.
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

/// A header value that makes no sense.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InvalidHeader;

impl RateLimitHeaders {
    /// Takes a header, if it is about a limit.
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

    /// The limits in one neutral form, with the wait that was asked for.
    pub(crate) fn limits(&self, retry_after: Option<Duration>) -> RateLimits {
        RateLimits {
            requests: first([self.requests, self.minute_requests, self.unnamed]),
            tokens: self.tokens(),
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            retry_after,
        }
    }

    /// OpenAI counts a project's tokens beside the organisation's; the one with less left is the one that binds.
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

/// The first of which anything is known.
fn first<const N: usize>(allowances: [RateLimitStatus; N]) -> RateLimitStatus {
    allowances.into_iter().find(|known| *known != RateLimitStatus::default()).unwrap_or_default()
}

/// What a header tells about which limit: `requests` and `remaining` of `x-ratelimit-remaining-requests`.
fn parts(name: &str) -> Option<(&str, &str)> {
    if let Some(name) = name.strip_prefix("x-ratelimit-") {
        let split = |field| Some((name.strip_prefix(field)?, field));
        let (limited, field) = ["limit", "remaining", "reset"].into_iter().find_map(split)?;
        return Some((limited.strip_prefix('-').unwrap_or(limited), field));
    }
    name.strip_prefix("anthropic-ratelimit-")?.rsplit_once('-')
}

/// `retry-after-ms` is exact where both are given; a zero in it beside a `retry-after` in seconds (Azure) is not.
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

/// The value of a header that must not come twice with different values.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, InvalidHeader> {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return Ok(None) };
    if values.any(|other| other != first) {
        return Err(InvalidHeader);
    }
    first.to_str().map(|value| Some(value.trim())).map_err(|_| InvalidHeader)
}

/// An HTTP date ahead of now.
fn until_date(value: &str, now: Timestamp) -> Option<Duration> {
    let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    let wait = Duration::try_from(date.duration_since(now)).ok()?;
    (wait <= LONGEST_WAIT).then_some(wait)
}

/// A time from now in any of the forms that resets come in.
fn wait(value: &str, now: Timestamp) -> Option<Duration> {
    let time = || unix_time(value).or_else(|| value.parse().ok());
    // How long until then; nothing if it has passed.
    let until = |time: Timestamp| time.duration_since(now).max(SignedDuration::ZERO).unsigned_abs();
    go_duration(value).or_else(|| seconds(value)).or_else(|| time().map(until))
}

/// A value that can be read, without blanks around it; absent if there is nothing else.
pub(crate) fn filled(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok().map(str::trim_ascii).filter(|value| !value.is_empty())
}

/// A plain decimal number of seconds.
fn seconds(value: &str) -> Option<Duration> {
    let number: f64 = value.parse().ok()?;
    Duration::try_from_secs_f64(number).ok().filter(|wait| *wait <= LONGEST_WAIT)
}

/// A number too large for a wait: seconds or milliseconds since 1970.
fn unix_time(value: &str) -> Option<Timestamp> {
    let number: i64 = value.parse().ok().filter(|number| *number > 1_000_000_000)?;
    if number > 100_000_000_000 {
        Timestamp::from_millisecond(number).ok()
    } else {
        Timestamp::from_second(number).ok()
    }
}

/// A duration as Go prints it: `1h2m3.5s`, `120ms`, `0s`.
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
    (!value.is_empty() && total <= LONGEST_WAIT).then_some(total)
}

#[cfg(test)]
mod tests;
