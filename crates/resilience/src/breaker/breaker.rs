//! The [`Breaker`] wrapper.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use brigade_core::{
    BreakerState, ChatModel, ChatReply, ChatRequest, Event, ModelError, ModelErrorKind, ModelId, RetryAdvice, Run,
    Settings,
};

use crate::{
    BreakerSettings,
    breaker::circuit::{CallPermit, CallResult, Circuit, CircuitOpen},
    shared::{jitter::Jitter, requested_wait::requested_wait},
};

/// Refuses calls to a model that fails too often, and to all models of an account after its credentials were rejected or
/// its quota was exhausted. From time to time one call is let through to probe whether the model works again.
///
/// A refused call fails with [`ModelErrorKind::CircuitOpen`], costs nothing and says how long the circuit stays open.
///
/// # Examples
///
/// ```
/// use brigade_core::{
///     ChatModel, ChatRequest, ModelErrorKind, Run,
///     testing::{ScriptedModel, Turn},
/// };
/// use brigade_resilience::{Breaker, BreakerSettings};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let failing = ScriptedModel::new([Turn::fails(ModelErrorKind::Overloaded), Turn::text("Not reached.")]);
/// let model = Breaker::new(failing, BreakerSettings::default().failures_in_row(1));
/// let (request, run) = (ChatRequest::new("Hello?"), Run::new());
/// assert_eq!(model.chat(&request, &run).await.unwrap_err().kind(), ModelErrorKind::Overloaded);
/// assert_eq!(model.chat(&request, &run).await.unwrap_err().kind(), ModelErrorKind::CircuitOpen);
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Breaker<M> {
    inner: M,
    settings: BreakerSettings,
    circuits: Circuits,
}

/// The circuits that must be closed for a call to pass.
#[derive(Debug, Clone)]
pub(crate) struct Circuits {
    /// Opens when the account's credentials are rejected or its quota is exhausted.
    pub(crate) account: Arc<Circuit>,
    /// Opens when the model fails.
    pub(crate) model: Arc<Circuit>,
}

impl<M: ChatModel> Breaker<M> {
    /// Guards calls to `inner`. Clones share the circuits; [`Breaker::within`] shares them further.
    pub fn new(inner: M, settings: BreakerSettings) -> Self {
        let jitter = Arc::new(Jitter::default());
        let circuit = || Arc::new(Circuit::new(settings, Arc::clone(&jitter)));
        Self { inner, settings, circuits: Circuits { account: circuit(), model: circuit() } }
    }

    pub(crate) fn breaker_settings(&self) -> BreakerSettings {
        self.settings
    }

    /// Uses circuits that other wrappers share.
    pub(crate) fn with_circuits(self, circuits: Circuits) -> Self {
        Self { circuits, ..self }
    }

    fn request<'a>(&self, circuit: &'a Circuit, subject: Subject, run: &Run) -> Result<CallPermit<'a>, ModelError> {
        let permit = circuit.request().map_err(|open| self.refused(circuit, subject, open))?;
        self.report(permit.state_change, run);
        Ok(permit)
    }

    fn refused(&self, circuit: &Circuit, subject: Subject, open: CircuitOpen) -> ModelError {
        let message = match open.retry_after {
            Some(wait) => {
                let reason = circuit.last_error().map_or("opened manually", ModelErrorKind::name);
                format!("{subject} is blocked for another {wait:.1?}; the last failure was: {reason}")
            }
            None => format!("{subject} was blocked manually until it is unblocked"),
        };
        ModelError::new(ModelErrorKind::CircuitOpen, message).with(|failure| {
            failure.model = Some(self.id().clone());
            failure.retry = open.retry_after.map_or(RetryAdvice::Never, RetryAdvice::After);
        })
    }

    fn report(&self, state_change: Option<BreakerState>, run: &Run) {
        if let Some(state) = state_change {
            run.emit(&Event::BreakerChanged { model: self.id().clone(), state });
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<M: ChatModel> ChatModel for Breaker<M> {
    fn id(&self) -> &ModelId {
        self.inner.id()
    }

    fn settings(&self) -> &Settings {
        self.inner.settings()
    }

    async fn chat(&self, request: &ChatRequest, run: &Run) -> Result<ChatReply, ModelError> {
        let account = self.request(&self.circuits.account, Subject::Account, run)?;
        let model = self.request(&self.circuits.model, Subject::Model, run)?;
        let result = self.inner.chat(request, run).await;
        let error = result.as_ref().err();
        let kind = error.map(ModelError::kind);
        self.report(model.record(model_result(error, self.settings.longest_open), kind), run);
        self.report(account.record(account_result(kind, self.settings.credential_open), kind), run);
        result
    }
}

/// The subject of a circuit, as error messages name it.
#[derive(Debug, Clone, Copy)]
enum Subject {
    Account,
    Model,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Account => "the account",
            Self::Model => "the model",
        })
    }
}

/// What a call means for the model's circuit. The rejection of an invalid request shows that the provider works. A model
/// that does not exist opens the circuit at once, because only a person can change that.
fn model_result(error: Option<&ModelError>, block: Duration) -> CallResult {
    let Some(error) = error else {
        return CallResult::Success;
    };
    if error.details().stale_connection {
        return CallResult::Ignored;
    }
    match error.kind() {
        ModelErrorKind::Caller | ModelErrorKind::Refused | ModelErrorKind::ContextLength => CallResult::Success,
        ModelErrorKind::NoSuchModel => CallResult::Block { duration: block },
        ModelErrorKind::Overloaded
        | ModelErrorKind::Unreachable
        | ModelErrorKind::Transient
        | ModelErrorKind::Timeout(_)
        | ModelErrorKind::Broken => CallResult::Failure { retry_after: requested_wait(error) },
        ModelErrorKind::RateLimited
        | ModelErrorKind::Auth
        | ModelErrorKind::Quota
        | ModelErrorKind::Budget
        | ModelErrorKind::CircuitOpen
        | ModelErrorKind::Cancelled => CallResult::Ignored,
    }
}

/// What a call means for the account's circuit. The failure of a model says nothing about credentials and quota.
fn account_result(error: Option<ModelErrorKind>, block: Duration) -> CallResult {
    let Some(kind) = error else {
        return CallResult::Success;
    };
    match kind {
        ModelErrorKind::Caller | ModelErrorKind::Refused | ModelErrorKind::ContextLength => CallResult::Success,
        ModelErrorKind::Auth | ModelErrorKind::Quota => CallResult::Block { duration: block },
        ModelErrorKind::NoSuchModel
        | ModelErrorKind::Overloaded
        | ModelErrorKind::Unreachable
        | ModelErrorKind::Transient
        | ModelErrorKind::Timeout(_)
        | ModelErrorKind::Broken
        | ModelErrorKind::RateLimited
        | ModelErrorKind::Budget
        | ModelErrorKind::CircuitOpen
        | ModelErrorKind::Cancelled => CallResult::Ignored,
    }
}

#[cfg(test)]
mod tests;
