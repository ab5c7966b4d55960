//! Several workers on one task, of which enough must answer.

use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, future::BoxFuture, stream};

use crate::{
    Message, Outcome, Run, RunError, RunFailure, StopReason, Task, Transcript,
    agent::runnable::{Runnable, carry_out},
    team::worker::{NoAnswer, Worker, shown},
};

/// Several workers on one task, of which enough must answer. The answer is all of theirs, each under its name.
#[derive(Debug, Clone)]
pub struct Quorum {
    name: Arc<str>,
    purpose: String,
    workers: Vec<Worker>,
    at_least: usize,
    parallel: usize,
}

impl Quorum {
    /// A quorum without workers, of which one must answer.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), purpose: String::new(), workers: Vec::new(), at_least: 1, parallel: 8 }
    }

    /// What it is for, in a sentence.
    #[must_use]
    pub fn purpose(self, purpose: impl Into<String>) -> Self {
        Self { purpose: purpose.into(), ..self }
    }

    /// Adds a worker. Its failure policy has no say here: what counts is how many answer.
    #[must_use]
    pub fn worker(mut self, worker: Worker) -> Self {
        self.workers.push(worker);
        self
    }

    /// How many must answer, at least one.
    #[must_use]
    pub fn at_least(self, at_least: usize) -> Self {
        Self { at_least: at_least.max(1), ..self }
    }

    /// How many run at a time; 8 unless said otherwise.
    #[must_use]
    pub fn parallel(self, workers: usize) -> Self {
        Self { parallel: workers.max(1), ..self }
    }

    /// Works on a task in a run of its own.
    pub async fn run(&self, task: impl Into<Task>) -> Result<Outcome, RunError> {
        self.run_in(&Run::new(), task).await
    }

    /// Works on a task within `run`.
    pub async fn run_in(&self, run: &Run, task: impl Into<Task>) -> Result<Outcome, RunError> {
        Runnable::run(self, run, task.into()).await
    }

    async fn ask(&self, worker: &Worker, run: &Run, task: String) -> Result<Outcome, NoAnswer> {
        let answer = match worker.take_call(run) {
            Ok(()) => worker.attempt(task, run).await,
            Err(refusal) => Err(NoAnswer::because(refusal.to_string())),
        };
        answer.inspect_err(|failure| worker.report_failure(failure, run))
    }
}

impl Quorum {
    async fn ask_all(&self, run: Run, task: Task) -> Result<Outcome, RunError> {
        let too_few = |answered| {
            let failure = RunFailure::Quorum { answered, needed: self.at_least, asked: self.workers.len() };
            RunError::before(&run, failure)
        };
        if self.workers.len() < self.at_least {
            return Err(too_few(0));
        }
        let text = task.message.as_ref().map(|message| message.text().into_owned()).unwrap_or_default();
        let mut asked: Vec<BoxFuture<'_, _>> = Vec::with_capacity(self.workers.len());
        for worker in &self.workers {
            asked.push(Box::pin(self.ask(worker, &run, text.clone())));
        }
        let answers: Vec<_> = stream::iter(asked).buffered(self.parallel).collect().await;
        let named = self.workers.iter().zip(answers);
        let given: Vec<_> = named.filter_map(|(worker, answer)| Some((worker.name(), answer.ok()?))).collect();
        if given.len() < self.at_least {
            return Err(too_few(given.len()));
        }
        let texts = given.iter().map(|(name, outcome)| format!("{name}: {}", shown(outcome)));
        let text = texts.collect::<Vec<_>>().join("\n\n");
        let mut transcript = Transcript::repaired(task.message);
        // Every open call was answered, so the conversation takes an answer.
        let _ = transcript.push(Message::assistant(text.as_str()));
        let turns = given.iter().map(|(_, outcome)| outcome.turns).sum();
        let mut outcome = Outcome::new(run.trace(), StopReason::Finished, text, transcript);
        outcome.turns = turns;
        Ok(outcome)
    }
}

#[async_trait]
impl Runnable for Quorum {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn purpose(&self) -> &str {
        &self.purpose
    }

    async fn run(&self, run: &Run, task: Task) -> Result<Outcome, RunError> {
        carry_out(run, &self.name, |run| self.ask_all(run, task)).await
    }
}
