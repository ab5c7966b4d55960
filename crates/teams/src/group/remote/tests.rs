use brigade_core::{
    Agent, Worker,
    testing::{ScriptedModel, Turn},
};

use super::*;
use crate::{LocalBus, TeamRunBuilder, fixtures::tool_results};

fn supervisor(calls: usize) -> Agent {
    let call = |index| Turn::call(&format!("c{index}"), "critic", serde_json::json!({"task": "Judge the plan."}));
    let script = (0..calls).map(call).chain([Turn::text("Done.")]);
    Agent::new("desk", ScriptedModel::new(script)).worker(Worker::new(RemoteAgent::new("critic")))
}

#[tokio::test]
async fn a_remote_agent_works_as_a_worker_and_its_tokens_are_charged_to_the_caller() {
    let bus = Arc::new(LocalBus::new());
    let critic = Agent::new("critic", ScriptedModel::new([Turn::text("It is thin.")]));
    let account = Ledger::root("host", Budget::unlimited());
    let _host = host(critic, &*bus, account.clone()).await.unwrap();
    let run = Run::builder().bus(bus).build();
    let outcome = supervisor(1).run_in(&run, "Plan it.").await.unwrap();
    assert_eq!(tool_results(&outcome), [(false, "It is thin.".into())]);
    assert_eq!((outcome.text.as_str(), outcome.usage), ("Done.", Usage::new(300, 30)));
    assert_eq!(account.spending().usage, Usage::new(100, 10));
}

#[tokio::test]
async fn a_remote_agent_without_a_host_is_a_failed_worker() {
    let outcome = supervisor(1).run("Plan it.").await.unwrap();
    assert_eq!(outcome.degraded.len(), 1);
    assert!(outcome.degraded[0].reason.contains("`agent/critic` has no listener"), "{:?}", outcome.degraded);
}

#[tokio::test(start_paused = true)]
async fn cancelling_the_caller_cancels_the_hosted_run() {
    let bus = Arc::new(LocalBus::new());
    let model = ScriptedModel::new([Turn::text("late").after(Duration::from_mins(1)), Turn::text("never asked")]);
    let account = Ledger::root("host", Budget::unlimited());
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
    assert_eq!(account.spending().usage, Usage::default(), "the remote agent ends with its caller");
}

#[tokio::test]
async fn a_remote_agent_has_the_delegation_depth_that_its_caller_has_left() {
    let bus = Arc::new(LocalBus::new());
    let ask = Turn::call("c1", "scout", serde_json::json!({"task": "Look."}));
    let model = ScriptedModel::new([ask, Turn::text("No.")]);
    let scout = Worker::new(Agent::new("scout", ScriptedModel::new([Turn::text("never asked")])));
    let critic = Agent::new("critic", model.clone()).worker(scout);
    let _host = host(critic, &*bus, Ledger::root("host", Budget::unlimited())).await.unwrap();
    let run = Run::builder().bus(bus).max_depth(1).build();
    assert_eq!(supervisor(1).run_in(&run, "Plan it.").await.unwrap().text, "Done.");
    let result = format!("{:?}", model.requests()[1].transcript.messages().last());
    assert!(result.contains("delegation may go 0 levels deep"), "{result}");
}

