//! Agents that transfer a conversation to each other.

use std::sync::Arc;

use brigade_core::{
    Agent, Budget, Effect, Event, Outcome, Run, RunError, RunFailure, RunOptions, Runnable, StopReason, Task,
    ToolOutput, impl_runnable, tool_fn,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// Agents that transfer a conversation to each other. The first one begins; each gets a tool `transfer_to_…` for every
/// other one, and the last agent that got the conversation answers.
///
/// ```
/// use brigade_core::Agent;
/// use brigade_teams::Handoff;
/// # use brigade_core::testing::{ScriptedModel, Turn};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), brigade_core::RunError> {
/// # let transfer = Turn::call("c1", "transfer_to_billing", serde_json::json!({"reason": "It is about money."}));
/// # let (triage, billing) = (ScriptedModel::new([transfer]), ScriptedModel::new([Turn::text("Refunded.")]));
/// let support = Handoff::new("support")
///     .agent(Agent::new("triage", triage).instructions("Transfer to the right agent."))
///     .agent(Agent::new("billing", billing).purpose("Answers questions about invoices."));
/// assert_eq!(support.run("I was charged twice.").await?.text, "Refunded.");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Handoff {
    options: RunOptions,
    agents: Vec<Agent>,
    max_transfers: u32,
}

/// A conversation that is transferred more often is unlikely to get an answer.
const MAX_TRANSFERS: u32 = 8;

// The arguments of a transfer tool. Doc comments of the fields are part of the tool's schema.
#[derive(Deserialize, JsonSchema)]
struct Transfer {
    /// Why the other agent is the right one, for the record.
    #[expect(dead_code, reason = "it stays in the conversation, where the next agent reads it")]
    reason: String,
}

impl Handoff {
    /// Creates a handoff without agents, which fails when it runs.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self { options: RunOptions::new(name), agents: Vec::new(), max_transfers: MAX_TRANSFERS }
    }

    /// Adds an agent. The first one begins.
    #[must_use]
    pub fn agent(mut self, agent: Agent) -> Self {
        self.agents.push(agent);
        self
    }

    /// Sets how often the conversation may be transferred. 8 by default.
    #[must_use]
    pub fn max_transfers(self, max_transfers: u32) -> Self {
        Self { max_transfers, ..self }
    }

    async fn work(&self, run: Run, task: Task) -> Result<Outcome, RunError> {
        self.options.in_session(run, task, |run, task| self.run_agents(run, task)).await
    }

    /// Runs the agent that has the conversation, and the agents that it is transferred to, until one answers.
    async fn run_agents(&self, run: Run, mut task: Task) -> Result<Outcome, RunError> {
        let (mut index, mut transfers, mut turns, mut inherited) = (0, 0, 0, None);
        let session = task.session.clone();
        while let Some(agent) = self.with_transfers(index) {
            let part = run.part(format_args!("transfer:{transfers}"));
            let child = part.child(agent.name(), Budget::unlimited()).map_err(|error| RunError::before(&run, error))?;
            // The caller sees the text of every agent, because any of them may answer.
            let child = child.with_deltas(run.wants_deltas());
            let mut outcome = Runnable::run(&agent, &child, task).await?;
            turns += outcome.turns;
            outcome.turns = turns;
            outcome.inherited = *inherited.get_or_insert(outcome.inherited);
            let Some(next) = self.transfer_target(&outcome) else { return Ok(outcome) };
            if transfers == self.max_transfers {
                outcome.stop = StopReason::LoopDetected;
                let times = if transfers == 1 { "once".to_owned() } else { format!("{transfers} times") };
                outcome.notice = format!("The conversation was passed on {times} without an answer.");
                return Ok(outcome);
            }
            run.emit(&Event::HandedOff { to: Arc::clone(self.agents.get(next).map_or(self.name(), Agent::name)) });
            transfers += 1;
            index = next;
            task = Task::resume(outcome.transcript);
            task.session.clone_from(&session);
        }
        Err(RunError::before(&run, RunFailure::NothingToRun))
    }

    /// The agent at `index`, with a transfer tool for every other agent.
    fn with_transfers(&self, index: usize) -> Option<Agent> {
        let agent = self.agents.get(index)?.clone();
        let others = self.agents.iter().enumerate().filter(|(other, _)| *other != index);
        Some(others.fold(agent, |agent, (_, other)| {
            let about = format!("Passes the whole conversation on to {}. {}", other.name(), Runnable::purpose(other));
            let done = format!("The conversation is with {} now.", other.name());
            let transfer = tool_fn(&transfer_tool(other), about.trim(), move |_: Transfer, _| {
                let done = done.clone();
                async move { Ok(ToolOutput::text(done).ending_run()) }
            });
            agent.tool(transfer.effect(Effect::Repeatable))
        }))
    }

    fn transfer_target(&self, outcome: &Outcome) -> Option<usize> {
        let tool = outcome.ended_by.as_deref()?;
        self.agents.iter().position(|agent| transfer_tool(agent) == tool)
    }
}

fn transfer_tool(agent: &Agent) -> String {
    format!("transfer_to_{}", agent.name())
}

impl_runnable!(Handoff);

#[cfg(test)]
mod tests;
