use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::*;
use crate::{
    Budget, ContextWindow, FinishReason, FunctionTool, Memory, MemoryError, ToolError, ToolLimits, ToolOutput,
    TurnLimits,
    testing::fixtures::{look_up, look_ups, lookup},
    testing::{Recorder, ScriptedModel, Turn},
    tool_fn,
};

fn clerk(model: &ScriptedModel) -> Agent {
    Agent::new("clerk", model.clone()).tool(lookup())
}

fn turns(turns: u32) -> TurnLimits {
    TurnLimits::default().turns(turns)
}

#[derive(Debug, Deserialize, JsonSchema)]
#[expect(dead_code, reason = "only its schema is looked at")]
struct Verdict {
    score: u8,
}

#[tokio::test]
async fn a_tool_call_in_the_last_turn_in_place_of_a_structured_answer_does_not_fail_the_run() {
    let model = ScriptedModel::new([look_up("c1", "a"), look_up("c2", "b")]);
    let outcome = clerk(&model).output::<Verdict>().limits(turns(2)).run("Judge.").await.unwrap();
    assert_eq!((outcome.stop, outcome.text.as_str()), (StopReason::MaxTurns, "lookup: a cold drink"));
    assert!(outcome.transcript.open_calls().is_empty());
}

#[tokio::test]
async fn a_failed_last_turn_keeps_the_partial_answer_and_the_stop_reason() {
    let model = ScriptedModel::new([look_up("c1", "a"), Turn::fails(ModelErrorKind::Overloaded)]);
    let outcome = clerk(&model).limits(turns(2)).run("Go on.").await.unwrap();
    assert_eq!((outcome.stop, outcome.text.as_str()), (StopReason::MaxTurns, "lookup: a cold drink"));
    assert!(outcome.notice.contains("used all of its 2 turns"), "{}", outcome.notice);
    assert!(outcome.notice.contains("as the script says (overloaded)"), "{}", outcome.notice);
}

#[tokio::test]
async fn a_repeated_model_call_counts_as_one_turn() {
    for kind in [ModelErrorKind::Budget, ModelErrorKind::ContextLength] {
        let model =
            ScriptedModel::new([look_up("c1", "a"), look_up("c2", "b"), Turn::fails(kind), Turn::text("Done.")]);
        let run = Run::builder().budget(Budget::unlimited().turns(4)).build();
        let outcome = clerk(&model).limits(turns(4)).run_in(&run, "Go on.").await.unwrap();
        assert_eq!((outcome.text.as_str(), outcome.turns), ("Done.", 3), "{kind:?}");
        run.ledger().take_turn(true).unwrap();
        run.ledger().take_turn(true).unwrap_err();
    }
}

#[tokio::test]
async fn the_last_turn_of_a_shared_turn_budget_is_kept_for_the_supervisors_answer() {
    let busy = ScriptedModel::new(look_ups(9));
    let worker = crate::Worker::new(clerk(&busy));
    let model = ScriptedModel::new([Turn::call("c", "clerk", json!({"task": "Look."})), Turn::text("All in all.")]);
    let desk = Agent::new("desk", model).worker(worker).budget(Budget::unlimited().turns(5));
    let outcome = desk.run("Go.").await.unwrap();
    assert_eq!((outcome.stop, outcome.text.as_str()), (StopReason::Budget, "All in all."));
    assert_eq!(busy.requests().len(), 3);
}

#[tokio::test]
async fn endless_workers_end_at_the_model_call_budget_of_the_run() {
    for (budget, most) in [(Budget::unlimited(), 100), (Budget::unlimited().model_calls(9), 9)] {
        let busy = ScriptedModel::new(look_ups(99));
        let limits = TurnLimits { repeats_before_notice: u32::MAX, repeats: u32::MAX, ..turns(99) };
        let worker = crate::Worker::new(clerk(&busy).limits(limits));
        let call = Turn::call("c", "clerk", json!({"task": "Look."}));
        let desk = Agent::new("desk", ScriptedModel::new([call, Turn::text("Enough.")])).worker(worker);
        let outcome = desk.budget(budget).run("Go.").await.unwrap();
        assert_eq!((outcome.stop, outcome.text.as_str()), (StopReason::Budget, "Enough."));
        assert_eq!((outcome.cost.total.calls, busy.requests().len() as u64), (most, most - 2));
        assert!(outcome.notice.contains("model call budget of "), "{}", outcome.notice);
        assert_eq!(outcome.degraded[0].part, "budget");
    }
}

