//! A worker: something that can be given a task, and what happens when it fails.

use std::{borrow::Cow, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::FutureExt;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    Agent, Budget, Degradation, ErrorChain, Event, Outcome, Run, RunError, StopReason, Task, Tool, ToolError,
    ToolOutput, ToolSpec,
    agent::delegation,
    agent::runnable::Runnable,
    tool::schema::{Schema, SchemaError},
};

/// Something that can be given a task, with a time limit and a policy for its failures. A supervisor sees it as a tool.
#[derive(Debug, Clone)]
pub struct Worker {
    work: Arc<dyn Runnable>,
    purpose: Option<String>,
    timeout: Duration,
    on_failure: OnFailure,
    max_calls: Option<u32>,
    budget: Budget,
    answer: Option<Result<Schema, SchemaError>>,
}

/// What the supervisor sees of a worker that failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// What went wrong, so that it can answer without this worker or ask another one.
    #[default]
    Isolate,
    /// This text in place of an answer.
    Fallback(String),
    /// Nothing: the whole run fails.
    Required,
}

/// Why a worker gave no answer. The reason is for everybody; what it had said until then is content, and for its
/// supervisor alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NoAnswer {
    reason: String,
    partial: String,
}

/// Long enough for a dozen turns, short enough that the supervisor still answers.
const TIMEOUT: Duration = Duration::from_mins(2);

// What a supervisor writes to a worker. A comment of documentation would be a part of the schema, and
// paid for in every request.
#[derive(Deserialize, JsonSchema)]
struct Assignment {
    /// What to do, with everything the worker needs to know: it sees nothing else of this conversation.
    task: String,
}

impl Agent {
    /// Adds a worker, which makes this agent a supervisor: the model sees the worker as a tool and gives it tasks.
    ///
    /// Workers called in one turn run in parallel, at most [`ToolLimits::parallel`](crate::ToolLimits::parallel) at a
    /// time. A worker that fails leaves the results of the others untouched.
    #[must_use]
    pub fn worker(self, worker: Worker) -> Self {
        self.tool(worker.into_tool())
    }
}

impl Worker {
    /// A worker with two minutes for each task, whose failures are told to the supervisor.
    pub fn new(work: impl Runnable) -> Self {
        Self {
            work: Arc::new(work),
            purpose: None,
            timeout: TIMEOUT,
            on_failure: OnFailure::default(),
            max_calls: None,
            budget: Budget::unlimited(),
            answer: None,
        }
    }

    /// What it is for, in a sentence, where it does not say so itself.
    #[must_use]
    pub fn purpose(self, purpose: impl Into<String>) -> Self {
        Self { purpose: Some(purpose.into()), ..self }
    }

    /// How long one task may take; never longer than the run has left.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// What the supervisor sees when it fails.
    #[must_use]
    pub fn on_failure(self, on_failure: OnFailure) -> Self {
        Self { on_failure, ..self }
    }

    /// How often its supervisor may call it in one run. A call too many is refused and told, and is no failure.
    #[must_use]
    pub fn max_calls(self, max_calls: u32) -> Self {
        Self { max_calls: Some(max_calls), ..self }
    }

