//! Setting a run up.

use std::sync::{Arc, Mutex, OnceLock};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::run::{Inner, Run, Shared, after, earliest};
use crate::{
    Blackboard, Budget, Bus, Cap, Ledger, Observer, RunId, Scope, TraceId, money::budget::MODEL_CALLS,
    run::counts::Counts, run::mailbox::Mailboxes,
};

/// Sets a run up. Made by [`Run::builder`].
#[derive(Debug, Default)]
pub struct RunBuilder {
    trace: Option<TraceId>,
    id: Option<RunId>,
    agent: Arc<str>,
    account: Option<Ledger>,
    budget: Budget,
    deadline: Option<Instant>,
    observers: Vec<Arc<dyn Observer>>,
    wants_deltas: bool,
    is_append_only: bool,
    cancellation: Option<CancellationToken>,
    bus: Option<Arc<dyn Bus>>,
    blackboard: Option<Blackboard>,
    scope: Scope,
    max_depth: Option<u32>,
}

/// Agents may delegate to agents that delegate, this deep. Real teams have two or three levels; what is deeper is
/// recursion.
const MAX_DEPTH: u32 = 5;

impl RunBuilder {
    /// The trace id, where the request brought one.
    #[must_use]
    pub fn trace(self, trace: TraceId) -> Self {
        Self { trace: Some(trace), ..self }
    }

    /// The run's id, where it is known beforehand.
    #[must_use]
    pub fn id(self, id: RunId) -> Self {
        Self { id: Some(id), ..self }
    }

    /// Whose run it is from the start.
    pub(crate) fn agent(self, agent: Arc<str>) -> Self {
        Self { agent, ..self }
    }

    /// The account above the run's own: a key's, or the process's.
    #[must_use]
    pub fn account(self, account: Ledger) -> Self {
        Self { account: Some(account), ..self }
    }

    /// What the run may spend. Where it says nothing about model calls, [`MODEL_CALLS`].
    #[must_use]
    pub fn budget(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    /// When the run must end at the latest.
    #[must_use]
    pub fn deadline(self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self }
    }

    /// Adds somebody who watches.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }

    /// Whether model calls tell their answers piece by piece.
    #[must_use]
    pub fn deltas(self, wants_deltas: bool) -> Self {
        Self { wants_deltas, ..self }
    }

    /// Whether what listeners have read of an answer cannot be taken back. Then an answer of which words were shown does
    /// not begin again when the call fails: the failure is the result.
    #[must_use]
    pub fn append_only(self, is_append_only: bool) -> Self {
        Self { is_append_only, ..self }
    }

    /// A token that cancels the run from outside.
    #[must_use]
    pub fn cancellation(self, token: CancellationToken) -> Self {
        Self { cancellation: Some(token), ..self }
    }

    /// The bus between the run's agents; a bus in this process if absent.
    #[must_use]
    pub fn bus(self, bus: Arc<dyn Bus>) -> Self {
        Self { bus: Some(bus), ..self }
    }

    /// Notes to start with.
    #[must_use]
    pub fn blackboard(self, blackboard: Blackboard) -> Self {
        Self { blackboard: Some(blackboard), ..self }
    }

    /// On whose behalf it runs; nobody's if absent, and then there is no long-term memory.
    #[must_use]
    pub fn scope(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    /// How deep agents may delegate; 5 if absent.
    #[must_use]
    pub fn max_depth(self, max_depth: u32) -> Self {
        Self { max_depth: Some(max_depth), ..self }
    }

    /// The run. Its time starts now.
    pub fn build(self) -> Run {
        let wall = self.budget.wall.and_then(after);
        let model_calls = self.budget.model_calls.or(Some(Cap::hard(MODEL_CALLS)));
        let budget = Budget { model_calls, ..self.budget };
        let id = self.id.unwrap_or_default();
        let shared = Shared {
            trace: self.trace.unwrap_or_else(TraceId::random),
            bus: self.bus.map(OnceLock::from).unwrap_or_default(),
            mailboxes: Mailboxes::new(id),
            scope: self.scope,
            blackboard: self.blackboard.map(OnceLock::from).unwrap_or_default(),
            degraded: Mutex::default(),
            counts: Counts::default(),
            max_depth: self.max_depth.unwrap_or(MAX_DEPTH),
            is_append_only: self.is_append_only,
        };
        let inner = Inner {
            id,
            parent: None,
            agent: self.agent,
            depth: 0,
            deadline: earliest(self.deadline, wall),
            cancellation: self.cancellation.unwrap_or_default(),
            ledger: match self.account {
                Some(account) => account.itemised_child("the run", budget),
                None => Ledger::run_alone("the run", budget),
            },
            observers: self.observers,
            wants_deltas: self.wants_deltas,
            wrapping_up: false,
            in_flight: None,
            span: OnceLock::new(),
            shared: Arc::new(shared),
        };
        Run { inner: Arc::new(inner), given_up: None }
    }
}
