//! Agents that are called over the bus.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    Budget, Bus, BusError, Cap, Certainty, Charge, Delivery, Envelope, Inbox, Ledger, Message, ModelId, Money, Outcome,
    Run, RunError, RunFailure, StopReason, Subscription, Task, Transcript, Usage,
    agent::runnable::{Runnable, carry_out},
    money::account::Headroom,
};

/// An agent that answers on the bus, until this is dropped.
#[must_use = "the agent answers only until this is dropped"]
#[derive(Debug)]
pub struct Host(AbortOnDropHandle<()>);

/// An agent that is hosted somewhere on the bus, by its name. Give it to a [`Worker`](crate::Worker).
///
/// It may take as much time, spend as much and delegate as deep as is left to the run that asks. What it spends is
/// charged when it answers, so that several asked at once may together spend what is left more than once.
#[derive(Debug, Clone)]
pub struct RemoteAgent {
    name: Arc<str>,
    purpose: String,
    within: Duration,
}

/// How many tasks a host works on at a time; further ones wait in its inbox, which is bounded.
const PARALLEL: usize = 8;

/// How long an answer is waited for, if the run has no nearer deadline.
const WITHIN: Duration = Duration::from_mins(10);

/// A task on its way to a host.
#[derive(Serialize, Deserialize)]
struct Order {
    task: String,
    time_left: Option<Duration>,
    /// What the sender may still spend.
    #[serde(default)]
    usd_left: Option<Money>,
    #[serde(default)]
    tokens_left: Option<u64>,
    /// How many levels below the sender agents may still delegate.
    #[serde(default)]
    depth_left: Option<u32>,
}

/// What comes back.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Report {
    Answer { text: String, stop: StopReason, notice: String, turns: u32, usage: Usage, cost: Option<Money> },
    Failure { message: String, usage: Usage, cost: Option<Money> },
}

/// Lets `work` answer on `bus` under its name. Hosts of one name share the tasks. What they spend goes to `account`,
/// and is told to the caller, whose budget it counts against.
pub async fn host(work: impl Runnable, bus: &dyn Bus, account: Ledger) -> Result<Host, BusError> {
    let work: Arc<dyn Runnable> = Arc::new(work);
    let inbox = bus.listen(&topic(work.name()), Subscription::Group("hosts".into())).await?;
    #[expect(clippy::disallowed_methods, reason = "the handle aborts the task when the host is dropped")]
    let task = tokio::spawn(serve(work, inbox, account));
    Ok(Host(AbortOnDropHandle::new(task)))
}

impl Host {
    /// Whether it has stopped answering, because the bus is gone.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
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

/// Works on one task, for as long as its sender waits.
async fn answer(work: Arc<dyn Runnable>, mut delivery: Delivery, account: Ledger) {
    let envelope = delivery.envelope.clone();
    let report = tokio::select! {
        biased;
        // First, so that no call is paid for a sender who gave up while the task was waiting.
        () = delivery.abandoned() => return,
        report = fulfil(&*work, &envelope, account) => report,
    };
    // A report is plain data, which can always be written.
    let body = serde_json::to_string(&report).unwrap_or_default();
    delivery.reply(Envelope { from: Arc::clone(work.name()), body, trace: envelope.trace });
}

async fn fulfil(work: &dyn Runnable, envelope: &Envelope, account: Ledger) -> Report {
    let nothing = Usage::default();
    let Ok(order) = serde_json::from_str::<Order>(&envelope.body) else {
        return Report::Failure { message: "the task could not be read".into(), usage: nothing, cost: None };
    };
    let budget = Budget {
        usd: order.usd_left.map(|left| Cap::hard(left.or_zero())),
        tokens: order.tokens_left.map(Cap::hard),
        wall: order.time_left,
        ..Budget::unlimited()
    };
    let mut builder = Run::builder().account(account).budget(budget);
    if let Some(trace) = envelope.trace {
        builder = builder.trace(trace);
    }
    if let Some(levels) = order.depth_left {
        builder = builder.max_depth(levels);
    }
    match work.run(&builder.build(), Task::from(order.task)).await {
        Ok(outcome) => {
            let Outcome { text, stop, notice, turns, usage, cost, .. } = outcome;
            Report::Answer { text, stop, notice, turns, usage, cost: cost.total.cost() }
        }
        Err(error) => {
            let total = error.cost().total;
            Report::Failure { message: error.chain(), usage: total.usage, cost: total.cost() }
        }
    }
}

impl RemoteAgent {
    /// The agent hosted under this name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), purpose: String::new(), within: WITHIN }
    }

