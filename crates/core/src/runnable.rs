//! What can be given a task: agents and everything that is made of agents.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use crate::{Outcome, Run, RunError, agent::Task};

/// Something that can be given a task: an agent, a supervisor, a pipeline, a handoff, an agent elsewhere on the bus.
#[async_trait]
pub trait Runnable: fmt::Debug + Send + Sync + 'static {
    /// Its name, unique among its siblings.
    fn name(&self) -> &Arc<str>;

    /// What it is for, in a sentence; may be empty.
    fn purpose(&self) -> &str;

    /// Works on a task within `run`.
    async fn run(&self, run: &Run, task: Task) -> Result<Outcome, RunError>;
}

#[async_trait]
impl<R: Runnable + ?Sized> Runnable for Arc<R> {
    fn name(&self) -> &Arc<str> {
        (**self).name()
    }

    fn purpose(&self) -> &str {
        (**self).purpose()
    }

    async fn run(&self, run: &Run, task: Task) -> Result<Outcome, RunError> {
        (**self).run(run, task).await
    }
}
