//! Expected results, computed from the raw JSON of a recording.

use std::collections::BTreeSet;

use brigade_core::{ModelError, ModelErrorKind, Usage};
use serde_json::{Value, json};

use crate::recording::Recording;

/// Fails the check of one recording with a reason.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($why:tt)+) => {
        if !$condition {
            return Err(format!($($why)+));
        }
    };
}

/// Compares two values.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: &T, expected: &T) -> Result<(), String> {
    ensure!(got == expected, "{what}: got {got:?}, expected {expected:?}");
    Ok(())
}

/// Compares an encoded request with the recorded one. The encoder adapts the settings in `fitted` to the model; if only
/// these differ, the request is skipped.
pub(crate) fn same_request(got: &Value, expected: &Value, fitted: &[&str]) -> Result<Option<String>, String> {
    let names = [got, expected].into_iter().filter_map(Value::as_object).flat_map(|fields| fields.keys());
    let differing: BTreeSet<&String> = names.filter(|name| got[*name] != expected[*name]).collect();
    match differing.first() {
        None => Ok(None),
        Some(first) if differing.iter().all(|name| fitted.contains(&name.as_str())) => {
            Ok(Some(format!("`{first}` in a form that is not known for the model")))
        }
        Some(_) => Err(format!("request: got {got}\n  expected {expected}")),
    }
}

/// The error that a response reports: its body or a part of it; absent if the response is an answer.
pub(crate) fn reported_error(recording: &Recording) -> Option<Value> {
    let status = recording.status();
    if status >= 300 {
        return Some(if recording.document.is_null() { recording.body().into() } else { recording.document.clone() });
    }
    let whole = Some(&recording.document).filter(|document| recording.stream.is_none() && is_bare_error(document));
    let events = recording.events().into_iter().chain([recording.document.clone()]);
    whole.cloned().or_else(|| events.into_iter().find_map(|document| error_within(&document)))
}

/// Whether this is an error without an envelope, for recordings without a status.
fn is_bare_error(document: &Value) -> bool {
    let answers = ["choices", "content", "output"].iter().any(|name| !document[*name].is_null());
    !answers && (document["message"].is_string() || !document["detail"].is_null())
}

fn error_within(document: &Value) -> Option<Value> {
    let says =
        |error: &Value| !matches!(error, Value::Null | Value::Bool(_)) && *error != json!({}) && *error != json!("");
    let nested = [document, &document["response"], &document[0]];
    let choices = document["choices"].as_array().into_iter().flatten();
    if let Some(error) = nested.into_iter().chain(choices).map(|holder| &holder["error"]).find(|error| says(error)) {
        return Some(error.clone());
    }
    let response = if document["response"].is_object() { &document["response"] } else { document };
    let failed =
        document["type"] == "response.failed" || response["object"] == "response" && response["status"] == "failed";
    (document["type"] == "error" || failed).then(|| document.clone())
}

/// Checks the kind of an error against what providers document.
pub(crate) fn check_error(recording: &Recording, reported: &Value, error: &ModelError) -> Result<(), String> {
    let expected = expected_kind(recording.status(), &reported.to_string().to_lowercase());
    same("error kind", &error.kind(), &expected)?;
    same("status", &error.details().status, &Some(recording.status()))?;
    ensure!(!error.details().message.is_empty(), "the error has no message");
    check_request_id(recording, error.details().request_id.as_deref())
}

/// Checks that the provider's request id was read.
pub(crate) fn check_request_id(recording: &Recording, got: Option<&str>) -> Result<(), String> {
    let names = ["x-request-id", "request-id", "mistral-correlation-id", "x-generation-id", "apim-request-id"];
    let Some(expected) = names.iter().find_map(|name| recording.header(name)) else { return Ok(()) };
    same("request id", &got, &Some(expected))
}