#[tokio::test]
async fn a_token_budget_holds_for_an_unmetered_model() {
    let model = ScriptedModel::new(look_ups(9));
    let outcome = clerk(&model).budget(Budget::unlimited().tokens(240)).run("Go on.").await.unwrap();
    assert_eq!((outcome.stop, model.requests().len()), (StopReason::Budget, 3));
    assert!(outcome.notice.contains("token budget"), "{}", outcome.notice);
    let last = model.requests().pop().unwrap();
    assert_eq!(last.settings.tool_choice, ToolChoice::None, "the reserve pays for one last answer");
}

#[tokio::test]
async fn usage_that_is_not_reported_is_estimated() {
    let model = ScriptedModel::new([Turn::text("Yes.").usage(None)]);
    let outcome = Agent::new("clerk", model).run("word ".repeat(400)).await.unwrap();
    assert_eq!((outcome.usage.input_tokens, outcome.usage.output_tokens), (507, 1));
}

#[tokio::test]
async fn an_exhausted_tool_call_budget_makes_the_next_turn_the_last() {
    let model = ScriptedModel::new([look_up("c1", "a"), look_up("c2", "b"), Turn::text("One, at least.")]);
    let outcome = clerk(&model).budget(Budget::unlimited().tool_calls(1)).run("Go on.").await.unwrap();
    assert_eq!((outcome.stop, outcome.text.as_str()), (StopReason::Budget, "One, at least."));
    assert!(outcome.notice.contains("tool call budget"), "{}", outcome.notice);
    assert_eq!(outcome.degraded[0].reason, "the tool call budget of clerk is used up");
    assert_eq!(outcome.cost.by_tool.get("lookup"), Some(&crate::ToolSpending { calls: 1, spending: None }));
}

#[tokio::test]
async fn an_empty_task_fails_before_any_model_call() {
    for task in [Task::from(" \n"), Task::default()] {
        let model = ScriptedModel::new([Turn::text("never asked")]);
        let error = clerk(&model).run(task).await.unwrap_err();
        assert!(error.chain().contains("nothing was asked"), "{}", error.chain());
        assert_eq!(model.turns_left(), 1);
    }
}

#[tokio::test]
async fn open_tool_calls_of_the_history_are_closed_first() {
    let mut history = crate::Transcript::new();
    history.push_task(Message::user("Go on.")).unwrap();
    let call = crate::ToolCall::new("c1", "lookup", crate::Arguments::default());
    history.push(Message::new(Role::Assistant, vec![Part::ToolCall(call)])).unwrap();
    for task in [Task::resume(history.clone()), Task::from("And now?").history(history)] {
        let outcome = clerk(&ScriptedModel::new([Turn::text("Done.")])).run(task).await.unwrap();
        assert_eq!(outcome.text, "Done.");
    }
}

/// A store that fails or hangs.
#[derive(Debug)]
struct Store {
    loads: bool,
    hangs: bool,
}

impl Store {
    async fn fail(&self) -> MemoryError {
        if self.hangs {
            std::future::pending::<()>().await;
        }
        MemoryError::new("the disk is full")
    }
}

#[async_trait]
impl Memory for Store {
    async fn load(&self, _: &str) -> Result<Vec<Message>, MemoryError> {
        if self.loads { Ok(Vec::new()) } else { Err(self.fail().await) }
    }

