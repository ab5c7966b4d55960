//! A worker: something that works on tasks for a supervisor, with a failure policy.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::FutureExt;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    Agent, Budget, Degradation, Effect, ErrorChain, Event, Outcome, ParseError, Run, Runnable, Schema, StopReason,
    Task, Tool, ToolError, ToolOutput, ToolSpec,
    agent::delegation,
    run::log::{WORKER_CALLS, count},
};

/// An agent, or anything else that is [`Runnable`], that works for a supervisor. Its time and its calls are limited, and
/// a policy decides what the supervisor sees when it fails.
///
/// ```
/// use std::time::Duration;
///
/// use brigade_core::{Agent, OnFailure, Worker};
/// # use brigade_core::testing::{ScriptedModel, Turn};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), brigade_core::RunError> {
/// # let asks = Turn::call("c1", "critic", serde_json::json!({"task": "Judge: Kafka is always faster."}));
/// # let large = ScriptedModel::new([asks, Turn::text("The claim is not proven.")]);
/// # let small = ScriptedModel::new([Turn::text("No numbers are given.")]);
/// let critic = Agent::new("critic", small).purpose("Lists what a text has not proven.");
/// let supervisor = Agent::new("desk", large).instructions("Delegate the work, then answer in your own words.").worker(
///     Worker::new(critic)
///         .timeout(Duration::from_secs(30))
///         .on_failure(OnFailure::fallback("No critique is available.")),
/// );
/// let outcome = supervisor.run("Is Kafka always faster than SQS?").await?;
/// assert_eq!(outcome.text, "The claim is not proven.");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Worker {
    work: Arc<dyn Runnable>,
    purpose: Option<String>,
    timeout: Duration,
    on_failure: OnFailure,
    max_calls: Option<u32>,
    budget: Budget,
    output: Option<Result<Schema, ParseError>>,
}

/// What the supervisor sees when a worker fails.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnFailure {
    /// The reason, so that it can answer without this worker or ask another one.
    #[default]
    Isolate,
    /// This text in place of an answer.
    Fallback(String),
    /// Nothing: the whole run fails.
    Required,
}

/// Why a worker gave no answer.
#[derive(Debug)]
struct WorkerFailure {
    /// What went wrong, for the supervisor, observers and logs.
    reason: String,
    /// What the worker had found until then. It is content, so only the supervisor sees it.
    partial: String,
}

/// The default time limit: enough for a dozen turns, and the supervisor can still answer.
const TIMEOUT: Duration = Duration::from_mins(2);

// The arguments of a worker's tool. A doc comment on the type would be part of the schema, and paid for in each request.
#[derive(Deserialize, JsonSchema)]
struct Assignment {
    /// What to do, with everything the worker needs to know: it sees nothing else of this conversation.
    task: String,
}

impl Agent {
    /// Adds a worker, which makes this agent a supervisor: its model sees the worker as a tool and gives it tasks.
    ///
    /// Workers called in one turn run in parallel, at most [`ToolLimits::parallel`](crate::ToolLimits::parallel) at a
    /// time. A worker that fails leaves the results of the others untouched.
    #[must_use]
    pub fn worker(self, worker: Worker) -> Self {
        self.tool(Delegate::new(worker))
    }
}

impl Worker {
    /// Creates a worker with two minutes for each task. By default the supervisor sees why it failed.
    pub fn new(work: impl Runnable) -> Self {
        Self {
            work: Arc::new(work),
            purpose: None,
            timeout: TIMEOUT,
            on_failure: OnFailure::default(),
            max_calls: None,
            budget: Budget::unlimited(),
            output: None,
        }
    }

    /// Sets its purpose, in one sentence. By default it is the purpose of the agent.
    #[must_use]
    pub fn purpose(self, purpose: impl Into<String>) -> Self {
        Self { purpose: Some(purpose.into()), ..self }
    }

