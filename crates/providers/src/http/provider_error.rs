//! Classifies provider errors, in the same way for all protocols.
//!
//! Errors have many forms: an `error` object (with `code` a string, a number, null or absent), an `error` string,
//! a `detail`, a bare `code` and `message`, an array around one of these, HTML, plain text, or an empty body. They come
//! with a status, inside a 200, or in the middle of a stream. Neither status nor content type is reliable: an empty
//! account is a 429 at OpenAI and a 400 at Anthropic, a wrong key is a 400 at xAI, and a request that can never fit is a
//! 429 at OpenAI and a 413 at Groq.

use std::time::Duration;

use brigade_core::{ModelError, ModelErrorKind, RateLimits, RetryAdvice};
use jiff::Timestamp;
use serde_json::{Value, value::RawValue};

use super::{
    error_rules::{self, by_status, names_an_item},
    rate_limits,
    response_head::ResponseHead,
    suggested_wait,
};
use crate::json::repair;

/// The most bytes of an error's body that are read: enough for an upstream error nested in another one.
pub(crate) const MAX_ERROR_BYTES: usize = 64 << 10;
/// The most bytes of an error's message.
const MAX_MESSAGE_BYTES: usize = 512;

const NO_REASON: &str = "the provider gave no reason";

/// An error as the provider reports it.
#[derive(Debug, Default)]
struct ErrorReport {
    message: String,
    /// The error's code, as text.
    code: Option<String>,
    /// The error's type, or Google's status.
    kind: Option<String>,
    /// A more specific code, which some providers nest deeper.
    detail: Option<String>,
    /// A status inside the body, where it differs from the response's.
    status: Option<u16>,
    request_id: Option<String>,
    /// How long to wait, if the body says so.
    wait: Option<Duration>,
}

/// Reads the error of a response with a failure status.
pub(crate) fn from_response(head: &ResponseHead, body: &[u8]) -> ModelError {
    let status = head.status.as_u16();
    let body = strip_framing(body);
    let mut report = ErrorReport::of_text(body, head.now);
    let kind = report.kind(Some(status));
    if let Some(origin) = &head.location {
        report.message =
            format!("the server redirects to {origin}; an API key does not follow, so change the base URL");
    }
    let mut limits = head.limits.clone();
    limits.retry_after = limits.retry_after.or(report.wait);
    report.into_error(kind).with(|failure| {
        failure.retry = advice(kind, head.should_retry, &limits);
        failure.status = Some(status);
        if let Some(id) = &head.request_id {
            failure.request_id = Some(id.clone());
        }
        failure.limits = limits;
        failure.sent = true;
    })
}

/// Reads an error inside a successful response: the payload that contains it, or the error object itself. The status
/// and headers of the response do not apply to it.
pub(crate) fn in_band(raw: &RawValue) -> ModelError {
    in_stream(raw.get().as_bytes())
}

/// Reads the data of an event that reports an error, as JSON or as text.
pub(crate) fn in_stream(data: &[u8]) -> ModelError {
    let report = ErrorReport::of_text(data, Timestamp::now());
    let kind = report.kind(report.status);
    let limits = RateLimits::default().retry_after(report.wait);
    report.into_error(kind).with(|failure| {
        failure.retry = advice(kind, None, &limits);
        failure.limits = limits;
    })
}

/// The error for a JSON document that is not an answer or an event of one: the error inside it, if there is one, or that
/// the document has the wrong form. `what` names the document. The document itself may hold a part of an answer, which
/// must not get into a log.
pub(crate) fn not_an_answer(what: &str, document: &[u8]) -> ModelError {
    if is_error(document) {
        return in_stream(document);
    }
    ModelError::new(ModelErrorKind::Broken, format!("{what} is JSON, but does not have the form of an answer"))
}

