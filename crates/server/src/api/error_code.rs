//! The status and the code of failed model calls.

use axum::http::StatusCode;
use brigade_core::ModelErrorKind;
use brigade_openai::ErrorCode;

/// The status and the code of a failed model call.
pub(super) const fn of_model_error(kind: ModelErrorKind) -> (StatusCode, ErrorCode) {
    match kind {
        ModelErrorKind::Caller => (StatusCode::BAD_REQUEST, ErrorCode::ProviderRejectedRequest),
        ModelErrorKind::Refused => (StatusCode::BAD_REQUEST, ErrorCode::Refused),
        ModelErrorKind::ContextLength => (StatusCode::BAD_REQUEST, ErrorCode::ContextLengthExceeded),
        ModelErrorKind::Budget => (StatusCode::PAYMENT_REQUIRED, ErrorCode::BudgetExhausted),
        ModelErrorKind::RateLimited => (StatusCode::TOO_MANY_REQUESTS, ErrorCode::ProviderRateLimited),
        ModelErrorKind::NoSuchModel => (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::ProviderHasNoSuchModel),
        ModelErrorKind::Auth => (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::ProviderCredentialsRefused),
        ModelErrorKind::Quota => (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::ProviderQuotaExhausted),
        ModelErrorKind::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::ProviderOverloaded),
        ModelErrorKind::Unreachable => (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::ProviderUnreachable),
        ModelErrorKind::Transient => (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::ProviderFailed),
        ModelErrorKind::CircuitOpen => (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::ProviderUnavailable),
        ModelErrorKind::Cancelled => (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Cancelled),
        ModelErrorKind::Broken => (StatusCode::BAD_GATEWAY, ErrorCode::ProviderAnswerBroken),
        ModelErrorKind::Timeout(_) => (StatusCode::GATEWAY_TIMEOUT, ErrorCode::ProviderTimeout),
    }
}
