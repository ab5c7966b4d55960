//! Errors of model calls.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{ModelId, RateLimits, Usage};

/// A model call that failed. Decided once, by whoever knows the wire; everybody else reads the kind and the advice.
#[derive(Debug)]
pub struct ModelError(Box<ModelErrorDetails>);

/// What is known about a failed model call.
#[derive(Debug)]
#[non_exhaustive]
pub struct ModelErrorDetails {
    /// What went wrong.
    pub kind: ModelErrorKind,
    /// Whether asking again may help.
    pub retry: RetryAdvice,
    /// Which model was asked, once known.
    pub model: Option<ModelId>,
    /// The HTTP status, where there was one.
    pub status: Option<u16>,
    /// The provider's own error code or type.
    pub code: Option<String>,
    /// The provider's id of the failed exchange.
    pub request_id: Option<String>,
    /// Tokens that the provider reported for the failed call.
    pub usage: Option<Usage>,
    /// Whether the request left, so that the provider may bill it.
    pub sent: bool,
    /// What the response said about rate limits.
    pub limits: RateLimits,
    /// What went wrong, in words.
    pub message: String,
    /// The cause.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What went wrong in a model call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ModelErrorKind {
    /// The request is wrong and will be wrong again.
    Caller,
    /// The credentials are not accepted.
    Auth,
    /// The account has no money left.
    Quota,
    /// Too many requests or tokens for now.
    RateLimited,
    /// The provider has no capacity.
    Overloaded,
    /// Nobody answers at the provider's address; nothing was sent.
    Unreachable,
    /// The provider or the way to it failed for now.
    Transient,
    /// It took too long.
    Timeout(TimeoutPhase),
    /// The answer was cut off or malformed.
    Broken,
    /// The provider declined.
    Refused,
    /// The prompt does not fit the model's context window.
    ContextLength,
    /// The call would exceed a budget.
    Budget,
    /// Too many recent failures: the call was not tried.
    CircuitOpen,
    /// The caller gave up.
    Cancelled,
}

/// Which wait took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimeoutPhase {
    /// Until a connection stood.
    Connect,
    /// Until the first delta, or the response head.
    FirstDelta,
    /// Between two deltas that carried content.
    Idle,
    /// The whole attempt.
    Attempt,
}

/// Whether asking again may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAdvice {
    /// It will fail again.
    Never,
    /// After a delay of the caller's choice.
    Backoff,
    /// Not before this has passed: the provider said so.
    After(Duration),
}

impl ModelError {
    /// A failure of the given kind, with the advice that the kind usually carries.
    pub fn new(kind: ModelErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(ModelErrorDetails {
            kind,
            retry: kind.usual_advice(),
            model: None,
            status: None,
            code: None,
            request_id: None,
            usage: None,
            sent: false,
            limits: RateLimits::default(),
            message: message.into(),
            source: None,
        }))
    }

    /// Fills in what else is known.
    #[must_use]
    pub fn with(mut self, fill: impl FnOnce(&mut ModelErrorDetails)) -> Self {
        fill(&mut self.0);
        self
    }

    /// Keeps the cause.
    #[must_use]
    pub fn caused_by(self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.with(|details| details.source = Some(source.into()))
    }

    /// What went wrong.
    pub fn kind(&self) -> ModelErrorKind {
        self.0.kind
    }

    /// Whether asking again may help.
    pub fn retry(&self) -> RetryAdvice {
        self.0.retry
    }

    /// Everything that is known.
    pub fn details(&self) -> &ModelErrorDetails {
        &self.0
    }
}

impl ModelErrorDetails {
    /// Whether the provider may bill the call although it failed. Vendors bill no request that they answer with an error
    /// status.
    pub fn may_be_billed(&self) -> bool {
        self.sent && self.status.is_none_or(|status| status < 400)
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
    pub(crate) const ALL: [Self; 17] = [
        Self::Caller,
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

    /// A stable name for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Auth => "auth",
            Self::Quota => "quota",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::Unreachable => "unreachable",
            Self::Transient => "transient",
            Self::Timeout(TimeoutPhase::Connect) => "timeout_connect",
            Self::Timeout(TimeoutPhase::FirstDelta) => "timeout_first_delta",
            Self::Timeout(TimeoutPhase::Idle) => "timeout_idle",
            Self::Timeout(TimeoutPhase::Attempt) => "timeout_attempt",
            Self::Broken => "broken",
            Self::Refused => "refused",
            Self::ContextLength => "context_length",
            Self::Budget => "budget",
            Self::CircuitOpen => "circuit_open",
            Self::Cancelled => "cancelled",
        }
    }

    /// The advice that fits this kind when the provider gives none.
    pub const fn usual_advice(self) -> RetryAdvice {
        match self {
            Self::RateLimited
            | Self::Overloaded
            | Self::Unreachable
            | Self::Transient
            | Self::Timeout(_)
            | Self::Broken => RetryAdvice::Backoff,
            Self::Caller
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

/// By its [name](ModelErrorKind::name).
impl Serialize for ModelErrorKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for ModelErrorKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let kind = Self::ALL.into_iter().find(|kind| kind.name() == name);
        kind.ok_or_else(|| de::Error::custom(format_args!("`{name}` is not a kind of model error")))
    }
}