    async fn append(&self, _: &str, _: &[Message]) -> Result<(), MemoryError> {
        Err(self.fail().await)
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_cannot_be_stored_degrades_the_run_and_keeps_the_answer() {
    for hangs in [false, true] {
        let recorder = Recorder::new();
        let agent = clerk(&ScriptedModel::new([Turn::text("Paid for.")])).memory(Store { loads: true, hangs });
        let agent = agent.observer(Arc::new(recorder.clone()));
        let outcome = agent.run(Task::from("Go.").session("s")).await.unwrap();
        assert_eq!((outcome.text.as_str(), outcome.stop), ("Paid for.", StopReason::Finished));
        assert_eq!(outcome.degraded[0].part, "session");
        assert_eq!(recorder.count(|event| matches!(event, Event::Degraded { .. })), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn loading_a_session_from_a_hanging_store_times_out() {
    let model = ScriptedModel::new([Turn::text("never asked")]);
    let agent = clerk(&model).memory(Store { loads: false, hangs: true });
    let error = agent.run(Task::from("Go.").session("s")).await.unwrap_err();
    assert!(matches!(error.cause(), RunFailure::Memory(_)), "{error}");
    let started = tokio::time::Instant::now();
    let agent = agent.budget(Budget::unlimited().wall(Duration::from_secs(1)));
    let outcome = agent.run(Task::from("Go.").session("s")).await.unwrap();
    assert_eq!((outcome.stop, started.elapsed()), (StopReason::Deadline, Duration::from_secs(1)));
    assert_eq!(model.turns_left(), 1);
}

#[tokio::test]
async fn a_task_that_the_provider_refuses_does_not_become_part_of_the_session() {
    let look_up = || Turn::call("c1", "lookup", json!({}));
    let refusals = [
        vec![Turn::fails(ModelErrorKind::Caller)],
        vec![Turn::fails(ModelErrorKind::Refused)],
        vec![Turn::fails(ModelErrorKind::ContextLength), Turn::fails(ModelErrorKind::ContextLength)],
        vec![Turn::text("I'd rather not.").stopping(FinishReason::Refusal)],
        vec![Turn::text("I").stopping(FinishReason::ContentFilter)],
        vec![look_up(), Turn::fails(ModelErrorKind::Caller)],
    ];
    for refusal in refusals {
        let memory = Arc::new(crate::LocalMemory::new());
        let model = ScriptedModel::new([Turn::text("Hello.")].into_iter().chain(refusal).chain([Turn::text("Yes.")]));
        let agent = Agent::new("clerk", model.clone()).tool(long_lookup()).memory(Arc::clone(&memory));
        assert!(agent.run(Task::from("I am Ada.").session("s")).await.is_ok());
        let _ = agent.run(Task::from("A bad image.").session("s")).await;
        assert_eq!(agent.run(Task::from("Still here?").session("s")).await.unwrap().text, "Yes.");
        let kept: Vec<_> = memory.load("s").await.unwrap().iter().map(|message| message.text().into_owned()).collect();
        assert_eq!(kept, ["I am Ada.", "Hello.", "Still here?", "Yes."]);
    }
}

#[tokio::test]
async fn a_task_that_failed_for_another_reason_stays_in_the_session() {
    let memory = Arc::new(crate::LocalMemory::new());
    let agent = clerk(&ScriptedModel::new([Turn::fails(ModelErrorKind::Overloaded)])).memory(Arc::clone(&memory));
    assert!(agent.run(Task::from("Go.").session("s")).await.is_err());
    assert_eq!(memory.load("s").await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_given_history_replaces_the_stored_one() {
    let memory = Arc::new(crate::LocalMemory::new());
    memory.append("s", &[Message::user("old"), Message::assistant("old")]).await.unwrap();
    let agent = clerk(&ScriptedModel::new([Turn::text("Hello.")])).memory(Arc::clone(&memory));
    let history = crate::Transcript::repaired([Message::user("I am Ada.")]);
    let outcome = agent.run(Task::from("Greet me.").history(history).session("s")).await.unwrap();
    assert_eq!(outcome.transcript.messages()[0].text(), "I am Ada.");
    let kept: Vec<_> = memory.load("s").await.unwrap().iter().map(|message| message.text().into_owned()).collect();
    assert_eq!(kept, ["old", "old", "Greet me.", "Hello."]);
}

fn window(summarizer: &ScriptedModel) -> ContextWindow {
    ContextWindow::default().max_tokens(300).summarizer(summarizer.clone())
}

/// A tool. Each answer fills half of the context window.
fn long_lookup() -> FunctionTool {
    tool_fn("lookup", "", |_: Map<String, Value>, run: Run| async move {
        Ok(ToolOutput::text(format!("{} {}", run.count("calls"), "x".repeat(600))))
    })
}

#[tokio::test]
async fn a_failed_summary_degrades_the_run_and_the_messages_are_hidden() {
    let script = look_ups(4).chain([Turn::text("Read.")]);
    let model = ScriptedModel::new(script);
    let busy = ScriptedModel::new((0..9).map(|_| Turn::fails(ModelErrorKind::Overloaded)));
    let agent = Agent::new("clerk", model).tool(long_lookup()).window(window(&busy));
    let outcome = agent.run("Read.").await.unwrap();
    assert_eq!(outcome.text, "Read.");
    assert_eq!(outcome.degraded[0].part, "summary");
    assert!(outcome.degraded[0].reason.contains("overloaded"), "{:?}", outcome.degraded);
}

#[tokio::test(start_paused = true)]
async fn a_slow_summary_is_stopped_at_the_deadline() {
    let script = look_ups(4);
    let agent = Agent::new("clerk", ScriptedModel::new(script)).tool(long_lookup());
    let agent = agent.window(window(&ScriptedModel::new([Turn::text("late").after(Duration::from_hours(1))])));
    let outcome = agent.budget(Budget::unlimited().wall(Duration::from_secs(9))).run("Read.").await.unwrap();
    assert_eq!(outcome.stop, StopReason::Deadline);
}

#[tokio::test]
async fn no_summary_is_made_when_no_message_can_be_hidden() {
    let summarizer = ScriptedModel::new([Turn::text("never asked")]);
    let agent = clerk(&ScriptedModel::new([look_up("c1", "a"), Turn::text("Read.")]));
    let agent = agent.window(window(&summarizer));
    let outcome = agent.run("word ".repeat(400)).await.unwrap();
    assert_eq!((outcome.text.as_str(), summarizer.turns_left()), ("Read.", 1));
}

#[tokio::test]
async fn a_conversation_too_long_to_shrink_fails_after_one_call() {
    let model = ScriptedModel::new((0..9).map(|_| Turn::fails(ModelErrorKind::ContextLength)));
    let error = clerk(&model).run("word ".repeat(400)).await.unwrap_err();
    assert_eq!(error.model_error().unwrap().kind(), ModelErrorKind::ContextLength);
    assert_eq!(model.requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_tool_starts_after_the_run_was_stopped_or_failed() {
    let begun = Arc::new(AtomicU32::new(0));
    let tool = |ends: Result<Duration, ()>| {
        let begun = Arc::clone(&begun);
        tool_fn("lookup", "", move |_: Map<String, Value>, _| {
            begun.fetch_add(1, Ordering::Relaxed);
            async move {
                let Ok(delay) = ends else { return Err(ToolError::fatal("it is broken")) };
                tokio::time::sleep(delay).await;
                Ok(ToolOutput::text("late"))
            }
        })
    };
    let calls = || look_up("c1", "a").and_call("c2", "lookup", "{}").and_call("c3", "lookup", "{}");
    let one_by_one = ToolLimits { parallel: 1, ..ToolLimits::default() };
    let agent = |ends| Agent::new("clerk", ScriptedModel::new([calls()])).tool(tool(ends)).tool_limits(one_by_one);

    let hour = agent(Ok(Duration::from_hours(1))).budget(Budget::unlimited().wall(Duration::from_secs(5)));
    assert_eq!(hour.run("Go on.").await.unwrap().stop, StopReason::Deadline);
    assert_eq!(begun.swap(0, Ordering::Relaxed), 1);

    let error = agent(Err(())).run("Go on.").await.unwrap_err();
    assert!(matches!(error.cause(), RunFailure::Tool { .. }), "{error}");
    assert_eq!(begun.load(Ordering::Relaxed), 1, "the run has failed already");
}
