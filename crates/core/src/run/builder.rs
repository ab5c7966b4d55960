//! Configures a run.

use std::{
    any::Any,
    sync::{Arc, Mutex, OnceLock},
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::run::{Inner, Run, Shared};
use crate::{
    Budget, Cap, Journal, Ledger, Observer, RunId, Scope, TraceId, money::ledger::least_of, run::counts::Counts,
    run::journal_scope::JournalScope, run::shared_values::SharedValues,
};

/// Configures a run. Created by [`Run::builder`].
#[must_use]
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
    append_only: bool,
    cancellation: CancellationToken,
    values: SharedValues,
    scope: Scope,
    max_depth: Option<u32>,
    journal: Option<Arc<dyn Journal>>,
}

/// Real teams have two or three levels of delegation; deeper ones are recursion.
const MAX_DEPTH: u32 = 5;

impl RunBuilder {
    /// Sets the trace id, for a request that already has one. The default is a random one.
    pub fn trace(self, trace: TraceId) -> Self {
        Self { trace: Some(trace), ..self }
    }

    /// Sets the id of the run. The default is a new one.
    pub fn id(self, id: RunId) -> Self {
        Self { id: Some(id), ..self }
    }

    /// Sets the name of the agent that runs.
    pub(crate) fn agent(self, agent: Arc<str>) -> Self {
        Self { agent, ..self }
    }

    /// Sets the account above the run's own, such as that of a key or of the process.
    pub fn account(self, account: Ledger) -> Self {
        Self { account: Some(account), ..self }
    }

    /// Limits what the run may spend. Without a limit of model calls it may make [`Budget::DEFAULT_MODEL_CALLS`].
    pub fn budget(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    /// Sets the time by which the run must end.
    pub fn deadline(self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self }
    }

    /// Adds an observer.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }

    /// Sets whether model calls emit their replies piece by piece. The default is not to.
    pub fn deltas(self, wants_deltas: bool) -> Self {
        Self { wants_deltas, ..self }
    }

    /// Sets whether clients can only append to the text that they show. If so, a reply that already showed text is not
    /// restarted when the call fails: the failure is the result.
    pub fn append_only(self, append_only: bool) -> Self {
        Self { append_only, ..self }
    }

    /// Sets a token that cancels the run from outside.
    pub fn cancellation(self, token: CancellationToken) -> Self {
        Self { cancellation: token, ..self }
    }

    /// Sets the value that [`Run::shared`] returns for its type.
    pub fn shared<T: Any + Send + Sync>(self, value: T) -> Self {
        self.values.insert(value);
        self
    }

    /// Sets on whose behalf the agents run. An empty scope, the default, means without long-term memory.
    pub fn scope(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    /// Sets how many levels deep agents may delegate. The default is 5.
    pub fn max_depth(self, max_depth: u32) -> Self {
        Self { max_depth: Some(max_depth), ..self }
    }

    /// Sets the journal from which the run goes on, and in which it records its steps. A run that goes on needs the
    /// [id](RunBuilder::id) that it had before. Without a journal, which is the default, nothing is recorded.
    pub fn journal(self, journal: Arc<dyn Journal>) -> Self {
        Self { journal: Some(journal), ..self }
    }

    /// Starts the run: the time limit of its budget begins now. A run that goes on has what is left of it.
    pub fn build(self) -> Run {
        let model_calls = self.budget.model_calls.or(Some(Cap::hard(Budget::DEFAULT_MODEL_CALLS)));
        let budget = Budget { model_calls, ..self.budget };
        let shared = Shared {
            trace: self.trace.unwrap_or_else(TraceId::random),
            scope: self.scope,
            values: self.values,
            degraded: Mutex::default(),
            counts: Counts::default(),
            max_depth: self.max_depth.unwrap_or(MAX_DEPTH),
            append_only: self.append_only,
        };
        let id = self.id.unwrap_or_default();
        let wall = budget.wall;
        let mut inner = Inner {
            id,
            parent: None,
            agent: self.agent,
            depth: 0,
            deadline: self.deadline,
            cancellation: self.cancellation,
            ledger: match self.account {
                Some(account) => account.child_for_run("the run", budget),
                None => Ledger::root_for_run("the run", budget),
            },
            observers: self.observers,
            wants_deltas: self.wants_deltas,
            wrapping_up: false,
            in_flight: None,
            journal: self.journal.map(|journal| JournalScope::root(journal, id)),
            span: OnceLock::new(),
            shared: Arc::new(shared),
        };
        inner.deadline = least_of(inner.deadline, wall.and_then(|wall| inner.after_work(wall)));
        Run { inner: Arc::new(inner), drop_reason: None }
    }
}
