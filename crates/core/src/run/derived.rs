//! Derives runs from a run: child runs, and the same run with a change.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use super::run::{DepthExceeded, Inner, Run, after};
use crate::{Budget, Observer, RunId, money::ledger::least_of};

impl Run {
    /// Opens a run below this one for the agent called `name`. It shares the trace, `budget` limits it further, and its
    /// deadline is never later than that of this run. Fails beyond the maximum depth.
    pub fn child(&self, name: &str, budget: Budget) -> Result<Self, DepthExceeded> {
        let agent = self.path_of(name);
        if self.depth_left() == 0 {
            return Err(DepthExceeded { agent, limit: self.inner.shared.max_depth });
        }
        let mut child = self.derive(|inner| {
            inner.parent = Some(inner.id);
            inner.journal = inner.journal.as_ref().map(|scope| scope.child(name));
            inner.id = inner.journal.as_ref().map_or_else(RunId::new, |scope| scope.run_id());
            inner.depth += 1;
            inner.deadline = least_of(inner.deadline, budget.wall.and_then(|wall| inner.after_work(wall)));
            inner.cancellation = inner.cancellation.child_token();
            inner.ledger = inner.ledger.child(Arc::clone(&agent), budget);
            inner.agent = agent;
            inner.wants_deltas = false;
            inner.wrapping_up = false;
            inner.span = OnceLock::new();
        });
        child.drop_reason = None;
        Ok(child)
    }

    /// The run for the agent called `name`. A run at the top takes this name; a child run already has one.
    pub(crate) fn for_agent(&self, name: &str) -> Self {
        if !self.inner.agent.is_empty() {
            return self.clone();
        }
        self.derive(|inner| {
            inner.agent = name.into();
            inner.span = OnceLock::new();
        })
    }

    /// The same run with no more than this much time left.
    #[must_use]
    pub fn within(&self, time: Duration) -> Self {
        self.derive(|inner| inner.deadline = least_of(inner.deadline, after(time)))
    }

    /// The same run, limited further by an agent's own budget.
    pub(crate) fn limited_to(&self, budget: &Budget) -> Self {
        if budget.is_unlimited() {
            return self.clone();
        }
        self.derive(|inner| {
            inner.deadline = least_of(inner.deadline, budget.wall.and_then(|wall| inner.after_work(wall)));
            inner.ledger = inner.ledger.with_extra_limit(Arc::clone(&inner.agent), budget.clone());
        })
    }

    /// The same run with one more observer, unless it has this one already: nothing is reported twice.
    #[must_use]
    pub fn observed_by(&self, observer: Arc<dyn Observer>) -> Self {
        if self.inner.observers.iter().any(|known| Arc::ptr_eq(known, &observer)) {
            return self.clone();
        }
        self.derive(|inner| inner.observers.push(observer))
    }

    /// The same run, with or without deltas.
    #[must_use]
    pub fn with_deltas(&self, wanted: bool) -> Self {
        self.derive(|inner| inner.wants_deltas = wanted)
    }

    /// The same run for one model call that may be dropped early. See [`Run::set_drop_reason`].
    #[must_use]
    pub fn for_call(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), drop_reason: Some(Arc::default()) }
    }

    /// The same run for one last answer.
    pub(crate) fn wrapping_up(&self) -> Self {
        self.derive(|inner| inner.wrapping_up = true)
    }

    fn path_of(&self, name: &str) -> Arc<str> {
        if self.inner.agent.is_empty() { name.into() } else { [&self.inner.agent, "/", name].concat().into() }
    }

    pub(super) fn derive(&self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Inner::clone(&self.inner);
        change(&mut inner);
        Self { inner: Arc::new(inner), drop_reason: self.drop_reason.clone() }
    }
}
