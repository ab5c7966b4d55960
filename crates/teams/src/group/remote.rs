//! Agents that are called over the bus.

use std::{sync::Arc, time::Duration};

use brigade_core::{
    Budget, Cap, Certainty, Charge, Ledger, Message, ModelId, Money, Outcome, Run, RunError, RunOptions, Runnable,
    Spending, StopReason, Task, Transcript, Usage, impl_runnable,
};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use crate::{Bus, BusError, Delivery, Envelope, Inbox, Subscription, TeamError, TeamRun};

/// An agent that a [`host`] serves on the bus, called by its name. Give it to a [`Worker`](brigade_core::Worker).
///
/// It gets the time, the budget and the delegation depth that the calling run has left. What it spent, for certain or
/// perhaps, is charged when it answers, so several remote agents called at once may together spend what is left more than
/// once. If it never reports, or the caller does not wait for it, all that it was allowed to spend counts as uncertain.
///
/// ```
/// use std::sync::Arc;
///
/// use brigade_core::{Agent, Budget, Ledger, Run};
/// use brigade_teams::{LocalBus, RemoteAgent, TeamRunBuilder, host};
/// # use brigade_core::testing::{ScriptedModel, Turn};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let model = ScriptedModel::new([Turn::text("The plan is thin.")]);
/// let bus = Arc::new(LocalBus::new());
/// // In one process:
/// let ledger = Ledger::root("host", Budget::unlimited());
/// let _host = host(Agent::new("critic", model), &*bus, ledger).await?;
/// // In another one, with a bus that reaches it:
/// let run = Run::builder().bus(bus).build();
/// let outcome = RemoteAgent::new("critic").run_in(&run, "Judge the plan.").await?;
/// assert_eq!(outcome.text, "The plan is thin.");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct RemoteAgent {
    options: RunOptions,
    timeout: Duration,
}

/// Serves an agent on the bus until it is dropped. Made by [`host`].
#[must_use = "the agent is served only until this is dropped"]
#[derive(Debug)]
pub struct Host(#[expect(dead_code, reason = "dropping it ends the task")] AbortOnDropHandle<()>);

/// How many tasks a host works on at a time. Further ones wait in its inbox, which is bounded.
const PARALLEL: usize = 8;

/// How long a caller waits for an answer if its run has no earlier deadline.
const TIMEOUT: Duration = Duration::from_mins(10);

/// A task on its way to a host.
#[derive(Serialize, Deserialize)]
struct TaskMessage {
    /// Absent to continue where the history ends.
    message: Option<Message>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    history: Vec<Message>,
    time_left: Option<Duration>,
    /// What the caller may still spend.
    #[serde(default)]
    usd_left: Option<Money>,
    #[serde(default)]
    tokens_left: Option<u64>,
    /// How many levels of delegation the caller has left.
    #[serde(default)]
    depth_left: Option<u32>,
}

/// What a host may spend of the caller's budget. If it does not report what it spent, all of it counts as uncertain.
#[derive(Debug)]
struct Grant<'a> {
    run: &'a Run,
    model: ModelId,
    usd: Option<Money>,
    tokens: Option<u64>,
    is_settled: bool,
}

/// The host's answer to a task.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum TaskResult {
    Answer { text: String, stop: StopReason, notice: String, turns: u32, spent: Spending },
    Failure { message: String, spent: Spending },
}

/// Serves `work` on `bus` under its name. Hosts of the same name share the tasks. The cost is charged to `account`, and
/// reported to the caller, who charges it to its own budget.
///
/// See [`RemoteAgent`] for an example.
pub async fn host(work: impl Runnable, bus: &dyn Bus, account: Ledger) -> Result<Host, BusError> {
    let work: Arc<dyn Runnable> = Arc::new(work);
    let inbox = bus.listen(&topic(work.name()), Subscription::Group("hosts".into())).await?;
    #[expect(clippy::disallowed_methods, reason = "the handle aborts the task when the host is dropped")]
    let task = tokio::spawn(serve(work, inbox, account));
    Ok(Host(AbortOnDropHandle::new(task)))
}

async fn serve(work: Arc<dyn Runnable>, mut inbox: Inbox, account: Ledger) {
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            delivery = inbox.next(), if running.len() < PARALLEL => match delivery {
                Some(delivery) => drop(running.spawn(answer(Arc::clone(&work), delivery, account.clone()))),
                None => return,
            },
            Some(_) = running.join_next() => {}
        }
    }
}

/// Works on one task for as long as its caller waits.
async fn answer(work: Arc<dyn Runnable>, mut delivery: Delivery, account: Ledger) {
    let envelope = delivery.envelope.clone();
    let result = tokio::select! {
        biased;
        // First, so that no call is paid for a caller that gave up while the task was waiting.
        () = delivery.abandoned() => return,
        result = carry_out(&*work, &envelope, account) => result,
    };
    // A result is plain data, which always serializes.
    let body = serde_json::to_string(&result).unwrap_or_default();
    delivery.reply(Envelope { from: Arc::clone(work.name()), body, trace: envelope.trace });
}

