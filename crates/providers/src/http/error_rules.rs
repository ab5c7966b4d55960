//! The codes, words and statuses by which vendors' errors are classified.

use brigade_core::ModelErrorKind;

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

/// The kind of an error by its codes and its message, both in lower case.
pub(super) fn by_text(codes: &[String], message: &str) -> Option<ModelErrorKind> {
    RULES.iter().find(|rule| rule.matches(codes, message)).map(|rule| rule.kind)
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

/// The kind of an error whose text says nothing.
pub(super) fn by_status(status: u16) -> ModelErrorKind {
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
pub(super) fn names_an_item(message: &str) -> bool {
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
