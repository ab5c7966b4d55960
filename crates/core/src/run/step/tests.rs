use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU32, AtomicUsize},
};

use async_trait::async_trait;
use serde_json::json;

use super::*;
use crate::{
    Agent, Budget, ContextWindow, FunctionTool, Journal, Ledger, LocalMemory, Memory, ModelErrorKind, ModelExt,
    OnFailure, Outcome, RunError, RunFailure, RunId, StopReason, Task, ToolOutput, TurnLimits, Usage, Worker,
    sync::unpoisoned,
    testing::fixtures::{FlatPrices, usd},
    testing::{Recorder, ScriptedModel, Turn},
    tool_fn,
};

/// Keeps records, and stops the process at one of the writes: the write never returns.
#[derive(Debug, Default)]
struct Kept {
    records: Mutex<BTreeMap<String, StepRecord>>,
    writes: AtomicUsize,
    /// Counted from 1. With `true`, the record is stored before the end.
    ends_at: Option<(usize, bool)>,
    ended: tokio::sync::Notify,
}

#[async_trait]
impl Journal for Kept {
    fn records(&self) -> Vec<StepRecord> {
        unpoisoned(&self.records).values().cloned().collect()
    }

    async fn write(&self, record: StepRecord) -> Result<(), JournalError> {
        let write = self.writes.fetch_add(1, Ordering::Relaxed) + 1;
        let end = self.ends_at.filter(|(at, _)| write >= *at);
        if end.is_none_or(|(at, is_stored)| write == at && is_stored) {
            unpoisoned(&self.records).insert(record.path.clone(), record);
        }
        if end.is_some() {
            self.ended.notify_one();
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

impl Kept {
    fn ending_at(write: usize, is_stored: bool) -> Arc<Self> {
        Arc::new(Self { ends_at: Some((write, is_stored)), ..Self::default() })
    }

    /// The same records, for the run after a crash.
    fn next(&self) -> Arc<Self> {
        Arc::new(Self { records: Mutex::new(unpoisoned(&self.records).clone()), ..Self::default() })
    }

    fn paths(&self) -> Vec<String> {
        unpoisoned(&self.records).keys().cloned().collect()
    }
}

fn run_of(id: RunId, journal: &Arc<Kept>) -> crate::RunBuilder {
    Run::builder().id(id).journal(Arc::clone(journal) as Arc<dyn Journal>)
}

/// Runs until the end, or until the journal ends the process.
async fn live(agent: &Agent, run: &Run, journal: &Kept, task: impl Into<Task>) -> Option<Result<Outcome, RunError>> {
    tokio::select! {
        result = agent.run_in(run, task) => Some(result),
        () = journal.ended.notified() => None,
    }
}

/// A tool that counts its calls.
fn counted(name: &str, effect: Effect) -> (FunctionTool, Arc<AtomicU32>) {
    let calls = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&calls);
    let tool = tool_fn(name, "Counts.", move |_: serde_json::Map<String, serde_json::Value>, run: Run| {
        let call = count.fetch_add(1, Ordering::Relaxed) + 1;
        async move { Ok(ToolOutput::text(format!("call {call} {}", run.idempotency_key().unwrap_or_default()))) }
    });
    (tool.effect(effect), calls)
}

/// A desk with a worker and a tool, which takes 2 + 1 + 1 turns and three tool calls.
fn desk() -> (Agent, [ScriptedModel; 2], Arc<AtomicU32>) {
    let asks = Turn::call("a", "critic", json!({"task": "judge"})).and_call("b", "mail", r#"{"to": "ada"}"#);
    let asks = asks.and_call("c", "missing", "{}").and_call("d", "mail", r#"{"to": 7"#);
    let desk = ScriptedModel::new([asks, Turn::text("All in all.")]);
    let critic = ScriptedModel::new([Turn::call("x", "mail", json!({"to": "bob"})), Turn::text("Fine.")]);
    let (mail, calls) = counted("mail", Effect::Keyed);
    let mail = Arc::new(mail);
    let worker = Agent::new("critic", critic.clone().metered(&FlatPrices)).tool(Arc::clone(&mail));
    let agent = Agent::new("desk", desk.clone().metered(&FlatPrices)).worker(Worker::new(worker)).tool(mail);
    (agent, [desk, critic], calls)
}

#[tokio::test]
async fn every_step_has_the_path_of_its_call_and_calls_that_are_not_run_have_one_too() {
    let (agent, ..) = desk();
    let journal = Arc::new(Kept::default());
    let id = RunId::new();
    agent.run_in(&run_of(id, &journal).build(), "Go.").await.unwrap();
    assert_eq!(
        journal.paths(),
        [
            "1",
            "1/tool:1",
            "1/tool:1/critic/1",
            "1/tool:1/critic/1/tool:1",
            "1/tool:1/critic/2",
            "1/tool:2",
            "1/tool:3",
            "1/tool:4",
            "2"
        ]
    );
    let output = |path: &str| unpoisoned(&journal.records)[path].output.clone().unwrap().get().to_owned();
    assert!(output("1/tool:2").contains(&format!("{id}/1/tool:2")), "the key is made of the run and the path");
}

#[tokio::test]
async fn a_finished_run_is_answered_from_its_journal_alone() {
    let (agent, models, calls) = desk();
    let journal = Arc::new(Kept::default());
    let id = RunId::new();
    let first = run_of(id, &journal).build();
    let before = agent.run_in(&first, "Go.").await.unwrap();
    let (asked, called) = (models.each_ref().map(|model| model.requests().len()), calls.load(Ordering::Relaxed));

    let key = Ledger::root("key", Budget::unlimited());
    let recorder = Recorder::new();
    let again = run_of(id, &journal.next()).account(key.clone()).observer(Arc::new(recorder.clone())).build();
    let after = agent.run_in(&again, "Go.").await.unwrap();
    assert_eq!(
        (after.text, after.turns, after.transcript.messages()),
        (before.text, before.turns, before.transcript.messages())
    );
    assert_eq!(after.cost, before.cost, "the account of the run is restored, by agent, model and tool");
    assert_eq!(after.degraded, before.degraded);
    assert_eq!(key.spending().calls, 0, "accounts above the run are not charged again");
    assert_eq!(models.map(|model| model.requests().len()), asked);
    assert_eq!(calls.load(Ordering::Relaxed), called);
    let events: Vec<_> = recorder.events().into_iter().map(|(_, event)| event).collect();
    let saved = before.cost.total.total();
    assert!(
        matches!(&events[..], [Event::Resumed { steps: 6, saved: money }, Event::RunEnded { .. }] if *money == saved),
        "{events:?}"
    );
}

#[tokio::test]
async fn at_every_write_a_crash_repeats_no_recorded_step_and_the_bill_is_exact() {
    let (agent, ..) = desk();
    let whole = Arc::new(Kept::default());
    let truth = agent.run_in(&run_of(RunId::new(), &whole).build(), "Go.").await.unwrap();
    let writes = whole.writes.load(Ordering::Relaxed);
    assert!(writes > 12, "{writes}");
    for (write, is_stored) in (1..=writes).flat_map(|write| [(write, false), (write, true)]) {
        let (agent, models, _) = desk();
        let (journal, id) = (Kept::ending_at(write, is_stored), RunId::new());
        assert!(live(&agent, &run_of(id, &journal).build(), &journal, "Go.").await.is_none());
        let done = unpoisoned(&journal.records).values().filter(|record| record.state == StepState::Done).count();
        // The script of a model goes on where the recorded turns end.
        let (next, [desk_model, critic_model], _) = desk();
        let turns = |prefix: &str| {
            let records = unpoisoned(&journal.records);
            let is_turn = |path: &&String| path.strip_prefix(prefix).is_some_and(|rest| rest.parse::<u32>().is_ok());
            records.iter().filter(|(path, record)| is_turn(path) && record.state == StepState::Done).count()
        };
        let delegated =
            unpoisoned(&journal.records).get("1/tool:1").is_some_and(|record| record.state == StepState::Done);
        let critic_turns = if delegated { 2 } else { turns("1/tool:1/critic/") };
        for (model, recorded) in [(&desk_model, turns("")), (&critic_model, critic_turns)] {
            for _ in 0..recorded {
                crate::ChatModel::chat(model, &crate::ChatRequest::new("skipped"), &Run::new()).await.unwrap();
            }
        }
        let second = journal.next();
        let outcome = next.run_in(&run_of(id, &second).build(), "Go.").await.unwrap();
        let at = format!("write {write}, stored: {is_stored}, {done} done");
        assert_eq!(outcome.text, "All in all.", "{at}");
        assert_eq!((desk_model.turns_left(), critic_model.turns_left()), (0, 0), "{at}");
        let total = outcome.cost.total;
        assert_eq!(total.total() - total.uncertain, truth.cost.total.total(), "{at}");
        assert_eq!(outcome.cost.by_tool["mail"].calls, 2, "{at}");
        drop(models);
    }
}

#[tokio::test]
async fn a_step_with_one_effect_that_may_have_happened_is_not_repeated() {
    let (pay, calls) = counted("pay", Effect::Once);
    let script = || ScriptedModel::new([Turn::call("a", "pay", json!({})), Turn::text("Paid.")]);
    let agent = |model| Agent::new("clerk", model).tool(pay.clone());
    let (journal, id) = (Kept::ending_at(3, false), RunId::new());
    // Writes: the turn, the beginning of the call, its end.
    assert!(live(&agent(script()), &run_of(id, &journal).build(), &journal, "Pay.").await.is_none());
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    let second = journal.next();
    let error = agent(script()).run_in(&run_of(id, &second).build(), "Pay.").await.unwrap_err();
    let RunFailure::Journal(JournalError::NeedsDecision { path, name }) = error.cause() else { panic!("{error:?}") };
    assert_eq!((path.as_str(), name.as_str()), ("1/tool:1", "pay"));
    assert_eq!(calls.load(Ordering::Relaxed), 1);

    // A person decides that it is not repeated.
    let third = journal.next();
    let record = unpoisoned(&third.records).remove("1/tool:1").unwrap();
    let answered = record.answered("It is not known whether the payment was made.").unwrap();
    unpoisoned(&third.records).insert(answered.path.clone(), answered);
    let model = ScriptedModel::new([Turn::text("Ask the bank.")]);
    let outcome = agent(model).run_in(&run_of(id, &third.next()).build(), "Pay.").await.unwrap();
    let result = outcome.transcript.messages()[2].tool_results().next().unwrap().clone();
    assert_eq!((result.call_id.as_str(), result.is_error), ("a", true));
    assert!(result.text().contains("not known"));
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_decision_that_is_needed_below_a_worker_stops_the_whole_run_whatever_its_failure_policy() {
    let (pay, calls) = counted("pay", Effect::Once);
    let agent = || {
        let clerk = ScriptedModel::new([Turn::call("a", "pay", json!({})), Turn::text("Paid.")]);
        let desk = ScriptedModel::new([Turn::call("a", "clerk", json!({"task": "pay"})), Turn::text("Done.")]);
        let clerk = Worker::new(Agent::new("clerk", clerk).tool(pay.clone())).on_failure(OnFailure::fallback("No."));
        Agent::new("desk", desk).worker(clerk)
    };
    let (journal, id) = (Kept::ending_at(4, false), RunId::new());
    assert!(live(&agent(), &run_of(id, &journal).build(), &journal, "Pay.").await.is_none());
    let (second, recorder) = (journal.next(), Recorder::new());
    let run = run_of(id, &second).observer(Arc::new(recorder.clone())).build();
    let error = agent().run_in(&run, "Pay.").await.unwrap_err();
    assert!(matches!(error.cause(), RunFailure::Journal(JournalError::NeedsDecision { .. })), "{error:?}");
    assert_eq!(recorder.count(|event| matches!(event, Event::RunWaiting { .. })), 2, "the clerk and the desk wait");
    assert_eq!(recorder.count(|event| matches!(event, Event::RunFailed { .. } | Event::WorkerFailed { .. })), 0);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert!(!second.paths().contains(&"1/tool:1".to_owned()), "the delegation has no output");
}

#[tokio::test]
async fn another_task_diverges_and_the_path_is_named() {
    let agent = |text| Agent::new("oracle", ScriptedModel::new([Turn::text(text)]));
    let (journal, id) = (Arc::new(Kept::default()), RunId::new());
    agent("42").run_in(&run_of(id, &journal).build(), "Six times seven?").await.unwrap();
    let error = agent("42").run_in(&run_of(id, &journal.next()).build(), "Seven times seven?").await.unwrap_err();
    assert!(error.to_string().contains("step `1` is not the one that was recorded"), "{error}");
}

#[tokio::test]
async fn a_deploy_may_change_instructions_tools_and_limits_of_a_run() {
    let turns = || {
        [
            Turn::call("a", "old", json!({})).and_call("b", "old", "{}"),
            Turn::call("c", "old", json!({"q": 1})),
            Turn::text("Done."),
        ]
    };
    let (old, calls) = counted("old", Effect::Once);
    let before = Agent::new("clerk", ScriptedModel::new(turns())).instructions("Be brief.").tool(old);
    // The process ends when the third turn is done.
    let (journal, id) = (Kept::ending_at(8, true), RunId::new());
    assert!(live(&before, &run_of(id, &journal).build(), &journal, "Go.").await.is_none());
    let after = |model| {
        Agent::new("clerk", model)
            .instructions("Be long.")
            .tool(counted("new", Effect::Repeatable).0)
            .window(ContextWindow::default().max_tokens(10))
    };
    let model = ScriptedModel::named("other", [Turn::text("Done.")]);
    let strict = after(model.clone()).limits(TurnLimits::default().turns(1).repeats(1).repeats_before_notice(1));
    let outcome = strict.run_in(&run_of(id, &journal.next()).build(), "Go.").await.unwrap();
    assert_eq!((outcome.text.as_str(), outcome.stop, model.requests().len()), ("Done.", StopReason::Finished, 0));

    unpoisoned(&journal.records).remove("3");
    let outcome = after(model.clone()).run_in(&run_of(id, &journal.next()).build(), "Go.").await.unwrap();
    assert_eq!((outcome.text.as_str(), model.requests().len()), ("Done.", 1));
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_budget_that_is_used_up_refuses_new_steps_and_no_recorded_ones() {
    let turns = || [Turn::call("a", "note", json!({})).usage(Some(Usage::new(100, 9_000))), Turn::text("Done.")];
    let agent = |budget: Budget, turns: Vec<Turn>| {
        Agent::new("clerk", ScriptedModel::new(turns).metered(&FlatPrices))
            .tool(counted("note", Effect::Keyed).0)
            .budget(budget)
    };
    let (journal, id) = (Kept::ending_at(5, false), RunId::new());
    let rich = Budget::unlimited().usd("1.00").unwrap();
    assert!(live(&agent(rich, turns().into()), &run_of(id, &journal).build(), &journal, "Go.").await.is_none());
    let poor = Budget::unlimited().usd("0.05").unwrap();
    let outcome = agent(poor, vec![]).run_in(&run_of(id, &journal.next()).build(), "Go.").await.unwrap();
    assert_eq!(outcome.stop, StopReason::Budget, "{outcome:?}");
    assert_eq!(outcome.transcript.messages().len(), 4, "the recorded turn and its call are there, and the last notice");
    assert!(outcome.cost.total.total() >= usd("0.0901"));
}

#[tokio::test]
async fn a_last_turn_stays_the_last_one_although_its_limit_is_gone() {
    let turns = || [Turn::call("a", "note", json!({})), Turn::text("What I have.")];
    let agent = || Agent::new("clerk", ScriptedModel::new(turns())).tool(counted("note", Effect::Keyed).0);
    let (journal, id) = (Arc::new(Kept::default()), RunId::new());
    let limited = run_of(id, &journal).budget(Budget::unlimited().turns(2)).build();
    let before = agent().run_in(&limited, "Go.").await.unwrap();
    let after = agent().run_in(&run_of(id, &journal.next()).build(), "Go.").await.unwrap();
    assert_eq!(before.stop, StopReason::Budget);
    assert_eq!((after.stop, after.notice, after.text), (before.stop, before.notice, before.text));
}

#[tokio::test]
async fn messages_of_a_session_are_stored_once() {
    let agent = |memory: &Arc<LocalMemory>| {
        Agent::new("clerk", ScriptedModel::new([Turn::text("Yes.")])).memory(Arc::clone(memory))
    };
    let writes = {
        let journal = Arc::new(Kept::default());
        let run = run_of(RunId::new(), &journal).build();
        agent(&Arc::default()).run_in(&run, Task::from("Well?").session("one")).await.unwrap();
        journal.writes.load(Ordering::Relaxed)
    };
    for (write, is_stored) in (1..=writes).flat_map(|write| [(write, false), (write, true)]) {
        let memory = Arc::new(LocalMemory::new());
        let (journal, id) = (Kept::ending_at(write, is_stored), RunId::new());
        let task = || Task::from("Well?").session("one");
        assert!(live(&agent(&memory), &run_of(id, &journal).build(), &journal, task()).await.is_none());
        agent(&memory).run_in(&run_of(id, &journal.next()).build(), task()).await.unwrap();
        assert_eq!(memory.load("one").await.unwrap().len(), 2, "write {write}, stored: {is_stored}");
    }
}

#[tokio::test]
async fn a_failed_turn_is_asked_again_and_its_cost_is_kept() {
    let agent = |turn| Agent::new("clerk", ScriptedModel::new([turn]).metered(&FlatPrices));
    let (journal, id) = (Arc::new(Kept::default()), RunId::new());
    agent(Turn::fails(ModelErrorKind::Auth)).run_in(&run_of(id, &journal).build(), "Go.").await.unwrap_err();
    let outcome = agent(Turn::text("Done.")).run_in(&run_of(id, &journal.next()).build(), "Go.").await.unwrap();
    assert_eq!(outcome.text, "Done.");
}

#[tokio::test]
async fn what_a_call_in_flight_may_have_cost_is_uncertain_after_a_crash() {
    let agent = || Agent::new("clerk", ScriptedModel::new([Turn::text("Done.")]).metered(&FlatPrices));
    let (journal, id) = (Kept::ending_at(2, false), RunId::new());
    assert!(live(&agent(), &run_of(id, &journal).build(), &journal, "Go.").await.is_none());
    let outcome = agent().run_in(&run_of(id, &journal.next()).build(), "Go.").await.unwrap();
    assert!(outcome.cost.total.uncertain > usd("0.1"), "{:?}", outcome.cost.total);
    assert_eq!(outcome.cost.total.charged, usd("0.0002"));
}

#[tokio::test]
async fn a_step_of_a_program_is_answered_and_numbered_children_have_paths_of_their_own() {
    let (journal, id) = (Arc::new(Kept::default()), RunId::new());
    let run = run_of(id, &journal).build();
    let lucky: u32 = run.part("stage:1").step("lucky", Effect::Once, &"ada", |_| async { 7 }).await.unwrap();
    let again = run_of(id, &journal.next()).build();
    let same: u32 = again.part("stage:1").step("lucky", Effect::Once, &"ada", |_| async { 8 }).await.unwrap();
    assert_eq!((lucky, same), (7, 7));
    let error = again.part("stage:1").step("lucky", Effect::Once, &"bob", |_| async { 8 }).await.unwrap_err();
    assert!(matches!(error, JournalError::Diverged { path, .. } if path == "stage:1/lucky"));
    let ids = |run: &Run| [(); 2].map(|()| run.child("critic", Budget::unlimited()).unwrap().id());
    let third = run_of(id, &journal.next()).build();
    let [one, two] = ids(&third);
    assert_ne!(one, two);
    assert_eq!(ids(&run_of(id, &journal.next()).build()), [one, two], "the same ids after a crash");
}

#[tokio::test(start_paused = true)]
async fn a_time_limit_counts_the_time_at_work_over_resumes_and_not_the_time_of_a_crash() {
    let seconds = std::time::Duration::from_secs;
    for (rest, stop) in [(5, StopReason::Finished), (7, StopReason::Deadline)] {
        let limited = |turns: Vec<Turn>| {
            let (look_up, _) = counted("look_up", Effect::Repeatable);
            Agent::new("desk", ScriptedModel::new(turns)).tool(look_up)
        };
        let budget = || Budget::unlimited().wall(seconds(10));
        // The process ends when the first turn is recorded.
        let (id, journal) = (RunId::new(), Kept::ending_at(2, true));
        let first = limited(vec![Turn::call("1", "look_up", json!({})).after(seconds(4))]);
        let run = run_of(id, &journal).budget(budget()).build();
        assert!(live(&first, &run, &journal, "Go.").await.is_none());
        tokio::time::sleep(seconds(3_600)).await;

        let journal = journal.next();
        let run = run_of(id, &journal).budget(budget()).build();
        assert_eq!(run.time_left(), Some(seconds(6)), "four seconds of work were recorded");
        let second = limited(vec![Turn::text("Done.").after(seconds(rest))]);
        assert_eq!(live(&second, &run, &journal, "Go.").await.unwrap().unwrap().stop, stop, "{rest}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_limit_of_a_worker_counts_its_own_time_at_work() {
    let seconds = std::time::Duration::from_secs;
    let desk = |desk: Vec<Turn>, clerk: Vec<Turn>| {
        let (look_up, _) = counted("look_up", Effect::Repeatable);
        let clerk = Agent::new("clerk", ScriptedModel::new(clerk)).tool(look_up);
        Agent::new("desk", ScriptedModel::new(desk)).worker(Worker::new(clerk).timeout(seconds(10)))
    };
    let delegates = || Turn::call("1", "clerk", json!({"task": "Look."})).after(seconds(60));
    for (rest, is_in_time) in [(5, true), (7, false)] {
        // The process ends when the worker's first turn is recorded.
        let (id, journal) = (RunId::new(), Kept::ending_at(2, true));
        let first = desk(vec![delegates()], vec![Turn::call("1", "look_up", json!({})).after(seconds(4))]);
        assert!(live(&first, &run_of(id, &journal).build(), &journal, "Go.").await.is_none());
        assert_eq!(journal.paths(), ["1", "1/tool:1/clerk/1"]);
        let journal = journal.next();
        let second = desk(vec![Turn::text("Done.")], vec![Turn::text("Found.").after(seconds(rest))]);
        let outcome = live(&second, &run_of(id, &journal).build(), &journal, "Go.").await.unwrap().unwrap();
        assert_eq!(outcome.degraded.is_empty(), is_in_time, "{rest}: {:?}", outcome.degraded);
    }
}

#[tokio::test]
async fn changes_of_shared_values_are_restored_once_and_in_their_order() {
    let journal = Arc::new(Kept::default());
    let note = |text: &str| RawJson::of(&text).unwrap();
    let change = async |run: &Run, step: &str| {
        let work = async |run: Run| run.record_change("notes", &note(step));
        run.step(step, Effect::Repeatable, &(), work).await.unwrap();
    };
    let id = RunId::new();
    for is_interrupted in [true, false, false] {
        let run = run_of(id, &journal).build();
        let known = run.take_recorded_changes("notes");
        change(&run, "z").await;
        let delegation = run.step("delegation", Effect::Composite, &(), async |inside: Run| {
            change(&inside, "a").await;
            if is_interrupted {
                std::future::pending::<()>().await;
            }
        });
        assert_eq!(futures::FutureExt::now_or_never(delegation).is_none(), is_interrupted);
        let expected = if is_interrupted { vec![] } else { vec![note("z"), note("a")] };
        assert_eq!((known, run.take_recorded_changes("notes")), (expected, vec![]));
        assert_eq!(run.take_recorded_changes("other"), []);
        if !is_interrupted {
            assert!(format!("{:?}", journal.records()).matches("notes").count() == 3, "two steps and the delegation");
        }
        run.record_change("notes", &note("outside of a step, not recorded"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_delegation_that_a_step_in_doubt_elsewhere_stops_is_not_recorded_as_done() {
    let slow = || {
        let work = |_: serde_json::Map<String, serde_json::Value>, _: Run| async {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            Ok(ToolOutput::text("found"))
        };
        tool_fn("look_up", "Looks it up.", work).effect(Effect::Repeatable)
    };
    let desk = |turns: [Vec<Turn>; 3]| {
        let [desk, clerk, payer] = turns.map(ScriptedModel::new);
        let (pay, _) = counted("pay", Effect::Once);
        let [clerk, payer] = [Agent::new("clerk", clerk).tool(slow()), Agent::new("payer", payer).tool(pay)];
        Agent::new("desk", desk).worker(Worker::new(clerk)).worker(Worker::new(payer))
    };
    let calls = |tool: &str| vec![Turn::call("1", tool, json!({}))];
    let both = Turn::call("1", "clerk", json!({"task": "a"})).and_call("2", "payer", r#"{"task":"b"}"#);
    // The first turns of three agents, and the beginnings of two tools.
    let (id, journal) = (RunId::new(), Kept::ending_at(5, true));
    let first = desk([vec![both], calls("look_up"), calls("pay")]);
    assert!(live(&first, &run_of(id, &journal).build(), &journal, "Go.").await.is_none());
    let journal = journal.next();
    let begun = |path: &str| unpoisoned(&journal.records)[path].state == StepState::Began;
    assert!(begun("1/tool:1/clerk/1/tool:1") && begun("1/tool:2/payer/1/tool:1"), "{:?}", journal.paths());

    let second = desk([vec![], vec![], vec![]]);
    let result = live(&second, &run_of(id, &journal).build(), &journal, "Go.").await.unwrap();
    let error = result.unwrap_err();
    assert!(matches!(error.cause(), RunFailure::Journal(JournalError::NeedsDecision { .. })), "{error:?}");
    assert!(!begun("1/tool:1/clerk/1/tool:1"), "the lookup was done");
    assert!(!journal.paths().contains(&"1/tool:1".to_owned()), "the clerk was not: {:?}", journal.paths());
}

/// A tool that waits for an answer which does not come.
fn waiting(name: &'static str) -> FunctionTool {
    let wait = move |_: serde_json::Map<String, serde_json::Value>, run: Run| async move {
        let stopped = run.suspend(format_args!("`{name}` waits for an approval"));
        Err::<ToolOutput, _>(crate::ToolError::new(stopped.to_string()))
    };
    tool_fn(name, "Waits.", wait).effect(Effect::Composite)
}

#[tokio::test]
async fn a_run_that_waits_and_its_workers_and_calls_are_reported_as_waiting_each_with_its_own_reason() {
    let clerk = |name: &str, tool: &'static str| {
        let model = ScriptedModel::new([Turn::call("c", tool, json!({}))]);
        Worker::new(Agent::new(name, model).tool(waiting(tool))).on_failure(OnFailure::fallback("No."))
    };
    let both = Turn::call("1", "clerk", json!({"task": "a"})).and_call("2", "payer", r#"{"task":"b"}"#);
    let desk = Agent::new("desk", ScriptedModel::new([both]));
    let desk = desk.worker(clerk("clerk", "refund")).worker(clerk("payer", "pay"));
    let (journal, recorder) = (Arc::new(Kept::default()), Recorder::new());
    let run = run_of(RunId::new(), &journal).observer(Arc::new(recorder.clone())).build();
    let error = desk.run_in(&run, "Go.").await.unwrap_err();
    let RunFailure::Journal(wait) = error.cause() else { panic!("{error:?}") };
    assert!(wait.is_wait(), "{error:?}");

    let reasons = ["`refund` waits for an approval (step `1/tool:1/clerk/1/tool:1`)", "`pay` waits for an approval"];
    let mut waits = Vec::new();
    for (agent, event) in recorder.events() {
        match event {
            Event::RunWaiting { reason, .. } => waits.push((agent, reason)),
            Event::ToolEnded { outcome, reason, .. } => {
                assert_eq!(outcome, crate::ToolStatus::Waiting);
                waits.push((agent, reason.unwrap()));
            }
            Event::RunEnded { .. } | Event::RunFailed { .. } | Event::WorkerFailed { .. } => panic!("{event:?}"),
            _ => {}
        }
    }
    let expected = |agent: &str| reasons[usize::from(agent == "desk/payer")];
    for (agent, reason) in waits.iter().filter(|(agent, _)| agent.contains('/')) {
        assert!(reason.starts_with(expected(agent)), "{agent}: {reason}");
    }
    assert_eq!(waits.len(), 3 + 4, "three runs and four calls: {waits:?}");
    assert!(run.degraded().is_empty(), "no worker has failed");
}
