//! Agents that pass a conversation on to each other.

use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    Agent, Budget, Event, Outcome, Run, RunError, RunFailure, StopReason, Task, ToolOutput,
    agent::runnable::{Runnable, carry_out},
    tool_fn,
};

/// Agents that pass a conversation on to each other. The first one begins; each gets a tool `transfer_to_…` for every
/// other one, and whoever holds the conversation at the end answers. To keep sessions, give all of them one memory.
#[derive(Debug, Clone)]
pub struct Handoff {
    name: Arc<str>,
    purpose: String,
    agents: Vec<Agent>,
    max_transfers: u32,
}

/// A conversation that was passed on this often is going round in circles.
const MAX_TRANSFERS: u32 = 8;

/// What an agent says when it passes the conversation on.
#[derive(Deserialize, JsonSchema)]
struct Transfer {
    /// Why the other agent is the right one, for the record.
    #[expect(dead_code, reason = "it stays in the conversation, where the next agent reads it")]
    reason: String,
}

impl Handoff {
    /// Without agents yet.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), purpose: String::new(), agents: Vec::new(), max_transfers: MAX_TRANSFERS }
    }

    /// What it is for, in a sentence.
    #[must_use]
    pub fn purpose(self, purpose: impl Into<String>) -> Self {
        Self { purpose: purpose.into(), ..self }
    }

    /// Adds an agent. The first one begins.
    #[must_use]
    pub fn agent(mut self, agent: Agent) -> Self {
        self.agents.push(agent);
        self
    }

    /// How often the conversation may be passed on; 8 unless said otherwise.
    #[must_use]
    pub fn max_transfers(self, max_transfers: u32) -> Self {
        Self { max_transfers, ..self }
    }

    /// Works on a task in a run of its own.
    pub async fn run(&self, task: impl Into<Task>) -> Result<Outcome, RunError> {
        self.run_in(&Run::new(), task).await
    }

    /// Works on a task within `run`.
    pub async fn run_in(&self, run: &Run, task: impl Into<Task>) -> Result<Outcome, RunError> {
        Runnable::run(self, run, task.into()).await
    }

    /// The agent with the tools to pass the conversation on to each other one.
    fn equipped(&self, index: usize) -> Option<Agent> {
        let agent = self.agents.get(index)?.clone();
        let others = self.agents.iter().enumerate().filter(|(other, _)| *other != index);
        Some(others.fold(agent, |agent, (_, other)| {
            let about = format!("Passes the whole conversation on to {}. {}", other.name(), Runnable::purpose(other));
            let done = format!("The conversation is with {} now.", other.name());
            agent.tool(tool_fn(&transfer_to(other), about.trim(), move |_: Transfer, _| {
                let done = done.clone();
                async move { Ok(ToolOutput::text(done).ending_run()) }
            }))
        }))
    }

    fn target(&self, outcome: &Outcome) -> Option<usize> {
        let tool = outcome.ended_by.as_deref()?;
        self.agents.iter().position(|agent| transfer_to(agent) == tool)
    }
}

impl Handoff {
    /// Runs whoever holds the conversation, until one of them answers.
    async fn pass_on(&self, run: Run, mut task: Task) -> Result<Outcome, RunError> {
        let (mut index, mut transfers, mut turns, mut inherited) = (0, 0, 0, None);
        let session = task.session.clone();
        while let Some(agent) = self.equipped(index) {
            let child = run.child(agent.name(), Budget::unlimited()).map_err(|error| RunError::before(&run, error))?;
            // Whoever answers speaks for all of them.
            let child = child.with_deltas(run.wants_deltas());
            let mut outcome = Runnable::run(&agent, &child, task).await?;
            turns += outcome.turns;
            outcome.turns = turns;
            outcome.inherited = *inherited.get_or_insert(outcome.inherited);
            let Some(next) = self.target(&outcome) else { return Ok(outcome) };
            if transfers == self.max_transfers {
                outcome.stop = StopReason::LoopDetected;
                outcome.notice = format!("The conversation was passed on {transfers} times without an answer.");
                return Ok(outcome);
            }
            run.emit(&Event::HandedOff { to: Arc::clone(self.agents.get(next).map_or(&self.name, Agent::name)) });
            transfers += 1;
            index = next;
            task = Task { session: session.clone(), ..Task::resume(outcome.transcript) };
        }
        Err(RunError::before(&run, RunFailure::NothingToRun))
    }
}

#[async_trait]
impl Runnable for Handoff {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn purpose(&self) -> &str {
        &self.purpose
    }

    async fn run(&self, run: &Run, task: Task) -> Result<Outcome, RunError> {
        carry_out(run, &self.name, |run| self.pass_on(run, task)).await
    }
}

fn transfer_to(agent: &Agent) -> String {
    format!("transfer_to_{}", agent.name())
}

#[cfg(test)]
mod tests;
