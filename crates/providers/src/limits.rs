//! What response headers say about rate limits, in one neutral form.
//!
//! OpenAI and its look-alikes send `x-ratelimit-{limit,remaining,reset}-{requests,tokens}` with resets as Go durations
//! (`1m13.588s`, `120ms`) or bare seconds; Anthropic sends `anthropic-ratelimit-{requests,tokens,input-tokens,
//! output-tokens}-{limit,remaining,reset}` with resets in RFC 3339; Mistral has windows in the names; Together has one
//! unnamed limit.

use std::time::Duration;

use brigade_core::{Allowance, RateLimits};
use http::{HeaderMap, HeaderValue};
use jiff::{SignedDuration, Timestamp};

/// A wait that no provider can mean; beyond it a value is taken for garbage.
const LONGEST_WAIT: Duration = Duration::from_hours(366 * 24);

/// Reads all limits. The flag says whether a `retry-after` was there that makes no sense.
pub(crate) fn parse(headers: &HeaderMap, now: Timestamp) -> (RateLimits, bool) {
    let told = Told::read(headers, now);
    let retry_after = retry_after(headers, now);
    let limits = RateLimits {
        requests: told.first(&["requests", "req-minute", ""]),
        tokens: told.tokens(),
        input_tokens: told.of("input-tokens"),
        output_tokens: told.of("output-tokens"),
        retry_after: retry_after.unwrap_or_default(),
    };
    (limits, retry_after.is_err())
}

/// The provider's id of the exchange.
pub(crate) fn request_id(headers: &HeaderMap) -> Option<String> {
    const NAMES: [&str; 5] =
        ["x-request-id", "request-id", "mistral-correlation-id", "x-generation-id", "apim-request-id"];
    NAMES.iter().find_map(|name| text(headers, name)).map(str::to_owned)
}

/// `x-should-retry`, with which OpenAI and Anthropic overrule what a status says.
pub(crate) fn should_retry(headers: &HeaderMap) -> Option<bool> {
    text(headers, "x-should-retry")?.parse().ok()
}

/// When a limit that reads zero is whole again: the wait that a failure without `retry-after` asks for. The latest, if
/// there are several.
pub(crate) fn exhausted_reset(limits: &RateLimits) -> Option<Duration> {
    let all = [limits.requests, limits.tokens, limits.input_tokens, limits.output_tokens];
    all.iter().filter(|allowance| allowance.remaining == Some(0)).filter_map(|allowance| allowance.reset).max()
}

/// What is limited, as the names of the headers have it, with what they tell about it.
#[derive(Default)]
struct Told<'a>(Vec<(&'a str, Allowance)>);

/// A header value that makes no sense.
#[derive(Debug, Clone, Copy)]
struct Garbage;

impl<'a> Told<'a> {
    /// One pass over what came costs a fraction of a look-up for each of the two dozen names that may come.
    fn read(headers: &'a HeaderMap, now: Timestamp) -> Self {
        let mut told = Self::default();
        for (name, value) in headers {
            if let Some((limited, field)) = parts(name.as_str())
                && let Some(value) = filled(value)
            {
                told.add((limited, field), value, now);
            }
        }
        told
    }

    fn add(&mut self, (limited, field): (&'a str, &str), value: &str, now: Timestamp) {
        let place = self.0.iter().position(|(other, _)| *other == limited).unwrap_or(self.0.len());
        if place == self.0.len() {
            self.0.push((limited, Allowance::default()));
        }
        let Some((_, allowance)) = self.0.get_mut(place) else { return };
        match field {
            "limit" => allowance.limit = allowance.limit.or_else(|| value.parse().ok()),
            "remaining" => allowance.remaining = allowance.remaining.or_else(|| value.parse().ok()),
            "reset" => allowance.reset = allowance.reset.or_else(|| wait(value, now)),
            _ => {}
        }
    }

    fn of(&self, limited: &str) -> Allowance {
        self.0.iter().find(|(other, _)| *other == limited).map(|(_, allowance)| *allowance).unwrap_or_default()
    }

    fn first(&self, names: &[&str]) -> Allowance {
        let found = names.iter().map(|limited| self.of(limited)).find(|found| *found != Allowance::default());
        found.unwrap_or_default()
    }

    /// OpenAI counts a project's tokens beside the organisation's; the one with less left is the one that binds.
    fn tokens(&self) -> Allowance {
        let own = self.first(&["tokens", "tokens-minute"]);
        let project = self.of("project-tokens");
        match (own.remaining, project.remaining) {
            (Some(own_left), Some(project_left)) if project_left < own_left => project,
            (None, Some(_)) => project,
            _ => own,
        }
    }
}

/// What a header tells about which limit: `requests` and `remaining` of `x-ratelimit-remaining-requests`.
fn parts(name: &str) -> Option<(&str, &str)> {
    if let Some(name) = name.strip_prefix("x-ratelimit-") {
        let (field, limited) = name.split_once('-').unwrap_or((name, ""));
        return Some((limited, field));
    }
    name.strip_prefix("anthropic-ratelimit-")?.rsplit_once('-')
}

/// `retry-after-ms` is exact where both are given; a zero in it beside a `retry-after` in seconds (Azure) is not.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Result<Option<Duration>, Garbage> {
    let exact = single(headers, "retry-after-ms")?.map(|value| seconds(value).ok_or(Garbage)).transpose();
    let exact = exact.map(|wait| wait.map(|wait| wait / 1000));
    let coarse = single(headers, "retry-after").and_then(|value| {
        value.map(|value| seconds(value).or_else(|| until_date(value, now)).ok_or(Garbage)).transpose()
    });
    match (exact, coarse) {
        (Ok(Some(exact)), _) if exact > Duration::ZERO => Ok(Some(exact)),
        (Ok(exact), Ok(coarse)) => Ok(coarse.or(exact)),
        (_, Ok(Some(coarse))) => Ok(Some(coarse)),
        (Err(garbage), _) | (_, Err(garbage)) => Err(garbage),
    }
}

/// The value of a header that must not come twice with different values.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Garbage> {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return Ok(None) };
    if values.any(|other| other != first) {
        return Err(Garbage);
    }
    first.to_str().map(|value| Some(value.trim())).map_err(|_| Garbage)
}

/// An HTTP date ahead of now.
fn until_date(value: &str, now: Timestamp) -> Option<Duration> {
    let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    let wait = Duration::try_from(date.duration_since(now)).ok()?;
    (wait <= LONGEST_WAIT).then_some(wait)
}

/// A time from now in any of the forms that resets come in.
fn wait(value: &str, now: Timestamp) -> Option<Duration> {
    // How long until then; nothing if it has passed.
    let until = |time: Timestamp| time.duration_since(now).max(SignedDuration::ZERO).unsigned_abs();
    match value.parse::<f64>() {
        Ok(_) => seconds(value).or_else(|| Some(until(unix_time(value)?))),
        Err(_) => go_duration(value).or_else(|| Some(until(value.parse().ok()?))),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    filled(headers.get(name)?)
}

fn filled(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok().map(str::trim).filter(|value| !value.is_empty())
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
