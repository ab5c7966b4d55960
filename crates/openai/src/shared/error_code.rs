//! The codes of error responses.

use schemars::JsonSchema;
use serde::Serialize;

/// Defines [`ErrorCode`] and its names from one list.
macro_rules! error_codes {
    ($($code:ident = $name:literal: $doc:literal,)+) => {
        /// A stable name of an error, for programs. New names may be added.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $(#[doc = $doc] #[serde(rename = $name)] $code,)+
        }

        impl ErrorCode {
            /// All codes.
            pub const ALL: &[Self] = &[$(Self::$code),+];

            /// The name in answers.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$code => $name,)+ }
            }
        }
    };
}

error_codes! {
    InvalidRequest = "invalid_request": "The request, or the field in `param`, is not valid.",
    UnsupportedParameter = "unsupported_parameter": "The field in `param` is not supported.",
    InvalidJson = "invalid_json": "The body is not JSON.",
    NotJson = "not_json": "The content type of the body is not JSON.",
    BodyTooLarge = "body_too_large": "The body is larger than the server's limit.",
    BodyTooSlow = "body_too_slow": "The body did not arrive in time.",
    HeadTooLong = "head_too_long": "Path and headers are larger than the server's limit.",
    InvalidApiKey = "invalid_api_key": "The API key is missing or unknown.",
    ScopeMissing = "scope_missing": "The API key does not have the scope that the request needs.",
    UnknownHost = "unknown_host": "A server without keys got a request to a host name that is not its own.",
    NoSuchRoute = "no_such_route": "There is nothing at this path.",
    NoSuchMethod = "no_such_method": "The path does not support this method.",
    ModelNotFound = "model_not_found": "There is no agent with this name.",
    ResponseNotFound = "response_not_found": "There is no response with this id.",
    ResponseInProgress = "response_in_progress": "The response cannot be continued before it has ended.",
    RunNotFound = "run_not_found": "There is no run with this id.",
    RunNotKept = "run_not_kept": "The idempotency key started a run that the server does not have any more.",
    RunNotDurable = "run_not_durable": "The run was not stored when it started, so it can neither be resumed nor get signals.",
    RunNotWaiting = "run_not_waiting": "The run can neither be resumed, decided on nor signalled in its state.",
    ApprovalNotFound = "approval_not_found": "There is no approval with this id.",
    ApprovalClosed = "approval_closed": "Another answer was given, no answer came in time, or the run has ended.",
    EventsNotKept = "events_not_kept": "The events of the run were not kept.",
    IdempotencyKeyReused = "idempotency_key_reused": "The idempotency key belongs to another request.",
    RateLimitExceeded = "rate_limit_exceeded": "The API key sent too many requests in a minute.",
    TooManyRuns = "too_many_runs": "The server runs as many runs as it may.",
    Stopping = "stopping": "The server is shutting down.",
    StoreUnavailable = "store_unavailable": "The store cannot be read or written.",
    InternalError = "internal_error": "A bug of the server; its log has the details.",
    WorkerFailed = "worker_failed": "A worker that the agent cannot do without failed.",
    ProviderRejectedRequest = "provider_rejected_request": "The provider says that the request is not valid.",
    Refused = "refused": "The model declined to answer.",
    ContextLengthExceeded = "context_length_exceeded": "The conversation does not fit the model's context window.",
    InvalidOutput = "invalid_output": "The answer does not have the form that was asked for; it is in `output`.",
    BudgetExhausted = "budget_exhausted": "A budget is used up.",
    InsufficientQuota = "insufficient_quota": "A budget is used up: the code of `/v1/responses`.",
    DeadlineExceeded = "deadline_exceeded": "The time limit of the run was reached.",
    Cancelled = "cancelled": "The run was cancelled.",
    ProviderRateLimited = "provider_rate_limited": "The provider's rate limit was reached.",
    ProviderHasNoSuchModel = "provider_has_no_such_model": "The provider does not serve the model.",
    ProviderCredentialsRefused = "provider_credentials_refused": "The provider did not accept the server's credentials.",
    ProviderQuotaExhausted = "provider_quota_exhausted": "The server's account at the provider has no money left.",
    ProviderOverloaded = "provider_overloaded": "The provider has no capacity.",
    ProviderUnreachable = "provider_unreachable": "There is no connection to the provider.",
    ProviderFailed = "provider_failed": "The provider failed.",
    ProviderUnavailable = "provider_unavailable": "The provider failed too often, so the server does not call it for a while.",
    ProviderAnswerBroken = "provider_answer_broken": "The provider's answer was cut off or malformed.",
    ProviderTimeout = "provider_timeout": "The provider did not answer in time.",
    Failed = "failed": "The run failed, and the store does not know why.",
    Interrupted = "interrupted": "The server stopped before the run ended.",
}