/// The error for a successful response whose body is not JSON.
pub(crate) fn not_json(body: &[u8]) -> ModelError {
    let body = body.trim_ascii();
    let form = match body.first() {
        None => "is empty",
        Some(b'{' | b'[') => "is not a complete JSON document",
        Some(b'<') => "is a page of HTML or XML, not JSON; check the base URL and the proxies on the way",
        Some(_) => "is not JSON",
    };
    ModelError::new(ModelErrorKind::Broken, format!("the answer {form}"))
}

/// Whether a document reports an error.
pub(crate) fn is_error(document: &[u8]) -> bool {
    serde_json::from_slice(document).is_ok_and(|value| is_error_value(&value))
}

fn is_error_value(value: &Value) -> bool {
    let value = value.get(0).unwrap_or(value);
    let has = |name: &str| value.get(name).is_some_and(|inner| !inner.is_null());
    let has_message = value.get("message").is_some_and(Value::is_string);
    has_message || has("error") || has("detail") || has("errors")
}

impl ErrorReport {
    /// Reads a body or the data of an event, which may be JSON, text or a page.
    fn of_text(body: &[u8], now: Timestamp) -> Self {
        let document = repair::document(body);
        let value = document.and_then(|document| serde_json::from_slice::<Value>(&document).ok());
        let mut report = match &value {
            Some(value) => Self::read(value),
            None => Self { message: excerpt(body), ..Self::default() },
        };
        report.wait = suggested_wait::in_body(value.as_ref(), &report.message, now);
        report
    }

    fn read(value: &Value) -> Self {
        let mut report = match value {
            Value::Array(items) => items.first().map(Self::read).unwrap_or_default(),
            Value::Object(_) => Self::read_object(value),
            Value::String(message) => Self { message: message.clone(), ..Self::default() },
            _ => Self::default(),
        };
        if report.message.is_empty() {
            NO_REASON.clone_into(&mut report.message);
        }
        report
    }

    fn read_object(outer: &Value) -> Self {
        let error = outer.get("error").filter(|inner| inner.is_object()).unwrap_or(outer);
        let messages = [
            text(error, "/message"),
            text(outer, "/error"),
            text(outer, "/detail"),
            text(outer, "/message"),
            text(outer, "/detail/message"),
        ];
        let message = messages.into_iter().flatten().next().map_or_else(|| invalid_field(outer), str::to_owned);
        // Routers quote the error of the model's own provider.
        let upstream = text(error, "/metadata/raw").filter(|raw| *raw != message);
        let upstream = upstream.map(|raw| match serde_json::from_str::<Value>(raw) {
            Ok(nested @ Value::Object(_)) => Self::read_object(&nested).message,
            _ => raw.to_owned(),
        });
        let message = upstream.map_or_else(|| message.clone(), |upstream| format!("{message}: {upstream}"));
        // Anthropic's envelope and the Responses event have the type `error`, which is not specific.
        let kinds = [text(error, "/type"), text(error, "/status"), text(outer, "/type")];
        let statuses = [
            status(error, "/status"),
            status(error, "/code"),
            status(outer, "/raw_status_code"),
            status(outer, "/status"),
            status(outer, "/code"),
        ];
        Self {
            message: shortened(&message),
            code: code_text(error, "/code").or_else(|| code_text(outer, "/code")),
            kind: kinds.into_iter().flatten().find(|kind| *kind != "error").map(str::to_owned),
            detail: code_text(error, "/details/error_code").or_else(|| code_text(error, "/innererror/code")),
            status: statuses.into_iter().flatten().next(),
            request_id: code_text(outer, "/request_id"),
            wait: None,
        }
    }

    /// Known codes and phrases decide, then the status.
    fn kind(&self, status: Option<u16>) -> ModelErrorKind {
        let codes = [&self.code, &self.kind, &self.detail];
        let codes: Vec<String> = codes.into_iter().flatten().map(|code| code.to_ascii_lowercase()).collect();
        let message = self.message.to_lowercase();
        let by_text = error_rules::by_text(&codes, &message);
        match (by_text, status) {
            // Servers use the first two as defaults (Ollama reports a wrong key as `api_error`).
            (Some(ModelErrorKind::Caller | ModelErrorKind::Transient) | None, Some(404)) if names_an_item(&message) => {
                ModelErrorKind::Caller
            }
            (Some(ModelErrorKind::Caller | ModelErrorKind::Transient) | None, Some(status)) => by_status(status),
            (Some(kind), _) => kind,
            (None, None) => ModelErrorKind::Transient,
        }
    }

