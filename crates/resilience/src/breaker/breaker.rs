//! Not asking a model that fails.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use brigade_core::{
    ChatModel, ChatReply, ChatRequest, Event, ModelError, ModelErrorKind, ModelId, RetryAdvice, Run, Settings,
};

use crate::{
    BreakerSettings,
    breaker::circuit::{BreakerState, Circuit, Pass, Verdict},
    shared::jitter::Jitter,
};

/// Refuses calls to a model that fails too often, and to all models of an account whose credentials or money are gone;
/// lets one through from time to time to see whether it works again.
///
/// A refusal is a [`ModelErrorKind::CircuitOpen`] that costs nothing and says how long the circuit stays open.
#[derive(Debug, Clone)]
pub struct Breaker<M> {
    inner: M,
    thresholds: BreakerSettings,
    circuits: Circuits,
}

/// What must be closed for a call to pass.
#[derive(Debug, Clone)]
pub(crate) struct Circuits {
    /// The account's credentials and money.
    pub(crate) credential: Arc<Circuit>,
    /// The model at this account.
    pub(crate) model: Arc<Circuit>,
}

impl<M: ChatModel> Breaker<M> {
    /// Breaks off calls to `inner` as `thresholds` say. What is known is shared with clones; [`Breaker::within`] shares
    /// it further.
    pub fn new(inner: M, thresholds: BreakerSettings) -> Self {
        let jitter = Arc::new(Jitter::default());
        let circuit = || Arc::new(Circuit::new(thresholds, Arc::clone(&jitter)));
        Self { inner, thresholds, circuits: Circuits { credential: circuit(), model: circuit() } }
    }

    /// The settings this wrapper was built with.
    pub(crate) fn thresholds(&self) -> BreakerSettings {
        self.thresholds
    }

    /// Replaces the circuits by ones that other wrappers use too.
    pub(crate) fn with_circuits(self, circuits: Circuits) -> Self {
        Self { circuits, ..self }
    }

    fn enter<'a>(&self, circuit: &'a Circuit, what: Guarded, run: &Run) -> Result<Pass<'a>, ModelError> {
        match circuit.enter() {
            Ok((pass, changed)) => {
                self.tell(changed, run);
                Ok(pass)
            }
            Err(wait) => Err(self.refusal(circuit, what, wait)),
        }
    }

    fn refusal(&self, circuit: &Circuit, what: Guarded, wait: Option<Duration>) -> ModelError {
        let reason = circuit.last_error().map_or("opened by hand", ModelErrorKind::name);
        let message = match wait {
            Some(wait) => format!("{what} rests for {wait:.1?} more, the last failure was: {reason}"),
            None => format!("{what} was switched off by hand and rests until it is switched on"),
        };
        ModelError::new(ModelErrorKind::CircuitOpen, message).with(|failure| {
            failure.model = Some(self.id().clone());
            failure.retry = wait.map_or(RetryAdvice::Never, RetryAdvice::After);
        })
    }

    fn tell(&self, changed: Option<BreakerState>, run: &Run) {
        if let Some(state) = changed {
            run.emit(&Event::BreakerChanged { model: self.id().clone(), state: state.name() });
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
        let Circuits { credential, model } = &self.circuits;
        let by_credential = self.enter(credential, Guarded::Credential, run)?;
        let by_model = self.enter(model, Guarded::Model, run)?;
        let result = self.inner.chat(request, run).await;
        let error = result.as_ref().err();
        let kind = error.map(ModelError::kind);
        self.tell(by_model.judge(model_verdict(error), kind), run);
        let verdict = credential_verdict(kind, self.thresholds.credential_open);
        self.tell(by_credential.judge(verdict, kind), run);
        result
    }
}

/// What a circuit guards, in the words of a refusal.
#[derive(Debug, Clone, Copy)]
enum Guarded {
    Credential,
    Model,
}

impl fmt::Display for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Credential => "the account",
            Self::Model => "the model",
        })
    }
}

/// What a call says about the model. A request that is wrong was answered, and so shows that the provider works.
fn model_verdict(error: Option<&ModelError>) -> Verdict {
    let Some(error) = error else {
        return Verdict::Works;
    };
    match error.kind() {
        ModelErrorKind::Caller | ModelErrorKind::Refused | ModelErrorKind::ContextLength => Verdict::Works,
        ModelErrorKind::Overloaded
        | ModelErrorKind::Unreachable
        | ModelErrorKind::Transient
        | ModelErrorKind::Timeout(_)
        | ModelErrorKind::Broken => Verdict::Fails(match error.retry() {
            RetryAdvice::After(told) => Some(told),
            RetryAdvice::Never | RetryAdvice::Backoff => None,
        }),
        ModelErrorKind::RateLimited
        | ModelErrorKind::Auth
        | ModelErrorKind::Quota
        | ModelErrorKind::Budget
        | ModelErrorKind::CircuitOpen
        | ModelErrorKind::Cancelled => Verdict::Unknown,
    }
}

/// What a call says about the account's credentials and money. A provider that is down says nothing about them.
fn credential_verdict(error: Option<ModelErrorKind>, rest: Duration) -> Verdict {
    match error {
        None | Some(ModelErrorKind::Caller | ModelErrorKind::Refused | ModelErrorKind::ContextLength) => Verdict::Works,
        Some(ModelErrorKind::Auth | ModelErrorKind::Quota) => Verdict::Rests(rest),
        Some(_) => Verdict::Unknown,
    }
}

#[cfg(test)]
mod tests;
