//! Errors in `OpenAI`'s form, which their clients turn into exceptions by status.

use std::{any::Any, time::Duration};

use axum::{
    Extension, Json,
    http::{HeaderValue, Method, StatusCode, Uri, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use brigade_core::{ModelError, ModelErrorKind, RetryAdvice, RunError, RunFailure};
use brigade_store::StoreError;
use serde_json::json;

/// Why a request got no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    /// A stable word for programs.
    pub(crate) code: &'static str,
    /// What went wrong, why, and what to do.
    pub(crate) message: String,
    /// The field of the request that is wrong.
    pub(crate) param: Option<String>,
    pub(crate) retry_after: Option<Duration>,
    /// What was tried as often as is sensible must not be tried again by the client.
    pub(crate) is_exhausted: bool,
}

/// The code of the error that a response tells, for those who count.
#[derive(Debug, Clone, Copy)]
pub(super) struct ErrorCode(pub(super) &'static str);

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), param: None, retry_after: None, is_exhausted: false }
    }

    /// The request is wrong.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    /// A field of the request is wrong.
    pub(crate) fn field(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..Self::invalid(message) }
    }

    /// A field asks for something that is not done here.
    pub(crate) fn unsupported(param: &str, message: impl Into<String>) -> Self {
        Self { code: "unsupported_parameter", ..Self::field(param, message) }
    }

    pub(crate) fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", message)
    }

    #[must_use]
    pub(crate) fn retry_after(self, delay: Duration) -> Self {
        Self { retry_after: Some(delay), ..self }
    }

    /// As JSON in `OpenAI`'s form.
    pub(crate) fn body(&self) -> serde_json::Value {
        let Self { code, message, param, .. } = self;
        json!({ "error": { "message": message, "type": self.kind(), "param": param, "code": code } })
    }

    /// `OpenAI`'s word for the kind of error.
    fn kind(&self) -> &'static str {
        match self.status.as_u16() {
            401 => "authentication_error",
            402 => "insufficient_quota",
            403 => "permission_error",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            _ => "server_error",
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Extension(ErrorCode(self.code)), Json(self.body())).into_response();
        if let Some(delay) = self.retry_after {
            // Whole seconds, and never earlier than meant.
            let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.is_exhausted {
            // OpenAI's own clients heed it; others do not mind.
            response.headers_mut().insert("x-should-retry", HeaderValue::from_static("false"));
        }
        response
    }
}

impl From<&RunError> for ApiError {
    fn from(error: &RunError) -> Self {
        let message = error.chain();
        match error.cause() {
            RunFailure::Model(cause) => Self { message, ..Self::from(cause) },
            RunFailure::Tool { .. } | RunFailure::Quorum { .. } | RunFailure::Remote { .. } | RunFailure::Bus(_) => {
                Self { is_exhausted: true, ..Self::new(StatusCode::BAD_GATEWAY, "worker_failed", message) }
            }
            _ => Self::internal(message),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", error.to_string())
    }
}

impl From<&ModelError> for ApiError {
    fn from(error: &ModelError) -> Self {
        let (status, code) = match error.kind() {
            ModelErrorKind::Caller => (StatusCode::BAD_REQUEST, "provider_rejected_request"),
            ModelErrorKind::Refused => (StatusCode::BAD_REQUEST, "refused"),
            ModelErrorKind::ContextLength => (StatusCode::BAD_REQUEST, "context_length_exceeded"),
            ModelErrorKind::Budget => (StatusCode::PAYMENT_REQUIRED, "budget_exhausted"),
            ModelErrorKind::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "provider_rate_limited"),
            ModelErrorKind::Auth => (StatusCode::SERVICE_UNAVAILABLE, "provider_credentials_refused"),
            ModelErrorKind::Quota => (StatusCode::SERVICE_UNAVAILABLE, "provider_quota_exhausted"),
            ModelErrorKind::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "provider_overloaded"),
            ModelErrorKind::Unreachable => (StatusCode::SERVICE_UNAVAILABLE, "provider_unreachable"),
            ModelErrorKind::Transient => (StatusCode::SERVICE_UNAVAILABLE, "provider_failed"),
            ModelErrorKind::CircuitOpen => (StatusCode::SERVICE_UNAVAILABLE, "provider_unavailable"),
            ModelErrorKind::Cancelled => (StatusCode::SERVICE_UNAVAILABLE, "cancelled"),
            ModelErrorKind::Broken => (StatusCode::BAD_GATEWAY, "provider_answer_broken"),
            ModelErrorKind::Timeout(_) => (StatusCode::GATEWAY_TIMEOUT, "provider_timeout"),
        };
        let retry_after = match error.retry() {
            RetryAdvice::After(delay) => Some(delay),
            RetryAdvice::Backoff => Some(Duration::from_secs(1)).filter(|_| status.is_server_error()),
            RetryAdvice::Never => None,
        };
        Self { retry_after, is_exhausted: true, ..Self::new(status, code, error.to_string()) }
    }
}

/// Nothing is served at this path.
pub(crate) async fn no_such_route(uri: Uri) -> ApiError {
    ApiError::not_found("no_such_route", format!("nothing is served at {}; the API is below /v1", uri.path()))
}

/// The path is served, but not with this method.
pub(crate) async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("{} is not served with {method}", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "no_such_method", message)
}

/// A bug of ours. What it was is in the log.
pub(crate) fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    ApiError::internal("the server failed; its log says why").into_response()
}
