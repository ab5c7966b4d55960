use std::time::Duration;

use serde_json::json;

use super::*;
use crate::{
    OnFailure, RunError, RunFailure, StopReason, ToolLimits, Usage,
    testing::fixtures::{tool_results, worker},
    testing::{ScriptedModel, Turn},
};

fn one_by_one() -> ToolLimits {
    ToolLimits { parallel: 1, ..ToolLimits::default() }
}

/// A model that calls these workers at once and then answers.
fn calling(workers: &[&str]) -> ScriptedModel {
    let calls = workers.iter().enumerate().fold(Turn::parts(Vec::new()), |turn, (index, name)| {
        turn.and_call(&format!("c{index}"), name, &json!({"task": format!("Do part {index}.")}).to_string())
    });
    ScriptedModel::new([calls, Turn::text("All in all.")])
}

#[tokio::test(start_paused = true)]
async fn workers_called_in_one_turn_run_in_parallel_and_answer_in_call_order() {
    let desk = Agent::new("desk", calling(&["slow", "quick"]))
        .worker(worker("slow", Turn::text("second").after(Duration::from_secs(9))))
        .worker(worker("quick", Turn::text("first").after(Duration::from_secs(8))));
    let started = tokio::time::Instant::now();
    let outcome = desk.clone().run("Go.").await.unwrap();
    assert_eq!(started.elapsed(), Duration::from_secs(9));
    assert_eq!(tool_results(&outcome), [(false, "second".into()), (false, "first".into())]);
    assert_eq!(outcome.usage, Usage::new(400, 40), "the workers' tokens are the run's");
    let slow = *outcome.cost.by_tool.get("slow").unwrap();
    assert_eq!((slow.calls, slow.spending.map(|spent| spent.usage)), (1, Some(Usage::new(100, 10))));
}

#[tokio::test(start_paused = true)]
async fn workers_with_a_parallelism_of_one_run_one_after_the_other() {
    let desk = Agent::new("desk", calling(&["a", "b"]))
        .worker(worker("a", Turn::text("a").after(Duration::from_secs(9))))
        .worker(worker("b", Turn::text("b").after(Duration::from_secs(8))))
        .tool_limits(one_by_one());
    let started = tokio::time::Instant::now();
    desk.run("Go.").await.unwrap();
    assert_eq!(started.elapsed(), Duration::from_secs(17));
}

#[tokio::test(start_paused = true)]
async fn failing_slow_and_panicking_workers_leave_the_results_of_others_untouched() {
    let desk = Agent::new("desk", calling(&["dead", "slow", "mad", "fine", "spare"]))
        .worker(worker("dead", Turn::fails(crate::ModelErrorKind::Transient)))
        .worker(worker("slow", Turn::text("never").after(Duration::from_mins(10))).timeout(Duration::from_secs(30)))
        .worker(worker("mad", Turn::panics()))
        .worker(worker("fine", Turn::text("good")))
        .worker(
            worker("spare", Turn::fails(crate::ModelErrorKind::Auth)).on_failure(OnFailure::fallback("Nothing known.")),
        );
    let started = tokio::time::Instant::now();
    let outcome = desk.run("Go.").await.unwrap();
    assert_eq!(started.elapsed(), Duration::from_secs(30));
    let results = tool_results(&outcome);
    assert_eq!(results.iter().map(|(error, _)| *error).collect::<Vec<_>>(), [true, true, true, false, false]);
    assert!(results[0].1.starts_with("dead gave no answer: the model did not answer: "), "{}", results[0].1);
    assert_eq!(results[4].1, "Nothing known.");
    let mut parts: Vec<_> = outcome.degraded.iter().map(|degraded| degraded.part.as_str()).collect();
    parts.sort_unstable();
    assert_eq!(parts, ["worker:dead", "worker:mad", "worker:slow", "worker:spare"]);
    assert_eq!(outcome.text, "All in all.");
}

