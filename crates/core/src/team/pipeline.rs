//! Agents one after the other.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    Budget, Outcome, Run, RunError, RunFailure, Task,
    agent::runnable::{Runnable, carry_out},
};

/// Agents one after the other: what one answers is the task of the next.
///
/// A stage that does not finish ends the pipeline with what it has: the next one would work on half an answer.
#[derive(Debug, Clone)]
pub struct Pipeline {
    name: Arc<str>,
    purpose: String,
    stages: Vec<Arc<dyn Runnable>>,
}

impl Pipeline {
    /// A pipeline without stages, which fails when it runs.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), purpose: String::new(), stages: Vec::new() }
    }

    /// What it is for, in a sentence.
    #[must_use]
    pub fn purpose(self, purpose: impl Into<String>) -> Self {
        Self { purpose: purpose.into(), ..self }
    }

    /// Adds a stage at the end.
    #[must_use]
    pub fn stage(mut self, stage: impl Runnable) -> Self {
        self.stages.push(Arc::new(stage));
        self
    }

    /// Works on a task in a run of its own.
    pub async fn run(&self, task: impl Into<Task>) -> Result<Outcome, RunError> {
        self.run_in(&Run::new(), task).await
    }

    /// Works on a task within `run`.
    pub async fn run_in(&self, run: &Run, task: impl Into<Task>) -> Result<Outcome, RunError> {
        Runnable::run(self, run, task.into()).await
    }
}

impl Pipeline {
    async fn run_stages(&self, run: Run, mut task: Task) -> Result<Outcome, RunError> {
        let (mut turns, mut last) = (0, None);
        for (index, stage) in self.stages.iter().enumerate() {
            let child = run.child(stage.name(), Budget::unlimited()).map_err(|error| RunError::before(&run, error))?;
            // What the others say is no answer yet.
            let child = child.with_deltas(run.wants_deltas() && index + 1 == self.stages.len());
            let mut outcome = stage.run(&child, task).await?;
            turns += outcome.turns;
            outcome.turns = turns;
            task = Task::from(outcome.text.as_str());
            let finished = outcome.is_finished();
            last = Some(outcome);
            if !finished {
                break;
            }
        }
        last.ok_or_else(|| RunError::before(&run, RunFailure::NothingToRun))
    }
}

#[async_trait]
impl Runnable for Pipeline {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn purpose(&self) -> &str {
        &self.purpose
    }

    async fn run(&self, run: &Run, task: Task) -> Result<Outcome, RunError> {
        carry_out(run, &self.name, |run| self.run_stages(run, task)).await
    }
}
