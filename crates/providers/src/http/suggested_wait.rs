//! Reads the wait that a provider asks for in the body of an error.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;
use serde_json::Value;

use super::{
    rate_limits::{self, exhausted_reset},
    response_head::ResponseHead,
};

/// The phrases before a wait in messages (OpenAI, Groq, Google, Azure, Mistral), in lower case.
const PHRASES: [&str; 4] = ["try again in ", "retry in ", "retry after ", "again after "];

/// The wait in an error's body or message; `now` is the time by the server's clock.
pub(super) fn in_body(body: Option<&Value>, message: &str, now: Timestamp) -> Option<Duration> {
    let body = body.map(|body| body.get(0).unwrap_or(body));
    let error = body.map(|body| body.get("error").filter(|error| error.is_object()).unwrap_or(body));
    let fields = || [error, body].into_iter().flatten().find_map(in_fields);
    let google = || error?.get("details")?.as_array()?.iter().find_map(|detail| wait(detail.get("retryDelay")?, now));
    let quoted = || in_headers(error?.pointer("/metadata/headers")?, now);
    google().or_else(quoted).or_else(fields).or_else(|| in_message(message, now))
}

/// Fields that several servers have.
fn in_fields(object: &Value) -> Option<Duration> {
    let number = |name: &str| {
        let value = object.get(name)?;
        value
            .as_f64()
            .or_else(|| value.as_str()?.parse().ok())
            .and_then(|number| Duration::try_from_secs_f64(number).ok())
    };
    let seconds = ["retry_after", "retry_after_seconds", "retryAfter"].into_iter().find_map(number);
    number("retry_after_ms").map(|wait| wait / 1000).or(seconds).filter(|wait| *wait <= rate_limits::MAX_WAIT)
}

/// The headers of the model's own provider, which `OpenRouter` quotes.
fn in_headers(headers: &Value, now: Timestamp) -> Option<Duration> {
    let pairs = headers.as_object()?.iter().filter_map(|(name, value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Some((name.parse::<HeaderName>().ok()?, HeaderValue::from_str(&value).ok()?))
    });
    let limits = ResponseHead::read(StatusCode::TOO_MANY_REQUESTS, &pairs.collect::<HeaderMap>(), now).limits;
    limits.retry_after.or_else(|| exhausted_reset(&limits)).or(limits.requests.reset)
}

fn in_message(message: &str, now: Timestamp) -> Option<Duration> {
    let message = message.to_lowercase();
    let rest = PHRASES.into_iter().find_map(|phrase| message.split_once(phrase).map(|(_, rest)| rest))?;
    let mut words = rest.split_ascii_whitespace().map(|word| word.trim_end_matches(['.', ',', ';', ')', '!']));
    let first = words.next()?;
    let factor = match words.next().unwrap_or_default() {
        "ms" | "millisecond" | "milliseconds" => 0.001,
        "minute" | "minutes" => 60.0,
        "hour" | "hours" => 3_600.0,
        _ => 1.0,
    };
    match first.parse::<f64>() {
        Ok(number) => Duration::try_from_secs_f64(number * factor).ok().filter(|wait| *wait <= rate_limits::MAX_WAIT),
        Err(_) => rate_limits::wait(first, now),
    }
}

/// A wait in any form.
fn wait(value: &Value, now: Timestamp) -> Option<Duration> {
    value
        .as_f64()
        .and_then(|number| Duration::try_from_secs_f64(number).ok())
        .filter(|wait| *wait <= rate_limits::MAX_WAIT)
        .or_else(|| rate_limits::wait(value.as_str()?, now))
}
