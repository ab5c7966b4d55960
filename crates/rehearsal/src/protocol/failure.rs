//! Error responses, in each vendor's words.

use serde::Serialize;

use crate::protocol::dialect::WireDialect;
use crate::protocol::field::Field;

const OPENAI_QUOTA: &str = "You exceeded your current quota, please check your plan and billing details. For more information on this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.";
const OPENAI_FAULT: &str = "The server had an error while processing your request. Sorry about that!";
const ANTHROPIC_LIMIT: &str = "This request would exceed your account's rate limit. Please try again later.";
const ANTHROPIC_CREDIT: &str = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits.";
const ANTHROPIC_SPEND: &str = "You have reached your specified API usage limits. You will regain access later.";

/// An error response, independent of its dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) status: u16,
    pub(crate) kind: String,
    pub(crate) message: String,
    /// `OpenAI` only.
    pub(crate) code: Option<String>,
    /// `OpenAI` only.
    pub(crate) param: Option<String>,
    /// Anthropic only: `error.details.error_code`.
    pub(crate) detail: Option<&'static str>,
}

impl Failure {
    /// A 400 of type `invalid_request_error`, which exists in all dialects.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_request_error", message)
    }

    /// The error of the Responses API for encrypted reasoning that it cannot read.
    pub(crate) fn unverified(content: &str) -> Self {
        let start = content.get(..4).unwrap_or_default();
        let end = content.len().checked_sub(4).and_then(|at| content.get(at..)).unwrap_or_default();
        let message = format!("The encrypted content {start}...{end} could not be verified.");
        Self::invalid(message).code("invalid_encrypted_content")
    }

    pub(crate) fn new(status: u16, kind: &str, message: impl Into<String>) -> Self {
        Self { status, kind: kind.into(), message: message.into(), code: None, param: None, detail: None }
    }

    #[must_use]
    pub(crate) fn param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    #[must_use]
    pub(crate) fn code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    fn detail(mut self, detail: &'static str) -> Self {
        self.detail = Some(detail);
        self
    }

    /// The vendor's error for this status.
    pub(crate) fn with_status(dialect: WireDialect, status: u16, model: &str) -> Self {
        let name = match (dialect, status) {
            (WireDialect::Anthropic, 401) => "authentication_error",
            (WireDialect::Anthropic, 402) => "billing_error",
            (WireDialect::Anthropic, 403) => "permission_error",
            (WireDialect::Anthropic, 404) => "not_found_error",
            (WireDialect::Anthropic, 413) => "request_too_large",
            (WireDialect::Anthropic, 429) => "rate_limit_error",
            (WireDialect::Anthropic, 504) => "timeout_error",
            (WireDialect::Anthropic, 529) => "overloaded_error",
            (WireDialect::Anthropic, 500..) => "api_error",
            (_, 401) => "invalid_api_key",
            (_, 402) => "insufficient_quota",
            (_, 403) => "unsupported_country_region_territory",
            (_, 404) => "model_not_found",
            (_, 429) => "rate_limit_exceeded",
            (_, 503 | 529) => "server_is_overloaded",
            (_, 500..) => "server_error",
            _ => "invalid_request_error",
        };
        let mut failure = Self::named(dialect, name, model);
        failure.status = status;
        failure
    }

    /// The vendor's error with this name: `OpenAI`'s code or Anthropic's type. An unknown name becomes a server error of that
    /// name.
    pub(crate) fn named(dialect: WireDialect, name: &str, model: &str) -> Self {
        match dialect {
            WireDialect::Anthropic => Self::anthropic(name, model),
            WireDialect::OpenaiChat | WireDialect::OpenaiResponses => Self::openai(name, model),
        }
    }

    fn anthropic(name: &str, model: &str) -> Self {
        match name {
            "authentication_error" => Self::new(401, name, "invalid x-api-key"),
            "billing_error" => Self::new(402, name, ANTHROPIC_CREDIT),
            "permission_error" => {
                Self::new(403, name, "Your API key does not have permission to use the specified resource.")
            }
            "not_found_error" => Self::new(404, name, format!("model: {model}")),
            "request_too_large" => Self::new(413, name, "Request exceeds the maximum size"),
            "rate_limit_error" => Self::new(429, name, ANTHROPIC_LIMIT),
            "enforced_spend_limit_reached" => {
                Self::new(429, "rate_limit_error", ANTHROPIC_SPEND).detail("enforced_spend_limit_reached")
            }
            "credit_balance_too_low" => Self::invalid(ANTHROPIC_CREDIT),
            "spend_limit_reached" => Self::invalid(ANTHROPIC_SPEND),
            "prompt_too_long" => Self::invalid("prompt is too long: 201413 tokens > 200000 maximum"),
            "invalid_request_error" => Self::invalid("messages: Input should be a valid list"),
            "timeout_error" => Self::new(504, name, "Request timed out"),
            "overloaded_error" => Self::new(529, name, "Overloaded"),
            other => Self::new(500, other, "Internal server error"),
        }
    }

    fn openai(name: &str, model: &str) -> Self {
        match name {
            "invalid_api_key" => {
                let message = "Incorrect API key provided: sk-no****key. You can find your API key at https://platform.openai.com/account/api-keys.";
                Self::new(401, "invalid_request_error", message).code(name)
            }
            "insufficient_quota" => Self::new(429, name, OPENAI_QUOTA).code(name),
            "unsupported_country_region_territory" => {
                let message = "Country, region, or territory not supported";
                Self::new(403, "request_forbidden", message).code(name)
            }
            "model_not_found" => {
                let message = format!(
                    "The model `{model}` does not exist or you do not have access to it."
                );
                Self::new(404, "invalid_request_error", message).code(name)
            }
            "rate_limit_exceeded" => {
                let message = format!(
                    "Rate limit reached for {model} in organization org-rehearsal on requests per min (RPM): Limit 500, Used 500, Requested 1. Please try again in 2s. Visit https://platform.openai.com/account/rate-limits to learn more."
                );
                Self::new(429, "requests", message).code(name)
            }
            "context_length_exceeded" => Self::invalid("This model's maximum context length is 272000 tokens. However, your messages resulted in 281413 tokens. Please reduce the length of the messages.")
                .param("messages")
                .code(name),
            "invalid_request_error" => {
                Self::invalid("Invalid type for 'messages': expected an array of objects.")
                    .param("messages")
                    .code("invalid_type")
            }
            "server_is_overloaded" | "slow_down" => {
                let message = "Our servers are currently overloaded. Please try again later.";
                Self::new(503, "service_unavailable_error", message).code(name)
            }
            "server_error" => Self::new(500, name, OPENAI_FAULT),
            other => Self::new(500, "server_error", OPENAI_FAULT).code(other),
        }
    }

    /// The JSON body of the error. `OpenAI` indents it.
    pub(crate) fn body(&self, dialect: WireDialect, request_id: &str) -> Vec<u8> {
        let json = match dialect {
            WireDialect::Anthropic => serde_json::to_vec(&self.anthropic_body(Some(request_id))),
            WireDialect::OpenaiChat | WireDialect::OpenaiResponses => {
                serde_json::to_vec_pretty(&OpenaiBody { error: self.openai_body() })
            }
        };
        json.unwrap_or_default()
    }

    /// The error as Anthropic sends it. The error event of a stream has no `request_id`.
    pub(crate) fn anthropic_body<'a>(&'a self, request_id: Option<&'a str>) -> AnthropicBody<'a> {
        // A proxy in front of the API sends this error, without the API's `type` and `request_id`.
        let from_proxy = self.kind == "request_too_large";
        AnthropicBody {
            kind: (!from_proxy).then_some("error"),
            error: AnthropicError {
                details: match (self.detail, request_id) {
                    (Some(error_code), _) => Field::Value(ErrorCode { error_code }),
                    // Error events in streams contain `"details": null`; other error responses omit the field.
                    (None, None) => Field::Null,
                    (None, Some(_)) => Field::Absent,
                },
                kind: &self.kind,
                message: &self.message,
            },
            request_id: request_id.filter(|_| !from_proxy),
        }
    }

    pub(crate) fn openai_body(&self) -> OpenaiError<'_> {
        OpenaiError {
            message: &self.message,
            kind: &self.kind,
            param: self.param.as_deref(),
            code: self.code.as_deref(),
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct AnthropicBody<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    error: AnthropicError<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct AnthropicError<'a> {
    #[serde(skip_serializing_if = "Field::is_absent")]
    details: Field<ErrorCode<'a>>,
    #[serde(rename = "type")]
    kind: &'a str,
    message: &'a str,
}

#[derive(Debug, Serialize)]
struct ErrorCode<'a> {
    error_code: &'a str,
}

#[derive(Debug, Serialize)]
pub(crate) struct OpenaiBody<'a> {
    pub(crate) error: OpenaiError<'a>,
}

#[derive(Debug, Serialize)]
pub(crate) struct OpenaiError<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    param: Option<&'a str>,
    code: Option<&'a str>,
}