    /// What one task may spend, within what the run may spend.
    #[must_use]
    pub fn budget(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    /// The form that its answers must have; one that does not fit is a failure.
    #[must_use]
    pub fn answer<T: JsonSchema>(self) -> Self {
        Self { answer: Some(Schema::compile(&Schema::generate::<T>())), ..self }
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        self.work.name()
    }

    /// The worker as a tool.
    fn into_tool(self) -> Delegate {
        let told = self.purpose.clone().unwrap_or_else(|| self.work.purpose().to_owned());
        let purpose = if told.is_empty() { format!("Gives a task to {}.", self.name()) } else { told };
        let mut spec = ToolSpec::new(Arc::clone(self.name()), purpose, Schema::generate::<Assignment>());
        // The delegate keeps the time itself, so that its failure policy decides what a timeout looks like.
        spec.timeout = Some(Duration::MAX);
        Delegate { spec, worker: self }
    }

    /// Counts one more call by the agent of `run`, or says why there may be none.
    pub(crate) fn take_call(&self, run: &Run) -> Result<(), ToolError> {
        let name = self.name();
        match self.max_calls {
            Some(limit) if run.count(("calls of worker", run.agent(), name)) > limit => Err(ToolError::new(format!(
                "{name} was not asked: it may be called {limit} times in a run; go on with what it has answered"
            ))),
            _ => Ok(()),
        }
    }

    /// Works on a task in a child of `run`. A worker that panics is one that gave no answer.
    pub(crate) async fn attempt(&self, task: String, run: &Run) -> Result<Outcome, NoAnswer> {
        let work = AssertUnwindSafe(self.work_on(task, run)).catch_unwind();
        work.await.unwrap_or_else(|_| Err(NoAnswer::because("it failed with an internal error")))
    }

    async fn work_on(&self, task: String, run: &Run) -> Result<Outcome, NoAnswer> {
        let name = self.name();
        let wall = self.budget.wall.map_or(self.timeout, |wall| wall.min(self.timeout));
        let child = run.child(name, Budget { wall: Some(wall), ..self.budget.clone() });
        if let Some(why) = delegation::closed_by(name, run, child.is_err()) {
            return Err(NoAnswer::because(why));
        }
        let child = child.map_err(|error| NoAnswer::because(error.to_string()))?;
        // An agent ends by itself when it is stopped; other kinds of work may not.
        match child.until_stopped(self.work.run(&child, Task::from(task))).await {
            Ok(Ok(outcome)) => self.judge(outcome),
            Ok(Err(error)) => Err(NoAnswer::because(told(&error))),
            Err(_) => Err(NoAnswer::because("it was stopped before it had an answer")),
        }
    }

    /// Tells observers and the outcome that there was no answer.
    pub(crate) fn report_failure(&self, NoAnswer { reason, .. }: &NoAnswer, run: &Run) {
        let worker = Arc::clone(self.name());
        run.degrade(Degradation { part: format!("worker:{worker}"), reason: reason.clone() });
        run.emit(&Event::WorkerFailed { worker, policy: self.on_failure.name(), reason: reason.as_str().into() });
    }

    /// Whether an outcome counts as an answer. A partial one does, unless it is partial because time or patience ended.
    fn judge(&self, outcome: Outcome) -> Result<Outcome, NoAnswer> {
        let failed = matches!(
            outcome.stop,
            StopReason::Deadline
                | StopReason::Cancelled
                | StopReason::Refused
                | StopReason::InvalidOutput
                | StopReason::Empty
        );
        if failed || outcome.text.is_empty() {
            let silent = outcome.notice.is_empty();
            let reason = if silent { "it answered with nothing".to_owned() } else { outcome.notice };
            return Err(NoAnswer { reason, partial: outcome.text });
        }
        match &self.answer {
            None => Ok(outcome),
            Some(Err(error)) => Err(NoAnswer::because(error.to_string())),
            Some(Ok(schema)) => {
                let value = serde_json::from_str::<Value>(&outcome.text);
                let value = value.map_err(|error| NoAnswer::because(format!("its answer is no JSON: {error}")))?;
                let fits = schema.check(&value);
                fits.map_err(|violations| NoAnswer::because(format!("its answer does not fit: {violations}")))?;
                Ok(outcome)
            }
        }
    }
}

impl NoAnswer {
    /// It had said nothing.
    pub(crate) fn because(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), partial: String::new() }
    }
}

/// A worker seen as a tool.
#[derive(Debug, Clone)]
pub(crate) struct Delegate {
    spec: ToolSpec,
    worker: Worker,
}

impl Delegate {
    /// What the policy makes of a failure.
    fn failed(&self, failure: &NoAnswer, run: &Run) -> Result<ToolOutput, ToolError> {
        self.worker.report_failure(failure, run);
        let NoAnswer { reason, partial } = failure;
        let told = format!("{} gave no answer: {reason}", self.worker.name());
        match &self.worker.on_failure {
            OnFailure::Isolate if partial.is_empty() => Err(ToolError::new(told)),
            OnFailure::Isolate => Err(ToolError::new(format!("{told}; it had found until then: {partial}"))),
            OnFailure::Fallback(text) => Ok(ToolOutput::text(text)),
            OnFailure::Required => Err(ToolError::fatal(told)),
        }
    }
}

#[async_trait]
impl Tool for Delegate {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, input: Value, run: &Run) -> Result<ToolOutput, ToolError> {
        let Assignment { task } = serde_json::from_value(input)
            .map_err(|error| ToolError::new(format!("the task could not be read: {error}")))?;
        self.worker.take_call(run)?;
        if let Some(why) = delegation::repeated_by(self.worker.name(), &task, run) {
            return Err(ToolError::new(why));
        }
        match self.worker.attempt(task, run).await {
            Ok(outcome) => Ok(ToolOutput::text(shown(&outcome))),
            Err(failure) => self.failed(&failure, run),
        }
    }
}

/// A partial answer is shown as one.
pub(crate) fn shown(outcome: &Outcome) -> Cow<'_, str> {
    if outcome.is_finished() {
        Cow::Borrowed(&outcome.text)
    } else {
        Cow::Owned(format!("{}\n[incomplete: {}]", outcome.text, outcome.notice))
    }
}

/// What a supervisor is told of an error: what went wrong and why, without ids it has no use for.
fn told(error: &RunError) -> String {
    ErrorChain(error.cause()).to_string()
}

impl OnFailure {
    /// This text in place of an answer.
    pub fn fallback(text: impl Into<String>) -> Self {
        Self::Fallback(text.into())
    }

    /// A stable name for logs and metric labels.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Isolate => "isolate",
            Self::Fallback(_) => "fallback",
            Self::Required => "required",
        }
    }
}

#[cfg(test)]
mod tests;
