//! Runs made from a run: those below it, and the same one seen differently.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::time::Instant;

use super::run::{DepthExceeded, Inner, Run, after, earliest};
use crate::{Budget, Observer, RunId};

impl Run {
    /// A run below this one for the agent called `name`. It shares the trace and may only shorten the deadline; `budget`
    /// limits it further. Refused beyond the depth limit.
    pub fn child(&self, name: &str, budget: Budget) -> Result<Self, DepthExceeded> {
        if self.inner.depth >= self.inner.shared.max_depth {
            return Err(DepthExceeded { agent: self.join(name), limit: self.inner.shared.max_depth });
        }
        let agent = self.join(name);
        let inner = Inner {
            id: RunId::new(),
            parent: Some(self.inner.id),
            depth: self.inner.depth + 1,
            deadline: earliest(self.inner.deadline, budget.wall.and_then(after)),
            cancellation: self.inner.cancellation.child_token(),
            ledger: self.inner.ledger.child(Arc::clone(&agent), budget),
            agent,
            observers: self.inner.observers.clone(),
            wants_deltas: false,
            wrapping_up: false,
            in_flight: self.inner.in_flight.clone(),
            span: OnceLock::new(),
            shared: Arc::clone(&self.inner.shared),
        };
        Ok(Self { inner: Arc::new(inner), given_up: None })
    }

    /// The run as the agent called `name` works in it: at the top it gets the agent's name, below it has one already.
    pub(crate) fn for_agent(&self, name: &str) -> Self {
        if !self.inner.agent.is_empty() {
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
        Self { inner: Arc::clone(&self.inner), given_up: Some(Arc::default()) }
    }

    /// The same run while it asks for one last answer.
    pub(crate) fn wrapping_up(&self) -> Self {
        self.derive(|inner| inner.wrapping_up = true)
    }

    fn join(&self, name: &str) -> Arc<str> {
        if self.inner.agent.is_empty() { name.into() } else { [&self.inner.agent, "/", name].concat().into() }
    }

    pub(super) fn derive(&self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Inner {
            id: self.inner.id,
            parent: self.inner.parent,
            agent: Arc::clone(&self.inner.agent),
            depth: self.inner.depth,
            deadline: self.inner.deadline,
            cancellation: self.inner.cancellation.clone(),
            ledger: self.inner.ledger.clone(),
            observers: self.inner.observers.clone(),
            wants_deltas: self.inner.wants_deltas,
            wrapping_up: self.inner.wrapping_up,
            in_flight: self.inner.in_flight.clone(),
            span: self.inner.span.clone(),
            shared: Arc::clone(&self.inner.shared),
        };
        change(&mut inner);
        Self { inner: Arc::new(inner), given_up: self.given_up.clone() }
    }
}