    /// Sets the time limit for one task. A shorter deadline of the run takes precedence.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sets what the supervisor sees when it fails.
    #[must_use]
    pub fn on_failure(self, on_failure: OnFailure) -> Self {
        Self { on_failure, ..self }
    }

    /// Limits how often its supervisor may call it in one run. Further calls are refused, which does not count as a
    /// failure.
    #[must_use]
    pub fn max_calls(self, max_calls: u32) -> Self {
        Self { max_calls: Some(max_calls), ..self }
    }

    /// Limits what one task may spend, within the budget of the run.
    #[must_use]
    pub fn budget(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    /// Requires answers that are JSON of the form of `T`. An answer that does not match is a failure.
    #[must_use]
    pub fn output<T: JsonSchema>(self) -> Self {
        Self { output: Some(Schema::compile(&Schema::generate::<T>())), ..self }
    }

    /// Returns the worker as a tool, for a wrapper around it. [`Agent::worker`] adds it without one.
    pub fn into_tool(self) -> impl Tool {
        Delegate::new(self)
    }

    /// Returns the name of the worker.
    pub fn name(&self) -> &Arc<str> {
        self.work.name()
    }

    /// Gives it a task in a child of `run`. Returns `None` if it gave no answer: the failure is reported to observers and in
    /// the outcome of `run`, and its failure policy is not used.
    pub async fn ask(&self, task: Task, run: &Run) -> Option<Outcome> {
        let result = match self.take_call(run) {
            Ok(()) => self.attempt(task, run).await,
            Err(refusal) => Err(WorkerFailure::new(refusal.to_string())),
        };
        result.inspect_err(|failure| self.report_failure(failure, run)).ok()
    }

    /// Counts one more call by the agent of `run`. Fails beyond [`Worker::max_calls`].
    fn take_call(&self, run: &Run) -> Result<(), ToolError> {
        let (name, limit) = (self.name(), self.max_calls.unwrap_or(u32::MAX));
        if run.count((WORKER_CALLS, run.id(), name)) <= limit {
            return Ok(());
        }
        let times = count(u64::from(limit), "time");
        let why = format!("{name} was not asked: it may be called {times} in a run; go on with what it has answered");
        Err(refused(why))
    }

    /// Works on a task in a child of `run`. A panic is a failure of this worker alone.
    async fn attempt(&self, task: Task, run: &Run) -> Result<Outcome, WorkerFailure> {
        let work = AssertUnwindSafe(self.run_in_child(task, run)).catch_unwind();
        work.await.unwrap_or_else(|_| Err(WorkerFailure::new("it failed with an internal error")))
    }

    async fn run_in_child(&self, task: Task, run: &Run) -> Result<Outcome, WorkerFailure> {
        let name = self.name();
        let wall = self.budget.wall.map_or(self.timeout, |wall| wall.min(self.timeout));
        let child = run.child(name, Budget { wall: Some(wall), ..self.budget.clone() });
        if let Some(reason) = delegation::refuse_cycle(name, run, child.is_err()) {
            return Err(WorkerFailure::new(reason));
        }
        let child = child.map_err(|error| WorkerFailure::new(error.to_string()))?;
        // An agent ends by itself when its run is stopped, but other implementations of `Runnable` may not.
        match child.until_stopped(self.work.run(&child, task)).await {
            Ok(Ok(outcome)) => self.check(outcome),
            // The cause alone, because the supervisor has no use for the ids in the error itself.
            Ok(Err(error)) => Err(WorkerFailure::new(ErrorChain(error.cause()).to_string())),
            Err(_) => Err(WorkerFailure::new("it was stopped before it had an answer")),
        }
    }

    /// Returns the outcome if it counts as an answer. A partial answer counts, unless the run was stopped from outside or
    /// the model could not answer properly.
    fn check(&self, outcome: Outcome) -> Result<Outcome, WorkerFailure> {
        let is_usable = match outcome.stop {
            StopReason::Finished
            | StopReason::MaxTurns
            | StopReason::Budget
            | StopReason::LoopDetected
            | StopReason::DelegationCycle
            | StopReason::UnknownToolLimit
            | StopReason::ToolArgumentsTruncated
            | StopReason::ToolArgumentsInvalid
            | StopReason::Truncated => !outcome.text.is_empty(),
            StopReason::Deadline
            | StopReason::Cancelled
            | StopReason::Refused
            | StopReason::InvalidOutput
            | StopReason::Empty => false,
        };
        if !is_usable {
            let is_silent = outcome.notice.is_empty();
            let reason = if is_silent { "its answer was empty".to_owned() } else { outcome.notice };
            return Err(WorkerFailure { reason, partial: outcome.text });
        }
        let Some(schema) = &self.output else { return Ok(outcome) };
        let schema = schema.as_ref().map_err(|error| WorkerFailure::new(error.to_string()))?;
        let value = serde_json::from_str(&outcome.text)
            .map_err(|error| WorkerFailure::new(format!("its answer is not JSON: {error}")))?;
        match schema.check(&value) {
            Ok(()) => Ok(outcome),
            Err(violations) => Err(WorkerFailure::new(format!("its answer does not match the schema: {violations}"))),
        }
    }

    /// Reports a failure to observers and in the outcome.
    fn report_failure(&self, failure: &WorkerFailure, run: &Run) {
        if run.stopped().is_some() {
            return;
        }
        let (worker, reason) = (Arc::clone(self.name()), failure.reason.as_str());
        run.degrade(Degradation::new(format!("worker:{worker}"), reason));
        run.emit(&Event::WorkerFailed { worker, policy: self.on_failure.name().into(), reason: reason.into() });
    }
}

impl WorkerFailure {
    fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), partial: String::new() }
    }
}