    fn into_error(self, kind: ModelErrorKind) -> ModelError {
        let Self { message, code, kind: kind_text, request_id, .. } = self;
        ModelError::new(kind, message).with(|failure| {
            failure.code = code.or(kind_text);
            failure.request_id = request_id;
        })
    }
}

/// Whether to retry. The provider's advice overrides that of the kind, except for exhausted quotas.
fn advice(kind: ModelErrorKind, should_retry: Option<bool>, limits: &RateLimits) -> RetryAdvice {
    let usual = match (kind, should_retry) {
        (ModelErrorKind::Quota, _) | (_, Some(false)) => return RetryAdvice::Never,
        (_, Some(true)) => RetryAdvice::Backoff,
        (_, None) => kind.default_advice(),
    };
    let exhausted = (kind == ModelErrorKind::RateLimited).then(|| rate_limits::exhausted_reset(limits)).flatten();
    match (usual, limits.retry_after.or(exhausted)) {
        (RetryAdvice::Never, _) => RetryAdvice::Never,
        (_, Some(wait)) => RetryAdvice::After(wait),
        (usual, None) => usual,
    }
}

/// The first problem that `FastAPI` lists, with the path of the field. Its `input` is left out, because it quotes the
/// request. <https://fastapi.tiangolo.com/tutorial/handling-errors/>
fn invalid_field(body: &Value) -> String {
    let problem = text(body, "/detail/0/msg").unwrap_or_default();
    let path: Vec<String> = body.pointer("/detail/0/loc").and_then(Value::as_array).map_or_else(Vec::new, |keys| {
        keys.iter().map(|key| key.as_str().map_or_else(|| key.to_string(), str::to_owned)).collect()
    });
    if path.is_empty() { problem.to_owned() } else { format!("{}: {problem}", path.join(".")) }
}

/// The text at a JSON pointer.
fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str()
}

/// A code as text; providers send strings and numbers.
fn code_text(value: &Value, pointer: &str) -> Option<String> {
    match value.pointer(pointer)? {
        Value::String(code) if !code.is_empty() => Some(code.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// An HTTP status in a body, as a number or as text.
fn status(value: &Value, pointer: &str) -> Option<u16> {
    let value = value.pointer(pointer)?;
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
    u16::try_from(number).ok().filter(|status| (400..600).contains(status))
}

/// Removes the framing of an event. Some servers add it although the response has a failure status.
fn strip_framing(body: &[u8]) -> &[u8] {
    let body = body.trim_ascii();
    let body = body.strip_prefix(b"event: error").map_or(body, <[u8]>::trim_ascii_start);
    body.strip_prefix(b"data:").unwrap_or(body)
}

/// The beginning of a text that is not JSON; of a page, its title.
fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.trim_ascii());
    if text.is_empty() {
        return NO_REASON.to_owned();
    }
    if !text.starts_with('<') {
        return shortened(&text);
    }
    let title = text.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>"));
    shortened(
        &title.map_or_else(|| "a page of HTML".to_owned(), |(title, _)| format!("a page of HTML: {}", title.trim())),
    )
}

fn shortened(message: &str) -> String {
    let end = (0..=MAX_MESSAGE_BYTES.min(message.len())).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
    message.get(..end).unwrap_or_default().chars().map(visible).collect()
}

/// Replaces control characters, which could forge lines in a log or on a terminal.
fn visible(character: char) -> char {
    if character.is_control() { ' ' } else { character }
}

#[cfg(test)]
mod tests;
