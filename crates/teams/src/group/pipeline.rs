//! Agents that work one after the other.

use std::sync::Arc;

use brigade_core::{Budget, Outcome, Run, RunError, RunFailure, RunOptions, Runnable, Task, impl_runnable};

/// Agents that work one after the other: the answer of one is the task of the next.
///
/// A stage that does not finish ends the pipeline with its partial answer, because the next stage would work on half an answer.
///
/// ```
/// use brigade_core::Agent;
/// use brigade_teams::Pipeline;
/// # use brigade_core::testing::{ScriptedModel, Turn};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), brigade_core::RunError> {
/// # let (writer, editor) = (ScriptedModel::new([Turn::text("draft")]), ScriptedModel::new([Turn::text("final")]));
/// let press = Pipeline::new("press").stage(Agent::new("writer", writer)).stage(Agent::new("editor", editor));
/// assert_eq!(press.run("Write about kefir.").await?.text, "final");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Pipeline {
    options: RunOptions,
    stages: Vec<Arc<dyn Runnable>>,
}

impl Pipeline {
    /// Creates a pipeline without stages, which fails when it runs.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self { options: RunOptions::new(name), stages: Vec::new() }
    }

    /// Adds a stage at the end.
    #[must_use]
    pub fn stage(mut self, stage: impl Runnable) -> Self {
        self.stages.push(Arc::new(stage));
        self
    }

    async fn work(&self, run: Run, task: Task) -> Result<Outcome, RunError> {
        self.options.in_session(run, task, |run, task| self.run_stages(run, task)).await
    }

    async fn run_stages(&self, run: Run, task: Task) -> Result<Outcome, RunError> {
        let (mut turns, mut stage_task, mut last) = (0, task.clone(), None);
        for (index, stage) in self.stages.iter().enumerate() {
            let part = run.part(format_args!("stage:{}", index + 1));
            let child = part.child(stage.name(), Budget::unlimited()).map_err(|error| RunError::before(&run, error))?;
            // Only the text of the last stage is the answer.
            let child = child.with_deltas(run.wants_deltas() && index + 1 == self.stages.len());
            let outcome = stage.run(&child, stage_task).await?;
            turns += outcome.turns;
            stage_task = Task::from(outcome.text.as_str());
            let is_finished = outcome.is_finished();
            last = Some(outcome);
            if !is_finished {
                break;
            }
        }
        let mut outcome = last.ok_or_else(|| RunError::before(&run, RunFailure::NothingToRun))?;
        outcome.turns = turns;
        Ok(outcome.in_answer_to(task))
    }
}

impl_runnable!(Pipeline);

#[cfg(test)]
mod tests;