/// A worker as a tool of its supervisor.
#[derive(Debug, Clone)]
struct Delegate {
    spec: ToolSpec,
    worker: Worker,
}

impl Delegate {
    fn new(worker: Worker) -> Self {
        let purpose = worker.purpose.as_deref().unwrap_or(worker.work.purpose());
        let description =
            if purpose.is_empty() { format!("Gives a task to {}.", worker.name()) } else { purpose.to_owned() };
        let mut spec = ToolSpec::new(Arc::clone(worker.name()), description, Schema::generate::<Assignment>());
        // The worker has a time limit of its own, so that its failure policy applies to a timeout too.
        spec.timeout = Some(Duration::MAX);
        spec.effect = Effect::Composite;
        Self { spec, worker }
    }

    /// Applies the failure policy.
    fn failed(&self, failure: &WorkerFailure, run: &Run) -> Result<ToolOutput, ToolError> {
        self.worker.report_failure(failure, run);
        let WorkerFailure { reason, partial } = failure;
        let message = format!("{} gave no answer: {reason}", self.worker.name());
        let error = match &self.worker.on_failure {
            OnFailure::Isolate if partial.is_empty() => ToolError::new(message),
            OnFailure::Isolate => ToolError::new(format!("{message}; it had found until then: {partial}")),
            OnFailure::Fallback(text) => {
                return Ok(ToolOutput { stands_for: Some(reason.clone()), ..ToolOutput::text(text) });
            }
            OnFailure::Required => ToolError::fatal(message),
        };
        Err(error.caused_by(reason.as_str()))
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
        if let Some(reason) = delegation::refuse_repetition(self.worker.name(), &task, run) {
            return Err(refused(reason));
        }
        match self.worker.attempt(Task::from(task), run).await {
            Ok(outcome) => Ok(ToolOutput::text(outcome.visible_text())),
            Err(failure) => self.failed(&failure, run),
        }
    }
}

/// A call that was refused for a reason that quotes no content.
fn refused(why: String) -> ToolError {
    ToolError::new(why.clone()).caused_by(why)
}

impl OnFailure {
    /// Answers with this text in place of the worker.
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
