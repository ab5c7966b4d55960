//! Errors in the form of `OpenAI`'s API, whose clients raise an exception by status.

use std::{any::Any, time::Duration};

use axum::{
    Extension, Json,
    extract::rejection::QueryRejection,
    http::{HeaderValue, Method, StatusCode, Uri, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use brigade_core::{ModelError, RetryAdvice, RunError, RunFailure, TranscriptError};
use brigade_durable::{DurableError, RunStoreError};
use brigade_edge::{AdmissionError, RequestError, reword};
use brigade_openai::{ErrorCode, FieldError};
use brigade_store::{RunInfo, RunStatus, StoreError};
use schemars::JsonSchema;
use serde::Serialize;

use super::error_code;
use crate::runs::{idempotency::IdempotencyConflict, lookup::LookupError};

/// The error that a client gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    /// A stable name for programs.
    pub(crate) code: ErrorCode,
    /// What went wrong, why, and what to do next.
    pub(crate) message: String,
    /// The field of the request that is not valid.
    pub(crate) param: Option<String>,
    pub(crate) retry_after: Option<Duration>,
    /// The server has retried already, so the client should not.
    pub(crate) was_retried: bool,
    /// The answer that is not valid.
    pub(crate) output: Option<String>,
    /// The code under which other endpoints report the same error.
    pub(crate) elsewhere: Option<ErrorCode>,
}

/// The body of an error response.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Error")]
pub(crate) struct ErrorBody {
    pub(crate) error: ErrorDetails,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ErrorDetails {
    /// What went wrong, why, and what to do next.
    pub(crate) message: String,
    pub(crate) r#type: ErrorType,
    /// The field of the request that is not valid.
    pub(crate) param: Option<String>,
    /// A stable name for programs.
    pub(crate) code: ErrorCode,
    /// The answer that does not have the form that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) output: Option<String>,
    /// Details that have no place in OpenAI's form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) brigade: Option<BrigadeError>,
}

/// Details that have no place in `OpenAI`'s form.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct BrigadeError {
    /// The code under which other endpoints report the same error.
    code: ErrorCode,
}

/// `OpenAI`'s kinds of errors.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ErrorType {
    AuthenticationError,
    InsufficientQuota,
    PermissionError,
    RateLimitError,
    InvalidRequestError,
    ServerError,
}

/// Running runs take seconds, so a second later one may have ended.
const FULL_DELAY: Duration = Duration::from_secs(1);

