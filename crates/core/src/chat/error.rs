//! Errors of model calls.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{ModelId, RateLimits, Usage};

/// A model call failed.
///
/// The client that knows the provider's protocol classifies the error once. Retry, circuit breaker, fallback, metrics and
/// HTTP statuses depend on the kind and on the retry advice only.
///
/// ```
/// use brigade_core::{ModelError, ModelErrorKind};
///
/// let error = ModelError::new(ModelErrorKind::Overloaded, "no capacity").with(|details| details.status = Some(529));
/// assert_eq!(error.to_string(), "no capacity (overloaded, HTTP 529)");
/// ```
#[derive(Debug)]
pub struct ModelError(Box<ModelErrorDetails>);

/// The details of a failed model call.
#[derive(Debug)]
#[non_exhaustive]
pub struct ModelErrorDetails {
    /// The kind of failure.
    pub kind: ModelErrorKind,
    /// Whether a retry may succeed.
    pub retry: RetryAdvice,
    /// The model that was called, if known.
    pub model: Option<ModelId>,
    /// The HTTP status, if a response arrived.
    pub status: Option<u16>,
    /// The provider's own error code or type.
    pub code: Option<String>,
    /// The provider's id of the failed request.
    pub request_id: Option<String>,
    /// The tokens that the provider reported for the failed call.
    pub usage: Option<Usage>,
    /// Whether the request was sent, so that the provider may bill it.
    pub sent: bool,
    /// Whether the connection was probably closed while it was idle, which says nothing about the provider.
    pub stale_connection: bool,
    /// The rate limits that the response reported.
    pub limits: RateLimits,
    /// A description of the failure.
    pub message: String,
    /// The cause.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The kind of a failed model call.
///
/// The enum is exhaustive on purpose: each wrapper decides about every kind, and a new kind must not compile until it
/// has done so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, schemars::JsonSchema)]
#[schemars(with = "KindName")]
pub enum ModelErrorKind {
    /// The request is not valid; a retry fails again.
    Caller,
    /// The deployment does not serve the model: it is unknown, withdrawn, not open to the account, or the address is
    /// wrong. The request may be valid, so another model can answer it.
    NoSuchModel,
    /// The credentials were not accepted.
    Auth,
    /// The account has no money left.
    Quota,
    /// A rate limit of requests or tokens was exceeded.
    RateLimited,
    /// The provider has no capacity.
    Overloaded,
    /// No connection could be made; nothing was sent.
    Unreachable,
    /// The provider or the network failed temporarily.
    Transient,
    /// A timeout elapsed.
    Timeout(TimeoutPhase),
    /// The reply was cut off or malformed.
    Broken,
    /// The provider declined to answer.
    Refused,
    /// The prompt does not fit the model's context window.
    ContextLength,
    /// The call would exceed a budget.
    Budget,
    /// The circuit breaker is open after too many failures; the call was not made.
    CircuitOpen,
    /// The caller cancelled the call.
    Cancelled,
}

/// The phase of a call in which a timeout elapsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimeoutPhase {
    /// Until the connection was established.
    Connect,
    /// Until the first delta or the response head.
    FirstDelta,
    /// Between two deltas with content.
    Idle,
    /// The whole attempt.
    Attempt,
}

/// Whether a retry may succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAdvice {
    /// A retry fails again.
    Never,
    /// After a delay that the caller chooses.
    Backoff,
    /// After this delay, which the provider asked for.
    After(Duration),
}