#[tokio::test]
async fn a_remote_agent_has_the_budget_that_its_caller_has_left() {
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

/// A host that answers each task with what `reply` says, or not at all.
async fn host_that(bus: &LocalBus, reply: Option<&'static str>) -> JoinSet<()> {
    let mut inbox = bus.listen(&topic("critic"), Subscription::Broadcast).await.unwrap();
    JoinSet::from_iter([async move {
        while let Some(delivery) = inbox.next().await {
            if let Some(body) = reply {
                delivery.reply(Envelope::new("critic", body));
            }
        }
    }])
}

#[tokio::test(start_paused = true)]
async fn what_a_remote_agent_may_have_spent_counts_against_the_callers_budget() {
    // The host cancels a call that showed nothing of its answer: its tokens are uncertain.
    let bus = Arc::new(LocalBus::new());
    let slow = ScriptedModel::new([Turn::text("late").after(Duration::from_mins(1))]);
    let slow = brigade_core::ModelExt::metered(slow, &Free);
    let limited = Worker::new(Agent::new("inner", slow)).timeout(Duration::from_secs(1));
    let ask = Turn::call("c1", "inner", serde_json::json!({"task": "Look."}));
    let critic = Agent::new("critic", ScriptedModel::new([ask, Turn::text("Thin.")])).worker(limited);
    let account = Ledger::root("host", Budget::unlimited());
    let _host = host(critic, &*bus, account.clone()).await.unwrap();
    let run = Run::builder().bus(bus).budget(Budget::unlimited().tokens(100_000)).build();
    let outcome = Runnable::run(&RemoteAgent::new("critic"), &run, "Judge.".into()).await.unwrap();
    assert_eq!(outcome.text, "Thin.");
    let (spent, reported) = (run.ledger().spending(), account.spending());
    assert!(spent.uncertain_tokens > 0 && spent.usage.total_tokens() > 0, "{spent:?}");
    assert_eq!((spent.usage, spent.uncertain_tokens), (reported.usage, reported.uncertain_tokens));
}

#[tokio::test(start_paused = true)]
async fn all_that_a_vanished_remote_agent_was_allowed_to_spend_counts_as_uncertain() {
    let budget = || Budget::unlimited().tokens(5_000).usd("0.50").unwrap().wrap_up_percent(0);
    let spent = async |bus: LocalBus, timeout: u64| {
        let run = Run::builder().bus(Arc::new(bus)).budget(budget()).build();
        let critic = RemoteAgent::new("critic").timeout(Duration::from_secs(timeout));
        let waiting = Runnable::run(&critic, &run, "Judge.".into());
        let result = tokio::time::timeout(Duration::from_mins(1), waiting).await;
        assert!(!matches!(result, Ok(Ok(_))), "{result:?}");
        let spending = run.ledger().spending();
        (spending.uncertain_tokens, spending.uncertain)
    };
    let whole = (5_000, Money::from_cents(50));
    assert_eq!(spent(LocalBus::new(), 5).await, (0, Money::ZERO), "no host got the task");
    for reply in [None, Some("not a report"), Some("{}")] {
        let bus = LocalBus::new();
        let _host = host_that(&bus, reply).await;
        assert_eq!(spent(bus, 5).await, whole, "{reply:?}");
    }
    // A host that works longer than its caller waits, and a caller that is dropped.
    for timeout in [5, 600] {
        let bus = LocalBus::new();
        let model = ScriptedModel::new([Turn::text("late").after(Duration::from_mins(5))]);
        let account = Ledger::root("host", Budget::unlimited());
        let _host = host(Agent::new("critic", model), &bus, account).await.unwrap();
        assert_eq!(spent(bus, timeout).await, whole, "{timeout}");
    }
}

/// A price list on which everything is free.
#[derive(Debug, Clone)]
struct Free;

impl brigade_core::Pricing for Free {
    fn ceiling(&self, _: &ModelId, _: &brigade_core::Settings, _: u64) -> Option<brigade_core::PriceCeiling> {
        let free = brigade_core::Rate::per_million(Money::ZERO);
        Some(brigade_core::PriceCeiling::new(brigade_core::Rates::new(free, free)))
    }

    fn cost(&self, _: &brigade_core::ServedCall<'_>, _: &Usage) -> Option<Money> {
        Some(Money::ZERO)
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_whose_caller_gave_up_is_not_started() {
    let bus = Arc::new(LocalBus::new());
    let minute = || Turn::text("late").after(Duration::from_mins(1));
    let model = ScriptedModel::new((0..20).map(|_| minute()));
    let account = Ledger::root("host", Budget::unlimited());
    let _host = host(Agent::new("critic", model.clone()), &*bus, account).await.unwrap();
    let run = Run::builder().bus(bus).build();
    let ask = |within: u64| RemoteAgent::new("critic").timeout(Duration::from_secs(within));
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