/// The kind of an error by the text of its body and its status.
fn expected_kind(status: u16, body: &str) -> ModelErrorKind {
    let words: [(ModelErrorKind, &[&str]); 8] = [
        (ModelErrorKind::RateLimited, &["please retry in"]),
        (ModelErrorKind::Quota, &QUOTA),
        (ModelErrorKind::ContextLength, &CONTEXT),
        (ModelErrorKind::Overloaded, &["overloaded", "no_capacity"]),
        (ModelErrorKind::RateLimited, &["rate_limit_e", "rate-limited", "too many requests", "rate limit reached"]),
        (ModelErrorKind::NoSuchModel, &NO_MODEL),
        (ModelErrorKind::Auth, &AUTH),
        (
            ModelErrorKind::Refused,
            &["content_filter", "content_policy", "policy_violation", "flagged as potentially", "input was flagged"],
        ),
    ];
    let says = |words: &[&str]| words.iter().any(|word| body.contains(word));
    if let Some((kind, _)) = words.into_iter().find(|(_, words)| says(words)) {
        return kind;
    }
    if says(&["tool_use_failed", "json_validate_failed", "output_parse_failed"]) {
        return ModelErrorKind::Broken;
    }
    let stated = ["\"raw_status_code\":", "\"code\":", "\"status\":"].iter().find_map(|name| {
        let digits = body.split(name).nth(1)?.trim_start_matches('"').get(..3)?;
        digits.parse::<u16>().ok().filter(|status| (400..600).contains(status))
    });
    match if status < 300 { stated.unwrap_or(status) } else { status } {
        402 => ModelErrorKind::Quota,
        401 | 403 => ModelErrorKind::Auth,
        429 => ModelErrorKind::RateLimited,
        529 => ModelErrorKind::Overloaded,
        ..=299 if says(&["invalid_request", "invalid_prompt", "not_found", "request_too_large"]) => {
            ModelErrorKind::Caller
        }
        ..=299 | 408 | 409 | 425 | 500.. => ModelErrorKind::Transient,
        404 if !says(&["file_", "item with id"]) => ModelErrorKind::NoSuchModel,
        _ => ModelErrorKind::Caller,
    }
}

const NO_MODEL: [&str; 5] = [
    "model_not_found",
    "is not a valid model",
    "does not exist or you do not have access",
    "no endpoints found",
    "not found: ",
];

const QUOTA: [&str; 16] = [
    "billing_error",
    "billing_not_active",
    "billing_hard_limit",
    "exceeded_current_quota",
    "insufficient_quota",
    "exceeded your current quota",
    "credit balance is too low",
    "credit_balance_exhausted",
    "spend limit",
    "spending limit",
    "spend_limit",
    "insufficient balance",
    "insufficient credits",
    "usage_limit",
    "api usage limits",
    "any credits",
];
const CONTEXT: [&str; 15] = [
    "context_length",
    "context_size",
    "context length",
    "prompt is too long",
    "input is too long",
    "context limit",
    "context size",
    "context window",
    "maximum prompt length",
    "request too large for",
    "maximum number of tokens",
    "prompt token count",
    "prompt exceeds max length",
    "model token limit",
    "range of input length",
];
const AUTH: [&str; 8] = [
    "incorrect api key",
    "invalid api key",
    "api key is invalid",
    "api key not valid",
    "invalid x-api-key",
    "invalid_api_key",
    "authentication_error",
    "permission_error",
];

/// Compares usage, except for the stated cost.
pub(crate) fn check_usage(got: Option<Usage>, expected: Option<Usage>) -> Result<(), String> {
    let tokens = |usage: Usage| usage.stated_cost(None);
    same("usage", &got.map(tokens), &expected.map(tokens))
}

/// Whether a name or an id has a form that every provider accepts.
pub(crate) fn is_plain(name: &Value) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    name.as_str().is_some_and(|name| (1..=64).contains(&name.len()) && name.bytes().all(fits))
}

/// Accepts any replacement of a name that not every provider accepts.
pub(crate) fn allow_renaming(expected: &mut Value, sent: &Value, names: &[&str]) {
    for name in names.iter().filter(|name| is_plain(&sent[**name])) {
        if !is_plain(&expected[*name]) {
            expected[*name] = sent[*name].clone();
        }
    }
}

/// A number of tokens at a JSON pointer.
pub(crate) fn count(value: &Value, pointers: &[&str]) -> Option<u64> {
    let whole = |number: &Value| {
        let float = number.as_f64().filter(|float| float.fract() == 0.0 && *float >= 0.0);
        number.as_u64().or_else(|| format!("{:.0}", float?).parse().ok())
    };
    pointers.iter().find_map(|pointer| whole(value.pointer(pointer)?))
}
