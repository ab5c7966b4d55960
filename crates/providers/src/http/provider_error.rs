//! Classifies provider errors, in the same way for all protocols.
//!
//! Errors have many forms: an `error` object (with `code` a string, a number, null or absent), an `error` string,
//! a `detail`, a bare `code` and `message`, an array around one of these, HTML, plain text, or an empty body. They come
//! with a status, inside a 200, or in the middle of a stream. Neither status nor content type is reliable: an empty
//! account is a 429 at OpenAI and a 400 at Anthropic, a wrong key is a 400 at xAI, and a request that can never fit is a
//! 429 at OpenAI and a 413 at Groq.

use brigade_core::{ModelError, ModelErrorKind, RetryAdvice};
use serde_json::{Value, value::RawValue};

use super::{rate_limits, response_head::ResponseHead};

/// The most bytes of an error's body that are read: enough for an upstream error nested in another one.
pub(crate) const MAX_ERROR_BYTES: usize = 64 << 10;
/// The most bytes of an error's message.
const MAX_MESSAGE_BYTES: usize = 2 << 10;

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
}

/// Reads the error of a response with a failure status.
pub(crate) fn from_response(head: &ResponseHead, body: &[u8]) -> ModelError {
    let status = head.status.as_u16();
    let report = match serde_json::from_slice::<Value>(strip_framing(body)) {
        Ok(value) => ErrorReport::read(&value),
        Err(_) => ErrorReport { message: excerpt(body), ..ErrorReport::default() },
    };
    let kind = report.kind(Some(status));
    let advice = advice(kind, head);
    report.into_error(kind).with(|failure| {
        failure.retry = advice;
        failure.status = Some(status);
        if let Some(id) = &head.request_id {
            failure.request_id = Some(id.clone());
        }
        failure.limits = head.limits.clone();
        failure.sent = true;
    })
}

/// Reads an error inside a successful response: the payload that contains it, or the error object itself. The status
/// and headers of the response do not apply to it.
pub(crate) fn in_band(raw: &RawValue) -> ModelError {
    ErrorReport::read(&serde_json::from_str(raw.get()).unwrap_or_default()).into_in_band()
}

/// The error for a document that is not an answer or an event of one: the error inside it, if there is one, or that the
/// document has the wrong form. `what` names the document.
pub(crate) fn not_an_answer(what: &str, body: &[u8]) -> ModelError {
    let broken = |reason: &str| ModelError::new(ModelErrorKind::Broken, format!("{what} is {reason}"));
    match serde_json::from_slice::<Value>(body) {
        Ok(value) if is_error(&value) => ErrorReport::read(&value).into_in_band(),
        Ok(_) => broken("JSON, but does not have the form of an answer"),
        // Damaged JSON may hold a part of the answer, which must not get into a log.
        Err(_) if body.trim_ascii_start().starts_with(b"{") => broken("not a complete JSON document"),
        Err(_) => broken(&format!("not JSON: {}", excerpt(body))),
    }
}

fn is_error(value: &Value) -> bool {
    let value = value.get(0).unwrap_or(value);
    let has = |name: &str| value.get(name).is_some_and(|inner| !inner.is_null());
    let has_message = value.get("message").is_some_and(Value::is_string);
    has_message || has("error") || has("detail") || has("errors")
}

impl ErrorReport {
    fn read(value: &Value) -> Self {
        let mut report = match value {
            Value::Array(items) => items.first().map(Self::read).unwrap_or_default(),
            Value::Object(_) => Self::read_object(value),
            Value::String(message) => Self { message: message.clone(), ..Self::default() },
            _ => Self::default(),
        };
        if report.message.is_empty() {
            report.message = shortened(&value.to_string());
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
        let message = upstream.map_or_else(|| message.clone(), |raw| format!("{message}: {raw}"));
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
        }
    }