    /// What it is for, in a sentence.
    #[must_use]
    pub fn purpose(self, purpose: impl Into<String>) -> Self {
        Self { purpose: purpose.into(), ..self }
    }

    /// How long an answer is waited for; ten minutes, or what the run has left.
    #[must_use]
    pub fn within(self, within: Duration) -> Self {
        Self { within, ..self }
    }

    /// Charges the caller's run with what the host has spent on it.
    fn charge(&self, run: &Run, usage: Usage, cost: Option<Money>) {
        let model = ModelId::new("bus", Arc::clone(&self.name));
        run.charge(&model, &Charge { certainty: Certainty::Charged, usage, cost });
    }
}

impl RemoteAgent {
    async fn request(&self, run: Run, task: Task) -> Result<Outcome, RunError> {
        let text = task.message.as_ref().map(|message| message.text().into_owned()).unwrap_or_default();
        let Headroom { usd: usd_left, tokens: tokens_left } = run.ledger().headroom(false);
        let order =
            Order { task: text, time_left: run.time_left(), usd_left, tokens_left, depth_left: Some(run.depth_left()) };
        // An order is plain data, which can always be written.
        let body = serde_json::to_string(&order).unwrap_or_default();
        let envelope = Envelope { from: Arc::clone(run.agent()), body, trace: Some(run.trace()) };
        let within = run.time_left().map_or(self.within, |left| left.min(self.within));
        let answered = run.bus().request(&topic(&self.name), envelope, within).await;
        let envelope = answered.map_err(|error| RunError::before(&run, RunFailure::Bus(error)))?;
        match serde_json::from_str(&envelope.body) {
            Ok(Report::Answer { text, stop, notice, turns, usage, cost }) => {
                self.charge(&run, usage, cost);
                let mut transcript = Transcript::repaired(task.message);
                // Nothing is open, so the conversation takes an answer.
                let _ = transcript.push(Message::assistant(text.as_str()));
                let mut outcome = Outcome::new(run.trace(), stop, text, transcript);
                outcome.notice = notice;
                outcome.turns = turns;
                Ok(outcome)
            }
            Ok(Report::Failure { message, usage, cost }) => {
                self.charge(&run, usage, cost);
                Err(RunError::before(&run, RunFailure::Remote { name: Arc::clone(&self.name), message }))
            }
            Err(error) => {
                let message = format!("its report could not be read: {error}");
                Err(RunError::before(&run, RunFailure::Remote { name: Arc::clone(&self.name), message }))
            }
        }
    }
}

#[async_trait]
impl Runnable for RemoteAgent {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn purpose(&self) -> &str {
        &self.purpose
    }

    async fn run(&self, run: &Run, task: Task) -> Result<Outcome, RunError> {
        carry_out(run, &self.name, |run| self.request(run, task)).await
    }
}

