//! A supervisor: an agent whose tools are workers.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    Agent, Budget, ChatModel, ContextWindow, Limits, Memory, Observer, Outcome, Run, RunError, Settings, SetupError,
    Task, Tool, WhenSpent, agent::runnable::Runnable, team::worker::Worker, tool::toolbox::ToolLimits,
};

/// An agent whose tools are workers. Workers called in one turn run side by side, bounded; one that fails leaves the
/// others' results untouched.
///
/// ```
/// # fn example(model: impl brigade_core::ChatModel + Clone) -> brigade_core::Supervisor {
/// use brigade_core::{Agent, OnFailure, Supervisor, Worker};
///
/// let critic = Agent::new("critic", model.clone()).instructions("List what the draft has not proven.");
/// Supervisor::new("desk", model)
///     .instructions("Plan the work, delegate it, then answer in your own words.")
///     .worker(Worker::new(critic).on_failure(OnFailure::fallback("No critique available.")))
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Supervisor(Agent);

impl Supervisor {
    /// A supervisor without workers.
    pub fn new(name: impl Into<Arc<str>>, model: impl ChatModel) -> Self {
        Self(Agent::new(name, model))
    }

    /// Makes a supervisor of an agent that is set up already.
    pub fn from_agent(agent: Agent) -> Self {
        Self(agent)
    }

    /// What it is for, in a sentence: what a supervisor above it is told.
    #[must_use]
    pub fn purpose(self, purpose: impl Into<String>) -> Self {
        Self(self.0.purpose(purpose))
    }

    /// What it is told before everything else.
    #[must_use]
    pub fn instructions(self, instructions: impl Into<String>) -> Self {
        Self(self.0.instructions(instructions))
    }

    /// Gives it a worker.
    #[must_use]
    pub fn worker(self, worker: Worker) -> Self {
        Self(self.0.tool(worker.into_tool()))
    }

    /// Gives it a tool of its own.
    #[must_use]
    pub fn tool(self, tool: impl Tool) -> Self {
        Self(self.0.tool(tool))
    }

    /// How its model should answer.
    #[must_use]
    pub fn settings(self, settings: Settings) -> Self {
        Self(self.0.settings(settings))
    }

    /// Its own turns, re-asks and repetition; its workers have theirs.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self(self.0.limits(limits))
    }

    /// How much of a long conversation it is shown.
    #[must_use]
    pub fn window(self, window: ContextWindow) -> Self {
        Self(self.0.window(window))
    }

    /// How many workers run at a time; 8 unless said otherwise.
    #[must_use]
    pub fn parallel(self, workers: usize) -> Self {
        let limits = ToolLimits { parallel: workers, ..*self.0.toolbox.limits() };
        Self(self.0.tool_limits(limits))
    }

    /// Runs workers one after the other, in the order in which the model called them.
    #[must_use]
    pub fn sequential(self) -> Self {
        self.parallel(1)
    }

    /// What becomes of workers in flight when another one has met the end of a budget that they share. They may finish
    /// unless said otherwise.
    #[must_use]
    pub fn when_spent(self, when_spent: WhenSpent) -> Self {
        let limits = ToolLimits { when_spent, ..*self.0.toolbox.limits() };
        Self(self.0.tool_limits(limits))
    }

    /// What a run of it may spend, workers included.
    #[must_use]
    pub fn budget(self, budget: Budget) -> Self {
        Self(self.0.budget(budget))
    }

    /// Where its sessions are kept.
    #[must_use]
    pub fn memory(self, memory: impl Memory) -> Self {
        Self(self.0.memory(memory))
    }

    /// Adds somebody who watches the runs that [`Supervisor::run`] starts.
    #[must_use]
    pub fn observer(self, observer: Arc<dyn Observer>) -> Self {
        Self(self.0.observer(observer))
    }

    /// Whether it can run at all.
    pub fn check(&self) -> Result<(), SetupError> {
        self.0.check()
    }

    /// Works on a task in a run of its own.
    pub async fn run(&self, task: impl Into<Task>) -> Result<Box<Outcome>, RunError> {
        self.0.run(task).await
    }

    /// Works on a task within `run`.
    pub async fn run_in(&self, run: &Run, task: impl Into<Task>) -> Result<Box<Outcome>, RunError> {
        self.0.run_in(run, task).await
    }

    /// The agent that it is.
    pub fn into_agent(self) -> Agent {
        self.0
    }
}

#[async_trait]
impl Runnable for Supervisor {
    fn name(&self) -> &Arc<str> {
        self.0.name()
    }

    fn purpose(&self) -> &str {
        Runnable::purpose(&self.0)
    }

    async fn run(&self, run: &Run, task: Task) -> Result<Box<Outcome>, RunError> {
        Runnable::run(&self.0, run, task).await
    }
}

#[cfg(test)]
mod tests;