async fn carry_out(work: &dyn Runnable, envelope: &Envelope, account: Ledger) -> TaskResult {
    let Ok(message) = serde_json::from_str::<TaskMessage>(&envelope.body) else {
        let message = "the task could not be read".to_owned();
        return TaskResult::Failure { message, spent: Spending::default() };
    };
    let mut budget = Budget::unlimited();
    budget.usd = message.usd_left.map(|left| Cap::hard(left.or_zero()));
    budget.tokens = message.tokens_left.map(Cap::hard);
    budget.wall = message.time_left;
    let mut builder = Run::builder().account(account).budget(budget);
    if let Some(trace) = envelope.trace {
        builder = builder.trace(trace);
    }
    if let Some(levels) = message.depth_left {
        builder = builder.max_depth(levels);
    }
    let mut task = Task::resume(Transcript::repaired(message.history));
    task.message = message.message;
    match work.run(&builder.build(), task).await {
        Ok(outcome) => {
            let Outcome { text, stop, notice, turns, cost, .. } = outcome;
            TaskResult::Answer { text, stop, notice, turns, spent: cost.total }
        }
        Err(error) => TaskResult::Failure { message: error.chain(), spent: error.cost().total },
    }
}

impl RemoteAgent {
    /// Refers to the agent that is served under this name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self { options: RunOptions::new(name), timeout: TIMEOUT }
    }

    /// Sets how long to wait for an answer. Ten minutes by default. An earlier deadline of the run takes precedence.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    async fn work(&self, run: Run, task: Task) -> Result<Outcome, RunError> {
        self.options.in_session(run, task, |run, task| self.request(run, task)).await
    }

    async fn request(&self, run: Run, task: Task) -> Result<Outcome, RunError> {
        let left = run.ledger().left();
        let message = TaskMessage {
            message: task.message.clone(),
            history: task.history.messages().to_vec(),
            time_left: run.time_left(),
            usd_left: left.usd.map(|cap| cap.limit),
            tokens_left: left.tokens.map(|cap| cap.limit),
            depth_left: Some(run.depth_left()),
        };
        // A task is plain data, which always serializes.
        let body = serde_json::to_string(&message).unwrap_or_default();
        let envelope = Envelope { from: Arc::clone(run.agent()), body, trace: Some(run.trace()) };
        let timeout = run.time_left().map_or(self.timeout, |left| left.min(self.timeout));
        let grant = Grant {
            run: &run,
            model: ModelId::new("bus", Arc::clone(self.name())),
            usd: message.usd_left,
            tokens: message.tokens_left,
            is_settled: false,
        };
        let reply = match run.bus().request(&topic(self.name()), envelope, timeout).await {
            Ok(reply) => reply,
            Err(error) => {
                match error {
                    // The host may have worked on the task.
                    BusError::NoAnswer { .. } => drop(grant),
                    BusError::NoListener(_) | BusError::InboxFull(_) | BusError::Unavailable(_) => grant.return_all(),
                }
                return Err(TeamError::Bus(error).of(&run));
            }
        };
        let failed = |message| TeamError::Remote { name: Arc::clone(self.name()), message }.of(&run);
        match serde_json::from_str(&reply.body) {
            Ok(TaskResult::Answer { text, stop, notice, turns, spent }) => {
                grant.settle(&spent);
                let mut outcome = Outcome::new(run.trace(), stop, text, Transcript::new());
                outcome.notice = notice;
                outcome.turns = turns;
                Ok(outcome.in_answer_to(task))
            }
            Ok(TaskResult::Failure { message, spent }) => {
                grant.settle(&spent);
                Err(failed(message))
            }
            Err(error) => Err(failed(format!("its report could not be read: {error}"))),
        }
    }
}

impl Grant<'_> {
    /// Charges what the host has spent to the caller's run.
    fn settle(mut self, spent: &Spending) {
        self.is_settled = true;
        let charge = |certainty, usage: Usage, cost: Money| {
            let cost = spent.cost().map(|_| cost);
            self.run.charge(&self.model, &Charge::new(certainty, usage, cost));
        };
        charge(Certainty::Charged, spent.usage, spent.charged);
        if spent.estimated > Money::ZERO {
            charge(Certainty::Estimated, Usage::default(), spent.estimated);
        }
        if spent.uncertain > Money::ZERO || spent.uncertain_tokens > 0 {
            charge(Certainty::Uncertain, Usage::new(spent.uncertain_tokens, 0), spent.uncertain);
        }
    }

    /// Nothing was spent, because the host did not get the task.
    fn return_all(mut self) {
        self.is_settled = true;
    }
}

impl Drop for Grant<'_> {
    fn drop(&mut self) {
        if !self.is_settled && (self.usd.is_some() || self.tokens.is_some()) {
            let usage = Usage::new(self.tokens.unwrap_or_default(), 0);
            self.run.charge(&self.model, &Charge::new(Certainty::Uncertain, usage, self.usd));
        }
    }
}

impl_runnable!(RemoteAgent);

fn topic(name: &str) -> String {
    format!("agent/{name}")
}

#[cfg(test)]
mod tests;
