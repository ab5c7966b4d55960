//! What must come of an exchange, computed from its raw JSON.

use std::collections::BTreeSet;

use brigade_core::{ModelError, ModelErrorKind, Usage};
use serde_json::Value;

use crate::recording::Recording;

/// Stops the check of one recording with a reason.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($why:tt)+) => {
        if !$condition {
            return Err(format!($($why)+));
        }
    };
}

/// Compares, and says what differs.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: &T, expected: &T) -> Result<(), String> {
    ensure!(got == expected, "{what}: got {got:?}, expected {expected:?}");
    Ok(())
}

/// Compares a request that was written with the recorded one. Settings in `fitted` are written as the model takes
/// them; where such a one differs, and nothing else, the request cannot be expressed.
pub(crate) fn same_request(got: &Value, expected: &Value, fitted: &[&str]) -> Result<Option<String>, String> {
    let names = [got, expected].into_iter().filter_map(Value::as_object).flat_map(|fields| fields.keys());
    let differing: BTreeSet<&String> = names.filter(|name| got[*name] != expected[*name]).collect();
    match differing.first() {
        None => Ok(None),
        Some(first) if differing.iter().all(|name| fitted.contains(&name.as_str())) => {
            Ok(Some(format!("`{first}` as the model is not known to take it")))
        }
        Some(_) => Err(format!("request: got {got}\n  expected {expected}")),
    }
}

/// The error that a response reports, with its status; absent if it is an answer.
pub(crate) fn reported_error(recording: &Recording) -> Option<Value> {
    let status = recording.status();
    if status >= 400 {
        return Some(if recording.document.is_null() { recording.body().into() } else { recording.document.clone() });
    }
    let documents = recording.events().into_iter().chain([recording.document.clone()]);
    documents.into_iter().find(|document| {
        let failed =
            document["type"] == "response.failed" || document["status"] == "failed" && document["object"] == "response";
        document["error"].is_object() || document["error"].is_string() || document["type"] == "error" || failed
    })
}

/// Checks the kind of an error against what providers document.
pub(crate) fn check_error(recording: &Recording, reported: &Value, error: &ModelError) -> Result<(), String> {
    let expected = expected_kind(recording.status(), &reported.to_string().to_lowercase());
    same("error kind", &error.kind(), &expected)?;
    same("status", &error.failure().status, &Some(recording.status()))?;
    ensure!(!error.failure().message.is_empty(), "the error has no message");
    check_request_id(recording, error.failure().request_id.as_deref())
}

/// The provider's id of the exchange must get through.
pub(crate) fn check_request_id(recording: &Recording, got: Option<&str>) -> Result<(), String> {
    let names = ["x-request-id", "request-id", "mistral-correlation-id", "x-generation-id", "apim-request-id"];
    let Some(expected) = names.iter().find_map(|name| recording.header(name)) else { return Ok(()) };
    same("request id", &got, &Some(expected))
}

/// The table of error classes, by the words in an error's body and by its status.
fn expected_kind(status: u16, body: &str) -> ModelErrorKind {
    let says = |words: &[&str]| words.iter().any(|word| body.contains(word));
    if says(&["insufficient_quota", "credit balance is too low", "spend limit", "insufficient balance", "usage_limit"])
    {
        return ModelErrorKind::Quota;
    }
    if says(&[
        "context_length",
        "prompt is too long",
        "context size",
        "context window",
        "maximum context",
        "request too large for",
    ]) {
        return ModelErrorKind::ContextLength;
    }
    if says(&["overloaded"]) {
        return ModelErrorKind::Overloaded;
    }
    if says(&["content_filter", "content_policy"]) {
        return ModelErrorKind::Refused;
    }
    if says(&["tool_use_failed", "json_validate_failed"]) {
        return ModelErrorKind::Broken;
    }
    if says(&["incorrect api key", "invalid api key"]) {
        return ModelErrorKind::Auth;
    }
    let stated = ["\"code\":", "\"status\":"].iter().find_map(|name| {
        let digits = body.split(name).nth(1)?.get(..3)?;
        digits.parse::<u16>().ok().filter(|status| (400..600).contains(status))
    });
    match if status < 400 { stated.unwrap_or(status) } else { status } {
        402 => ModelErrorKind::Quota,
        401 | 403 => ModelErrorKind::Auth,
        429 => ModelErrorKind::RateLimited,
        529 => ModelErrorKind::Overloaded,
        ..=399 if says(&["rate_limit"]) => ModelErrorKind::RateLimited,
        ..=399 if says(&["invalid_request"]) => ModelErrorKind::Caller,
        ..=399 | 408 | 409 | 500.. => ModelErrorKind::Transient,
        _ => ModelErrorKind::Caller,
    }
}

/// Compares usage, apart from the cost that a provider states.
pub(crate) fn check_usage(got: Option<Usage>, expected: Option<Usage>) -> Result<(), String> {
    let tokens = |usage: Usage| Usage { stated_cost: None, ..usage };
    same("usage", &got.map(tokens), &expected.map(tokens))
}

/// A number of tokens at a JSON pointer.
pub(crate) fn count(value: &Value, pointers: &[&str]) -> Option<u64> {
    pointers.iter().find_map(|pointer| value.pointer(pointer)?.as_u64())
}