    /// Known codes and phrases decide, then the status.
    fn kind(&self, status: Option<u16>) -> ModelErrorKind {
        let codes = [&self.code, &self.kind, &self.detail];
        let codes: Vec<String> = codes.into_iter().flatten().map(|code| code.to_ascii_lowercase()).collect();
        let message = self.message.to_lowercase();
        let by_text = RULES.iter().find(|rule| rule.matches(&codes, &message)).map(|rule| rule.kind);
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

    fn into_in_band(self) -> ModelError {
        let kind = self.kind(self.status);
        self.into_error(kind)
    }

    fn into_error(self, kind: ModelErrorKind) -> ModelError {
        let Self { message, code, kind: kind_text, request_id, .. } = self;
        ModelError::new(kind, message).with(|failure| {
            failure.code = code.or(kind_text);
            failure.request_id = request_id;
        })
    }
}

/// A rule that recognizes a kind of error by its text. The first match counts.
struct ErrorRule {
    kind: ModelErrorKind,
    /// Values of the code, the type or the more specific code.
    codes: &'static [&'static str],
    /// Beginnings or endings of these.
    affixes: &'static [&'static str],
    /// Parts of the message, in lower case.
    phrases: &'static [&'static str],
}

impl ErrorRule {
    fn matches(&self, codes: &[String], message: &str) -> bool {
        let affixed = |code: &String| self.affixes.iter().any(|affix| code.starts_with(affix) || code.ends_with(affix));
        codes.iter().any(|code| self.codes.contains(&code.as_str()) || affixed(code))
            || self.phrases.iter().any(|phrase| message.contains(phrase))
    }
}

const RULES: [ErrorRule; 11] = [
    ErrorRule {
        // Google also reports "exceeded your current quota" for requests per minute, and then how long to wait.
        kind: ModelErrorKind::RateLimited,
        codes: &[],
        affixes: &[],
        phrases: &["please retry in"],
    },
    ErrorRule {
        kind: ModelErrorKind::Quota,
        codes: &[
            "insufficient_quota",
            "credit_balance_exhausted",
            "enforced_spend_limit_reached",
            "billing_error",
            "billing_not_active",
            "billing_hard_limit_reached",
            "exceeded_current_quota_error",
            "insufficient_balance",
            "insufficient_credits",
            "usage_limit_reached",
            "payment_required",
        ],
        affixes: &["_spend_limit_exceeded", "_spend_limit_reached"],
        phrases: &[
            "credit balance is too low",
            "exceeded your current quota",
            "spend limit",
            "spending limit",
            "specified api usage limits",
            "insufficient balance",
            "insufficient credits",
            "requires more credits",
            "any credits",
        ],
    },
    ErrorRule {
        // A request over the per-minute limit never fits, however long the client waits: the prompt must shrink.
        kind: ModelErrorKind::ContextLength,
        codes: &["context_length_exceeded", "exceed_context_size_error", "model_context_window_exceeded"],
        affixes: &["context_length_"],
        phrases: &[
            "prompt is too long",
            "input is too long",
            "maximum prompt length",
            "maximum number of tokens",
            "prompt token count",
            "prompt exceeds max length",
            "model token limit",
            "range of input length",
            "context length",
            "context limit",
            "context size",
            "context window",
            "request too large for",
        ],
    },
    ErrorRule {
        kind: ModelErrorKind::Overloaded,
        codes: &["server_is_overloaded", "overloaded_error", "engine_overloaded", "overloaded", "no_capacity"],
        affixes: &["_overloaded"],
        phrases: &["overloaded"],
    },
    ErrorRule {
        kind: ModelErrorKind::RateLimited,
        codes: &[
            "rate_limit_error",
            "slow_down",
            "too_many_requests",
            "ratelimitreached",
            "throttling",
            "resource_exhausted",
        ],
        affixes: &["rate_limit_"],
        phrases: &["rate-limited", "rate limit reached", "too many requests"],
    },
    ErrorRule {
        // Before the credentials: vendors state some of these with 403.
        kind: ModelErrorKind::NoSuchModel,
        codes: &[
            "model_not_found",
            "model_not_available",
            "model_not_supported",
            "model_decommissioned",
            "model_deprecated",
            "modeldeprecated",
            "model_terms_required",
            "unknown_model",
            "invalid_model",
            "deploymentnotfound",
            "operationnotsupported",
            "resource_not_found_error",
        ],
        affixes: &["model_permission_blocked"],
        phrases: &[
            "no endpoints found",
            "no allowed providers",
            "is not a valid model",
            "model not exist",
            "model not found",
            "model does not exist",
            "not found the model",
            "unknown model",
            "invalid model",
            "model identifier is invalid",
            "unable to access model",
            "no models loaded",
            "does not exist or you do not have access",
            "has been decommissioned",
            "model has been deprecated",
            "reached the end of its life",
            "does not support tools",
            "does not work with the specified model",
            "not supported by any provider",
        ],
    },
    ErrorRule {
        kind: ModelErrorKind::Auth,
        codes: &["invalid_api_key", "authentication_error", "permission_error", "permission_denied", "unauthorized"],
        affixes: &[],
        phrases: &[
            "incorrect api key",
            "invalid api key",
            "api key is invalid",
            "api key not valid",
            "invalid x-api-key",
        ],
    },
    ErrorRule {
        kind: ModelErrorKind::Refused,
        codes: &[
            "content_filter",
            "content_policy_violation",
            "responsibleaipolicyviolation",
            "cyber_policy_violation",
        ],
        affixes: &[],
        phrases: &["flagged as potentially", "input was flagged"],
    },
    ErrorRule {
        // The model's output was not valid. Another attempt may succeed.
        kind: ModelErrorKind::Broken,
        codes: &["tool_use_failed", "json_validate_failed", "output_parse_failed"],
        affixes: &[],
        phrases: &[],
    },
    ErrorRule {
        kind: ModelErrorKind::Transient,
        codes: &[
            "api_error",
            "server_error",
            "internal_error",
            "internal_server_error",
            "timeout_error",
            "service_unavailable",
        ],
        affixes: &[],
        phrases: &["upstream connect error"],
    },
    ErrorRule {
        kind: ModelErrorKind::Caller,
        codes: &["invalid_request_error", "invalid_prompt", "not_found_error", "request_too_large", "invalid-argument"],
        affixes: &[],
        phrases: &[],
    },
];