/// By then a load balancer has noticed the shutdown, or a new process listens.
const DRAINING_DELAY: Duration = Duration::from_secs(5);

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            param: None,
            retry_after: None,
            was_retried: false,
            output: None,
            elsewhere: None,
        }
    }

    /// The request is not valid.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::InvalidRequest, message)
    }

    /// A field of the request is not valid.
    pub(crate) fn field(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..Self::invalid(message) }
    }

    /// A field of the request is not supported.
    pub(crate) fn unsupported(param: &str, message: impl Into<String>) -> Self {
        Self { code: ErrorCode::UnsupportedParameter, ..Self::field(param, message) }
    }

    pub(crate) fn not_found(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::InternalError, message)
    }

    /// The run ended in a panic, which is a bug.
    pub(crate) fn panicked() -> Self {
        Self::internal("the run ended in an internal error; see the server's log")
    }

    /// The error of a run that only the store knows.
    pub(crate) fn of_stored(run: &RunInfo) -> Option<Self> {
        let (message, code) = match run.status() {
            RunStatus::Failed => ("the run failed; its events have the details", ErrorCode::Failed),
            RunStatus::Interrupted => {
                ("the server stopped before the run ended; start the run again", ErrorCode::Interrupted)
            }
            RunStatus::Running | RunStatus::Ended | RunStatus::Cancelled | RunStatus::Waiting => return None,
        };
        let kind = run.error.as_deref().and_then(|kind| serde_json::from_value(kind.into()).ok());
        let (status, code) = kind.map_or((StatusCode::INTERNAL_SERVER_ERROR, code), error_code::of_model_error);
        Some(Self::new(status, code, message))
    }

    /// The server stops before the run has ended.
    pub(crate) fn stopping() -> Self {
        let message = "the server is shutting down; send the request again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Stopping, message).retry_after(DRAINING_DELAY)
    }

    /// The error as clients of Responses expect it. They retry status 402, so a budget that is used up is the error of an
    /// account without money, after which they stop.
    pub(crate) fn of_response(self) -> Self {
        if self.code != ErrorCode::BudgetExhausted {
            return self;
        }
        let (status, code) = (StatusCode::TOO_MANY_REQUESTS, ErrorCode::InsufficientQuota);
        Self { status, code, elsewhere: Some(self.code), was_retried: true, ..self }
    }

    #[must_use]
    pub(crate) fn retry_after(self, delay: Duration) -> Self {
        Self { retry_after: Some(delay), ..self }
    }

    pub(crate) fn body(&self) -> ErrorBody {
        ErrorBody { error: self.details() }
    }

    pub(crate) fn details(&self) -> ErrorDetails {
        let Self { code, message, param, output, elsewhere, .. } = self.clone();
        let brigade = elsewhere.map(|code| BrigadeError { code });
        ErrorDetails { message, r#type: self.kind(), param, code, output, brigade }
    }

    fn kind(&self) -> ErrorType {
        match self.status.as_u16() {
            429 if self.code == ErrorCode::InsufficientQuota => ErrorType::InsufficientQuota,
            401 => ErrorType::AuthenticationError,
            402 => ErrorType::InsufficientQuota,
            403 => ErrorType::PermissionError,
            429 => ErrorType::RateLimitError,
            400..=499 => ErrorType::InvalidRequestError,
            _ => ErrorType::ServerError,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Extension(self.code), Json(self.body())).into_response();
        if let Some(delay) = self.retry_after {
            // In whole seconds, rounded up.
            let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.was_retried {
            // OpenAI's own clients read this header.
            response.headers_mut().insert("x-should-retry", HeaderValue::from_static("false"));
        }
        response
    }
}

impl From<FieldError> for ApiError {
    fn from(error: FieldError) -> Self {
        if error.is_unsupported {
            Self::unsupported(&error.param, error.message)
        } else {
            Self::field(error.param, error.message)
        }
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        let (status, code) = match error {
            RequestError::HeadTooLarge { .. } => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, ErrorCode::HeadTooLong),
            RequestError::BodyTooLarge { .. } => {
                let message = "the body is larger than the limit `server.max_body`; send a shorter conversation";
                return Self::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::BodyTooLarge, message);
            }
            RequestError::BodyTooSlow { .. } => (StatusCode::REQUEST_TIMEOUT, ErrorCode::BodyTooSlow),
            RequestError::BodyIncomplete => (StatusCode::BAD_REQUEST, ErrorCode::InvalidRequest),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<&RunError> for ApiError {
    fn from(error: &RunError) -> Self {
        let message = error.chain();
        match error.cause() {
            RunFailure::Model(cause) => Self { message, ..Self::from(cause) },
            RunFailure::Tool { .. } | RunFailure::Group(_) => {
                Self { was_retried: true, ..Self::new(StatusCode::BAD_GATEWAY, ErrorCode::WorkerFailed, message) }
            }
            // For example a conversation that only has results of calls that were never made.
            RunFailure::Transcript(TranscriptError::NothingAsked) => Self::invalid(message),
            _ => Self::internal(message),
        }
    }
}

impl From<AdmissionError> for ApiError {
    fn from(error: AdmissionError) -> Self {
        let (status, code, delay) = match error {
            AdmissionError::Full { .. } | AdmissionError::FullForOwner { .. } => {
                (StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRuns, FULL_DELAY)
            }
            AdmissionError::Closed => (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Stopping, DRAINING_DELAY),
        };
        Self::new(status, code, error.to_string()).retry_after(delay)
    }
}

impl From<IdempotencyConflict> for ApiError {
    fn from(error: IdempotencyConflict) -> Self {
        Self::new(StatusCode::CONFLICT, ErrorCode::IdempotencyKeyReused, error.to_string())
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::StoreUnavailable, error.to_string())
    }
}

impl From<LookupError> for ApiError {
    fn from(error: LookupError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::StoreUnavailable, error.to_string())
    }
}

impl From<RunStoreError> for ApiError {
    fn from(error: RunStoreError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::StoreUnavailable, error.to_string())
    }
}

impl From<DurableError> for ApiError {
    fn from(error: DurableError) -> Self {
        let (status, code) = match error {
            DurableError::UnknownRun(_) | DurableError::UnknownAgent(_) => {
                (StatusCode::NOT_FOUND, ErrorCode::RunNotFound)
            }
            DurableError::NotResumable(_) | DurableError::NothingToDecide { .. } | DurableError::TooManySignals(_) => {
                (StatusCode::CONFLICT, ErrorCode::RunNotWaiting)
            }
            DurableError::EditedArguments(_) => return Self::field("arguments", error.to_string()),
            DurableError::UnknownStep { .. } => return Self::field("from", error.to_string()),
            _ => (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::StoreUnavailable),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<&QueryRejection> for ApiError {
    fn from(error: &QueryRejection) -> Self {
        let text = error.body_text();
        let (_, problem) = text.split_once(": ").unwrap_or(("", &text));
        let (name, problem) = problem.split_once(": ").unwrap_or(("query", problem));
        Self::field(name, format!("`{name}`: {}", reword(problem)))
    }
}

impl From<&ModelError> for ApiError {
    fn from(error: &ModelError) -> Self {
        let (status, code) = error_code::of_model_error(error.kind());
        let retry_after = match error.retry() {
            RetryAdvice::After(delay) => Some(delay),
            RetryAdvice::Backoff => Some(Duration::from_secs(1)).filter(|_| status.is_server_error()),
            RetryAdvice::Never => None,
        };
        Self { retry_after, was_retried: true, ..Self::new(status, code, error.to_string()) }
    }
}

/// The fallback for unknown paths.
pub(crate) async fn no_such_route(uri: Uri) -> ApiError {
    ApiError::not_found(
        ErrorCode::NoSuchRoute,
        format!("there is nothing at {}; the API is below /v1, and /docs describes it", uri.path()),
    )
}

/// The fallback for known paths with other methods.
pub(crate) async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("{} does not support {method}; /docs lists the methods", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::NoSuchMethod, message)
}

/// A handler panicked, which is a bug. The log has the details.
pub(crate) fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    ApiError::internal("internal error; see the server's log").into_response()
}
