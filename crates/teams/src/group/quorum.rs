//! Several workers on one task, with a minimum of answers.

use std::sync::Arc;

use brigade_core::{Outcome, Run, RunError, RunOptions, StopReason, Task, Transcript, Worker, impl_runnable};
use futures::{StreamExt, stream};

use crate::TeamError;

/// Several workers on one task. If enough of them answer, the answers are joined, each under its worker's name.
///
/// ```
/// use brigade_core::{Agent, Worker};
/// use brigade_teams::Quorum;
/// # use brigade_core::testing::{ScriptedModel, Turn};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), brigade_core::RunError> {
/// # let (ann, bob) = (ScriptedModel::new([Turn::text("yes")]), ScriptedModel::new([Turn::text("no")]));
/// let reviewers = Quorum::new("reviewers")
///     .worker(Worker::new(Agent::new("ann", ann)))
///     .worker(Worker::new(Agent::new("bob", bob)))
///     .at_least(2);
/// assert_eq!(reviewers.run("Ship it?").await?.text, "ann: yes\n\nbob: no");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Quorum {
    options: RunOptions,
    workers: Vec<Worker>,
    at_least: usize,
    parallel: usize,
}

impl Quorum {
    /// Creates a quorum without workers. By default one worker must answer.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self { options: RunOptions::new(name), workers: Vec::new(), at_least: 1, parallel: 8 }
    }

    /// Adds a worker. Its failure policy is not used, because only the number of answers counts.
    #[must_use]
    pub fn worker(mut self, worker: Worker) -> Self {
        self.workers.push(worker);
        self
    }

    /// Sets how many workers must answer, at least one.
    #[must_use]
    pub fn at_least(self, at_least: usize) -> Self {
        Self { at_least: at_least.max(1), ..self }
    }

    /// Sets how many workers run at a time. 8 by default.
    #[must_use]
    pub fn parallel(self, workers: usize) -> Self {
        Self { parallel: workers.max(1), ..self }
    }

    async fn work(&self, run: Run, task: Task) -> Result<Outcome, RunError> {
        self.options.in_session(run, task, |run, task| self.ask_workers(run, task)).await
    }

    async fn ask_workers(&self, run: Run, task: Task) -> Result<Outcome, RunError> {
        let too_few =
            |answered| TeamError::Quorum { answered, needed: self.at_least, asked: self.workers.len() }.of(&run);
        if self.workers.len() < self.at_least {
            return Err(too_few(0));
        }
        // The workers get no session, because workers that share a memory would each store the question.
        let mut question = task.clone();
        question.session = None;
        let mut asked = Vec::with_capacity(self.workers.len());
        for (index, worker) in self.workers.iter().enumerate() {
            let (question, part) = (question.clone(), run.part(format_args!("member:{}", index + 1)));
            asked.push(async move { (index, worker.ask(question, &part).await) });
        }
        // Not `buffered`, whose finished workers count against the limit as long as an earlier one works.
        let mut results: Vec<_> = stream::iter(asked).buffer_unordered(self.parallel).collect().await;
        results.sort_unstable_by_key(|(index, _)| *index);
        let named = self.workers.iter().zip(results);
        let answers: Vec<_> = named.filter_map(|(worker, (_, answer))| Some((worker.name(), answer?))).collect();
        if answers.len() < self.at_least {
            return Err(too_few(answers.len()));
        }
        let texts: Vec<_> =
            answers.iter().map(|(name, outcome)| format!("{name}: {}", outcome.visible_text())).collect();
        let mut outcome = Outcome::new(run.trace(), StopReason::Finished, texts.join("\n\n"), Transcript::new());
        outcome.turns = answers.iter().map(|(_, outcome)| outcome.turns).sum();
        Ok(outcome.in_answer_to(task))
    }
}

impl_runnable!(Quorum);

#[cfg(test)]
mod tests;