fn by_status(status: u16) -> ModelErrorKind {
    match status {
        402 => ModelErrorKind::Quota,
        401 | 403 => ModelErrorKind::Auth,
        429 => ModelErrorKind::RateLimited,
        529 => ModelErrorKind::Overloaded,
        408 | 409 | 425 | 500.. => ModelErrorKind::Transient,
        // Nothing serves the model at this address. A redirect is not followed, because an API key must not go to
        // another host.
        300..=399 | 404 | 405 | 410 => ModelErrorKind::NoSuchModel,
        _ => ModelErrorKind::Caller,
    }
}

/// Whether a 404 is about something that the request refers to by its id, rather than about the model.
fn names_an_item(message: &str) -> bool {
    const ITEMS: [&str; 8] = [
        "item with id",
        "response with id",
        "conversation with id",
        "container",
        "vector store",
        "file_",
        "file-",
        "no file",
    ];
    ITEMS.iter().any(|item| message.contains(item))
}

/// Whether to retry. The provider's advice overrides that of the kind, except for exhausted quotas.
fn advice(kind: ModelErrorKind, head: &ResponseHead) -> RetryAdvice {
    let usual = match (kind, head.should_retry) {
        (ModelErrorKind::Quota, _) | (_, Some(false)) => return RetryAdvice::Never,
        (_, Some(true)) => RetryAdvice::Backoff,
        (_, None) => kind.default_advice(),
    };
    let exhausted = (kind == ModelErrorKind::RateLimited).then(|| rate_limits::exhausted_reset(&head.limits)).flatten();
    match (usual, head.limits.retry_after.or(exhausted)) {
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

/// The beginning of a body that is not JSON.
fn excerpt(body: &[u8]) -> String {
    let start = body.trim_ascii();
    if start.is_empty() {
        return "the provider gave no reason".to_owned();
    }
    let start = start.get(..MAX_MESSAGE_BYTES).unwrap_or(start);
    String::from_utf8_lossy(start).chars().map(visible).collect()
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