#[tokio::test]
async fn giving_the_same_task_to_a_worker_a_fourth_time_ends_the_run() {
    let again = |turn: u32| Turn::call(&format!("c{turn}"), "critic", json!({"task": "Read it."}));
    let desk = Agent::new("desk", ScriptedModel::new((0..9).map(again)));
    let critic = ScriptedModel::new(["thin", "thinner", "thinnest", "none"].map(Turn::text));
    let outcome = desk.worker(Worker::new(Agent::new("critic", critic.clone()))).run("Go.").await.unwrap();
    assert_eq!((outcome.stop, outcome.turns, critic.turns_left()), (StopReason::DelegationCycle, 4, 1));
    assert!(outcome.text.contains("thinnest"), "{}", outcome.text);
}

#[tokio::test]
async fn a_required_worker_that_fails_fails_the_run() {
    let required = worker("critic", Turn::fails(crate::ModelErrorKind::Quota)).on_failure(OnFailure::Required);
    let error = Agent::new("desk", calling(&["critic"])).worker(required).run("Go.").await.unwrap_err();
    assert!(matches!(error.cause(), RunFailure::Tool { tool, .. } if tool == "critic"), "{error}");
}

#[tokio::test]
async fn a_fallback_is_shown_as_one_and_not_as_a_repetition() {
    let recorder = crate::testing::Recorder::new();
    let critic = worker("critic", Turn::fails(crate::ModelErrorKind::Quota)).on_failure(OnFailure::fallback("Fine."));
    let asks = Turn::call("c1", "critic", json!({"task": "Judge."})).and_call("c2", "missing", "{}");
    let desk = Agent::new("desk", ScriptedModel::new([asks, Turn::text("All in all.")])).worker(critic);
    let outcome = desk.observer(Arc::new(recorder.clone())).run("Go.").await.unwrap();
    assert_eq!(tool_results(&outcome)[0], (false, "Fine.".into()));
    let ended = recorder.events().into_iter().find_map(|(_, event)| match event {
        Event::ToolEnded { outcome, reason, .. } => Some((outcome, reason.unwrap_or_default())),
        _ => None,
    });
    let why = "the model did not answer: as the script says (quota)";
    assert_eq!(ended, Some((crate::ToolStatus::Fallback, why.into())));
    assert_eq!(recorder.count(|event| matches!(event, Event::LoopNoticed { .. })), 0, "one slip is not a loop");
}

#[tokio::test]
async fn a_call_beyond_max_calls_is_refused() {
    let desk = Agent::new("desk", calling(&["critic", "critic"]))
        .worker(worker("critic", Turn::text("thin")).max_calls(1))
        .tool_limits(one_by_one());
    let outcome = desk.run("Go.").await.unwrap();
    assert_eq!(tool_results(&outcome)[0], (false, "thin".into()));
    assert!(tool_results(&outcome)[1].1.contains("it may be called 1 time in a run"), "{:?}", tool_results(&outcome));
}

#[tokio::test]
async fn a_call_beyond_max_calls_is_refused_under_every_failure_policy_and_degrades_nothing() {
    for policy in [OnFailure::Required, OnFailure::fallback("Nothing known.")] {
        let critic = worker("critic", Turn::text("thin")).max_calls(1).on_failure(policy);
        let desk = Agent::new("desk", calling(&["critic", "critic"])).worker(critic).tool_limits(one_by_one());
        let outcome = desk.run("Go.").await.unwrap();
        assert_eq!((outcome.text.as_str(), outcome.degraded.len()), ("All in all.", 0));
        let (is_error, message) = tool_results(&outcome).remove(1);
        assert!(is_error && message.contains("it may be called 1 time in a run"), "{message}");
    }
}