impl ModelError {
    /// An error with the kind's [default advice](ModelErrorKind::default_advice).
    pub fn new(kind: ModelErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(ModelErrorDetails {
            kind,
            retry: kind.default_advice(),
            model: None,
            status: None,
            code: None,
            request_id: None,
            usage: None,
            sent: false,
            stale_connection: false,
            limits: RateLimits::default(),
            message: message.into(),
            source: None,
        }))
    }

    /// Sets details.
    #[must_use]
    pub fn with(mut self, set: impl FnOnce(&mut ModelErrorDetails)) -> Self {
        set(&mut self.0);
        self
    }

    /// Sets the cause.
    #[must_use]
    pub fn caused_by(self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.with(|details| details.source = Some(source.into()))
    }

    /// The kind of failure.
    pub fn kind(&self) -> ModelErrorKind {
        self.0.kind
    }

    /// Whether a retry may succeed.
    pub fn retry(&self) -> RetryAdvice {
        self.0.retry
    }

    /// The model, the HTTP status, the usage and everything else that is known about the failure.
    pub fn details(&self) -> &ModelErrorDetails {
        &self.0
    }
}

impl ModelErrorDetails {
    /// Whether the provider may bill the failed call. Vendors do not bill requests that they answer with an error status or a redirect.
    pub fn may_be_billed(&self) -> bool {
        self.sent && self.status.is_none_or(|status| status < 300)
    }
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ModelErrorDetails { kind, model, status, request_id, message, .. } = &*self.0;
        if let Some(model) = model {
            write!(f, "{model}: ")?;
        }
        write!(f, "{message} ({}", kind.name())?;
        if let Some(status) = status {
            write!(f, ", HTTP {status}")?;
        }
        if let Some(id) = request_id {
            write!(f, ", request {id}")?;
        }
        f.write_str(")")
    }
}

impl std::error::Error for ModelError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| &**source as _)
    }
}

impl ModelErrorKind {
    pub(crate) const ALL: [Self; 18] = [
        Self::Caller,
        Self::NoSuchModel,
        Self::Auth,
        Self::Quota,
        Self::RateLimited,
        Self::Overloaded,
        Self::Unreachable,
        Self::Transient,
        Self::Timeout(TimeoutPhase::Connect),
        Self::Timeout(TimeoutPhase::FirstDelta),
        Self::Timeout(TimeoutPhase::Idle),
        Self::Timeout(TimeoutPhase::Attempt),
        Self::Broken,
        Self::Refused,
        Self::ContextLength,
        Self::Budget,
        Self::CircuitOpen,
        Self::Cancelled,
    ];

    /// The advice if the provider gives none.
    pub const fn default_advice(self) -> RetryAdvice {
        match self {
            Self::RateLimited
            | Self::Overloaded
            | Self::Unreachable
            | Self::Transient
            | Self::Timeout(_)
            | Self::Broken => RetryAdvice::Backoff,
            Self::Caller
            | Self::NoSuchModel
            | Self::Auth
            | Self::Quota
            | Self::Refused
            | Self::ContextLength
            | Self::Budget
            | Self::CircuitOpen
            | Self::Cancelled => RetryAdvice::Never,
        }
    }
}

names! { ModelErrorKind:
    Caller => "caller", NoSuchModel => "no_such_model", Auth => "auth", Quota => "quota", RateLimited => "rate_limited",
    Overloaded => "overloaded", Unreachable => "unreachable", Transient => "transient",
    Timeout(TimeoutPhase::Connect) => "timeout_connect", Timeout(TimeoutPhase::FirstDelta) => "timeout_first_delta",
    Timeout(TimeoutPhase::Idle) => "timeout_idle", Timeout(TimeoutPhase::Attempt) => "timeout_attempt",
    Broken => "broken", Refused => "refused", ContextLength => "context_length", Budget => "budget",
    CircuitOpen => "circuit_open", Cancelled => "cancelled",
}

/// By its [name](ModelErrorKind::name).
impl Serialize for ModelErrorKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[derive(schemars::JsonSchema)]
#[schemars(rename = "ModelErrorKind", extend("enum" = ModelErrorKind::ALL.map(ModelErrorKind::name)))]
struct KindName(#[expect(dead_code, reason = "only its schema is used")] String);

impl<'de> Deserialize<'de> for ModelErrorKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let kind = Self::ALL.into_iter().find(|kind| kind.name() == name);
        kind.ok_or_else(|| de::Error::custom(format_args!("`{name}` is not a kind of model error")))
    }
}