fn topic(name: &str) -> String {
    format!("agent/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Agent, LocalBus, Worker,
        testing::{ScriptedModel, Turn},
    };

    fn supervisor(calls: usize) -> Agent {
        let call = |index| Turn::call(&format!("c{index}"), "critic", serde_json::json!({"task": "Judge the plan."}));
        let script = (0..calls).map(call).chain([Turn::text("Done.")]);
        Agent::new("desk", ScriptedModel::new(script)).worker(Worker::new(RemoteAgent::new("critic")))
    }

    #[tokio::test]
    async fn a_hosted_agent_is_a_worker_like_any_other_and_its_tokens_count_for_the_caller() {
        let bus = Arc::new(LocalBus::new());
        let critic = Agent::new("critic", ScriptedModel::new([Turn::text("It is thin.")]));
        let account = Ledger::root("host", crate::Budget::unlimited());
        let _host = host(critic, &*bus, account.clone()).await.unwrap();
        let run = Run::builder().bus(bus).build();
        let outcome = supervisor(1).run_in(&run, "Plan it.").await.unwrap();
        let told = outcome.transcript.messages()[2].tool_results().next().unwrap().content.clone();
        assert_eq!(told, [crate::Part::text("It is thin.")]);
        assert_eq!((outcome.text.as_str(), outcome.usage), ("Done.", Usage::new(300, 30)));
        assert_eq!(account.spending().usage, Usage::new(100, 10));
    }

    #[tokio::test]
    async fn a_worker_that_nobody_hosts_is_a_failed_worker() {
        let outcome = supervisor(1).run("Plan it.").await.unwrap();
        assert_eq!(outcome.degraded.len(), 1);
        assert!(outcome.degraded[0].reason.contains("`agent/critic` has no listener"), "{:?}", outcome.degraded);
    }

    #[tokio::test(start_paused = true)]
    async fn cancelling_the_caller_cancels_the_hosted_run() {
        let bus = Arc::new(LocalBus::new());
        let model = ScriptedModel::new([Turn::text("late").after(Duration::from_mins(1)), Turn::text("never asked")]);
        let account = Ledger::root("host", crate::Budget::unlimited());
        let _host = host(Agent::new("critic", model.clone()), &*bus, account.clone()).await.unwrap();
        let run = Run::builder().bus(bus).build();
        let desk = supervisor(1);
        let cancel = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            run.cancel();
        };
        let (outcome, ()) = tokio::join!(desk.run_in(&run, "Plan it."), cancel);
        assert_eq!(outcome.unwrap().stop, StopReason::Cancelled);
        tokio::time::sleep(Duration::from_mins(2)).await;
        assert_eq!(account.spending().usage, Usage::default(), "the hosted agent went on without its caller");
    }

    #[tokio::test]
    async fn a_hosted_agent_may_delegate_no_deeper_than_who_asks() {
        let bus = Arc::new(LocalBus::new());
        let ask = Turn::call("c1", "scout", serde_json::json!({"task": "Look."}));
        let model = ScriptedModel::new([ask, Turn::text("No.")]);
        let scout = Worker::new(Agent::new("scout", ScriptedModel::new([Turn::text("never asked")])));
        let critic = Agent::new("critic", model.clone()).worker(scout);
        let _host = host(critic, &*bus, Ledger::root("host", Budget::unlimited())).await.unwrap();
        let run = Run::builder().bus(bus).max_depth(1).build();
        assert_eq!(supervisor(1).run_in(&run, "Plan it.").await.unwrap().text, "Done.");
        let told = format!("{:?}", model.requests()[1].transcript.messages().last());
        assert!(told.contains("delegation may go 0 levels deep"), "{told}");
    }

    #[tokio::test]
    async fn a_hosted_agent_may_spend_no_more_than_is_left_to_who_asks() {
        let bus = Arc::new(LocalBus::new());
        let model = ScriptedModel::new((0..9).map(|_| Turn::text("Well.").usage(Some(Usage::new(9_000, 9_000)))));
        let _host = host(Agent::new("critic", model.clone()), &*bus, Ledger::root("host", Budget::unlimited())).await;
        let run = Run::builder().bus(bus).budget(Budget::unlimited().tokens(5_000)).build();
        let mut stops = Vec::new();
        for _ in 0..2 {
            stops.push(Runnable::run(&RemoteAgent::new("critic"), &run, "Judge.".into()).await.unwrap().stop);
        }
        assert_eq!((stops, model.requests().len()), (vec![StopReason::Finished, StopReason::Budget], 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_whose_sender_gave_up_while_it_waited_is_not_begun() {
        let bus = Arc::new(LocalBus::new());
        let minute = || Turn::text("late").after(Duration::from_mins(1));
        let model = ScriptedModel::new((0..20).map(|_| minute()));
        let account = Ledger::root("host", Budget::unlimited());
        let _host = host(Agent::new("critic", model.clone()), &*bus, account).await.unwrap();
        let run = Run::builder().bus(bus).build();
        let ask = |within: u64| RemoteAgent::new("critic").within(Duration::from_secs(within));
        let busy: Vec<_> = (0..PARALLEL).map(|_| ask(90)).collect();
        let busy = futures::future::join_all(busy.iter().map(|critic| Runnable::run(critic, &run, "Judge.".into())));
        let impatient = ask(5);
        let late = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Runnable::run(&impatient, &run, "Judge.".into()).await.unwrap_err();
        };
        tokio::join!(busy, late);
        tokio::time::sleep(Duration::from_mins(2)).await;
        assert_eq!(model.requests().len(), PARALLEL);
    }
}
