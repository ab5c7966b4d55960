//! Runs made from a run: those below it, and the same one seen differently.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::time::Instant;

use super::{DepthExceeded, Inner, Run, after, earliest};
use crate::{Budget, Observer, RunId};

impl Run {
    /// A run below this one for the agent called `name`. It shares the trace and may only shorten the deadline; `budget`
    /// limits it further. Refused beyond the depth limit.
    pub fn child(&self, name: &str, budget: Budget) -> Result<Self, DepthExceeded> {
        if self.0.depth >= self.0.shared.max_depth {
            return Err(DepthExceeded { agent: self.join(name), limit: self.0.shared.max_depth });
        }
        let agent = self.join(name);
        Ok(Self(Arc::new(Inner {
            id: RunId::new(),
            parent: Some(self.0.id),
            depth: self.0.depth + 1,
            deadline: earliest(self.0.deadline, budget.wall.and_then(after)),
            cancellation: self.0.cancellation.child_token(),
            ledger: self.0.ledger.child(Arc::clone(&agent), budget),
            agent,
            observers: self.0.observers.clone(),
            wants_deltas: false,
            wrapping_up: false,
            given_up: Arc::default(),
            in_flight: self.0.in_flight.clone(),
            span: OnceLock::new(),
            shared: Arc::clone(&self.0.shared),
        })))
    }

    /// The run as the agent called `name` works in it: at the top it gets the agent's name, below it has one already.
    pub(crate) fn for_agent(&self, name: &str) -> Self {
        if !self.0.agent.is_empty() {
            return self.clone();
        }
        self.derive(|inner| {
            inner.agent = name.into();
            inner.span = OnceLock::new();
        })
    }

    /// The same run with a deadline no later than `deadline`.
    #[must_use]
    pub fn no_later_than(&self, deadline: Instant) -> Self {
        self.derive(|inner| inner.deadline = earliest(inner.deadline, Some(deadline)))
    }

    /// The same run with no more than this much time left.
    #[must_use]
    pub fn within(&self, time: Duration) -> Self {
        self.derive(|inner| inner.deadline = earliest(inner.deadline, after(time)))
    }

    /// The same run, which may spend no more than `budget` from here on: what an agent's own budget leaves of it.
    pub(crate) fn limited_to(&self, budget: &Budget) -> Self {
        if budget.is_unlimited() {
            return self.clone();
        }
        self.derive(|inner| {
            inner.deadline = earliest(inner.deadline, budget.wall.and_then(after));
            inner.ledger = inner.ledger.tightened(Arc::clone(&inner.agent), budget.clone());
        })
    }

    /// The same run with one more observer.
    #[must_use]
    pub fn observed_by(&self, observer: Arc<dyn Observer>) -> Self {
        self.derive(|inner| inner.observers.push(observer))
    }

    /// The same run, whose model calls tell their answers piece by piece if `wanted`.
    #[must_use]
    pub fn with_deltas(&self, wanted: bool) -> Self {
        self.derive(|inner| inner.wants_deltas = wanted)
    }

    /// The same run for one call that may be given up: see [`Run::give_up`].
    #[must_use]
    pub fn for_call(&self) -> Self {
        self.derive(|inner| inner.given_up = Arc::default())
    }

    /// The same run while it asks for one last answer.
    pub(crate) fn wrapping_up(&self) -> Self {
        self.derive(|inner| inner.wrapping_up = true)
    }

    fn join(&self, name: &str) -> Arc<str> {
        if self.0.agent.is_empty() { name.into() } else { format!("{}/{name}", self.0.agent).into() }
    }

    pub(super) fn derive(&self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Inner {
            id: self.0.id,
            parent: self.0.parent,
            agent: Arc::clone(&self.0.agent),
            depth: self.0.depth,
            deadline: self.0.deadline,
            cancellation: self.0.cancellation.clone(),
            ledger: self.0.ledger.clone(),
            observers: self.0.observers.clone(),
            wants_deltas: self.0.wants_deltas,
            wrapping_up: self.0.wrapping_up,
            given_up: Arc::clone(&self.0.given_up),
            in_flight: self.0.in_flight.clone(),
            span: self.0.span.clone(),
            shared: Arc::clone(&self.0.shared),
        };
        change(&mut inner);
        Self(Arc::new(inner))
    }
}