#[tokio::test]
async fn an_empty_answer_of_a_worker_is_a_failure() {
    let silent =
        crate::tool_fn("stop", "", |_: serde_json::Value, _| async { Ok(crate::ToolOutput::text("").ending_run()) });
    let mute = Agent::new("mute", ScriptedModel::new([Turn::call("1", "stop", json!({}))])).tool(silent);
    let outcome = Agent::new("desk", calling(&["mute"])).worker(Worker::new(mute)).run("Go.").await.unwrap();
    assert_eq!(tool_results(&outcome), [(true, "mute gave no answer: its answer was empty".into())]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_with_an_endless_timeout_answers() {
    let desk = Agent::new("desk", calling(&["slow"])).worker(worker("slow", Turn::text("x")).timeout(Duration::MAX));
    assert_eq!(tool_results(&desk.run("Go.").await.unwrap()), [(false, "x".into())]);
}

#[tokio::test]
async fn delegation_ends_at_the_depth_limit_with_a_message_for_the_model() {
    let mut inner = Agent::new("level6", ScriptedModel::new([Turn::text("deepest")]));
    for level in (0..6).rev() {
        let worker = inner.name().to_string();
        inner = Agent::new(format!("level{level}"), calling(&[&worker])).worker(Worker::new(inner));
    }
    let outcome = inner.run("Go.").await.unwrap();
    assert_eq!(outcome.degraded.len(), 1);
    assert!(outcome.degraded[0].reason.contains("delegation may go 5 levels deep"), "{:?}", outcome.degraded);
}

#[tokio::test(start_paused = true)]
async fn the_partial_answer_of_a_failed_worker_goes_to_its_supervisor_and_into_no_event() {
    let recorder = crate::testing::Recorder::new();
    let late = Turn::call("1", "find", json!({})).after(Duration::from_secs(1));
    let model = ScriptedModel::new([late, Turn::text("never").after(Duration::from_mins(10))]);
    let find = crate::tool_fn("find", "Finds.", |_: serde_json::Value, _| async { Ok("a secret".into()) });
    let desk = Agent::new("desk", calling(&["scout"])).worker(Worker::new(Agent::new("scout", model).tool(find)));
    let outcome = desk.observer(Arc::new(recorder.clone())).run("Go.").await.unwrap();
    assert!(
        tool_results(&outcome)[0].1.ends_with("it had found until then: find: a secret"),
        "{:?}",
        tool_results(&outcome)
    );
    assert_eq!(
        outcome.degraded[0].reason,
        "desk/scout ran out of time; the limit is the `wall` of a budget or the `timeout` of a worker."
    );
    assert_eq!(recorder.count(|event| format!("{event:?}").contains("a secret")), 0);
}

/// An agent that is built after the agents that call it.
#[derive(Debug, Clone)]
struct Later(Arc<str>, Arc<std::sync::OnceLock<Agent>>);

#[async_trait]
impl Runnable for Later {
    fn name(&self) -> &Arc<str> {
        &self.0
    }

    fn purpose(&self) -> &'static str {
        "Knows better."
    }

    async fn run(&self, run: &Run, task: Task) -> Result<Outcome, RunError> {
        Runnable::run(self.1.get().unwrap(), run, task).await
    }
}

/// Builds agents in a ring. Each one always calls the next. Returns the first agent and its model.
fn ring(names: &[&str]) -> (Agent, ScriptedModel) {
    let ring: Vec<_> = names.iter().map(|name| Later((*name).into(), Arc::default())).collect();
    let mut first = None;
    for (index, own) in ring.iter().enumerate() {
        let next = &ring[(index + 1) % ring.len()];
        let model = ScriptedModel::new(vec![Turn::call("1", &next.0, json!({"task": "Ask on."})); 100]);
        first.get_or_insert(model.clone());
        let agent = Agent::new(Arc::clone(&own.0), model).worker(Worker::new(next.clone()));
        own.1.set(agent).unwrap();
    }
    (ring[0].1.get().unwrap().clone(), first.unwrap())
}

#[tokio::test(start_paused = true)]
async fn all_agents_of_a_delegation_cycle_end_in_its_third_round() {
    for (names, asked_first) in [(&["ping", "pong"][..], 2), (&["a", "b", "c"], 2), (&["a", "b", "c", "d"], 2)] {
        let (first, model) = ring(names);
        let outcome = first.run("Go.").await.unwrap();
        assert_eq!(outcome.stop, StopReason::DelegationCycle, "{names:?}");
        assert!(outcome.notice.contains("in a circle"), "{}", outcome.notice);
        assert!(outcome.cost.total.calls <= 6, "{names:?}: {}", outcome.cost.total.calls);
        assert_eq!(100 - model.turns_left(), asked_first, "{names:?}: no agent tries again");
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_above_a_delegation_cycle_goes_on() {
    let (first, _) = ring(&["ping", "pong"]);
    let desk = Agent::new("desk", calling(&["ping"])).worker(Worker::new(first));
    let outcome = desk.run("Go.").await.unwrap();
    assert_eq!((outcome.stop, outcome.text.as_str()), (StopReason::Finished, "All in all."));
    assert!(outcome.degraded.iter().any(|part| part.reason.contains("in a circle")), "{:?}", outcome.degraded);
}

#[tokio::test]
async fn a_worker_answer_that_does_not_match_its_schema_is_a_failure() {
    #[derive(schemars::JsonSchema)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Score {
        score: u8,
    }
    let desk = Agent::new("desk", calling(&["good", "bad"]))
        .worker(worker("good", Turn::text("{\"score\": 7}")).output::<Score>())
        .worker(worker("bad", Turn::text("{\"score\": \"high\"}")).output::<Score>());
    let outcome = desk.run("Go.").await.unwrap();
    assert_eq!(tool_results(&outcome)[0], (false, "{\"score\": 7}".into()));
    assert!(
        tool_results(&outcome)[1].1.contains("its answer does not match the schema: at /score"),
        "{:?}",
        tool_results(&outcome)
    );
}

#[tokio::test]
async fn the_unknown_tools_of_one_agent_are_not_counted_for_another() {
    let slip = |name: &str| [Turn::call("c", &format!("invented_by_{name}"), json!({})), Turn::text("Done.")];
    let names = ["ann", "bob", "cleo", "dan"];
    let asked = names
        .iter()
        .fold(Turn::parts(Vec::new()), |turn, name| turn.and_call(name, name, &json!({"task": "Look."}).to_string()));
    let again = Turn::call("again", "ann", json!({"task": "Look again."}));
    let third = Turn::call("third", "ann", json!({"task": "And again."}));
    let desk = Agent::new("desk", ScriptedModel::new([asked, again, third, Turn::text("Done.")]));
    let desk = names.iter().fold(desk, |desk, name| {
        let model = ScriptedModel::new((0..3).flat_map(|_| slip(name)));
        desk.worker(Worker::new(Agent::new(*name, model)))
    });
    let outcome = desk.run("Go on.").await.unwrap();
    let results: Vec<_> = outcome.transcript.messages().iter().flat_map(crate::Message::tool_results).collect();
    assert_eq!(results.len(), 6);
    assert!(results.iter().all(|result| result.text() == "Done."), "{results:?}");
}

#[tokio::test]
async fn the_calls_of_a_worker_are_counted_for_each_run_of_its_supervisor() {
    let ask = |id: &str, name: &str| Turn::call(id, name, json!({"task": format!("Do part {id}.")}));
    let critic = Agent::new("critic", ScriptedModel::new([Turn::text("thin"), Turn::text("thick")]));
    let lead = ScriptedModel::new([ask("1", "critic"), Turn::text("one"), ask("2", "critic"), Turn::text("two")]);
    let lead = Agent::new("lead", lead.clone()).worker(Worker::new(critic).max_calls(1));
    let desk = ScriptedModel::new([ask("a", "lead"), ask("b", "lead"), Turn::text("Done.")]);
    let run = Run::new();
    Agent::new("desk", desk).worker(Worker::new(lead)).run_in(&run, "Go.").await.unwrap();
    assert_eq!(run.ledger().summary().by_agent["desk/lead/critic"].calls, 2);
}
