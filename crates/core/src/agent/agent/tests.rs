use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::*;
use crate::{
    Budget, ChatReply, Event, FinishReason, LocalMemory, ModelError, ModelErrorKind, ModelId, Observer, Part, Role,
    StopReason, Task, ToolError, ToolOutput, TurnLimits, Usage, Worker,
    testing::fixtures::{look_up, look_ups, lookup},
    testing::{Recorder, ScriptedModel, Turn},
    tool_fn,
};

#[derive(Deserialize, JsonSchema)]
struct Lookup {
    word: String,
}

#[tokio::test]
async fn an_agent_runs_tools_until_it_has_an_answer() {
    let model = ScriptedModel::new([look_up("c1", "kefir"), Turn::text("A drink.")]);
    let outcome = Agent::new("clerk", model.clone()).tool(lookup()).run("What is kefir?").await.unwrap();
    assert_eq!((outcome.text.as_str(), outcome.stop, outcome.turns), ("A drink.", StopReason::Finished, 2));
    let roles: Vec<_> = outcome.transcript.messages().iter().map(Message::role).collect();
    assert_eq!(roles, [Role::User, Role::Assistant, Role::Tool, Role::Assistant]);
    let seen = model.requests().pop().unwrap();
    let results: Vec<_> = seen.transcript.messages()[2].tool_results().cloned().collect();
    assert_eq!(results[0].content, [crate::Part::text("a cold drink")]);
    assert_eq!(outcome.usage, Usage::new(200, 20));
}

#[tokio::test]
async fn the_last_turn_has_no_tools_and_the_outcome_names_the_limit() {
    let script = [look_up("c1", "a"), look_up("c2", "b"), Turn::text("What I have so far.")];
    let model = ScriptedModel::new(script);
    let limits = TurnLimits::default().turns(3);
    let outcome = Agent::new("clerk", model.clone()).tool(lookup()).limits(limits).run("Go on.").await.unwrap();
    assert_eq!((outcome.stop, outcome.text.as_str()), (StopReason::MaxTurns, "What I have so far."));
    assert!(outcome.notice.contains("clerk used all of its 3 turns"), "{}", outcome.notice);
    let last = model.requests().pop().unwrap();
    assert_eq!(last.settings.tool_choice, crate::ToolChoice::None);
    assert!(!last.tools.is_empty(), "a history with tool calls needs the tools");
}

#[tokio::test]
async fn tool_calls_in_the_last_turn_are_not_run_and_the_history_stays_valid() {
    let model = ScriptedModel::new([look_up("c1", "a"), look_up("c2", "b")]);
    let limits = TurnLimits::default().turns(2);
    let outcome = Agent::new("clerk", model).tool(lookup()).limits(limits).run("Go on.").await.unwrap();
    assert_eq!(outcome.stop, StopReason::MaxTurns);
    assert_eq!(outcome.text, "lookup: a cold drink");
    assert!(outcome.transcript.open_calls().is_empty());
}

#[tokio::test]
async fn a_repeated_call_gets_a_notice_and_then_ends_the_run() {
    let model = ScriptedModel::new((0..9).map(|turn| look_up(&format!("c{turn}"), "a")));
    let outcome = Agent::new("clerk", model.clone()).tool(lookup()).run("Go on.").await.unwrap();
    assert_eq!((outcome.stop, model.requests().len()), (StopReason::LoopDetected, 5));
    let notices = outcome.transcript.messages().iter().flat_map(Message::tool_results);
    let notices: Vec<_> = notices.map(|result| result.content.len()).collect();
    assert_eq!(notices, [1, 1, 2, 2, 2], "the third call and later ones get a notice");
}

#[tokio::test]
async fn arguments_outside_the_schema_do_not_hide_a_repetition() {
    let call = |turn: u32| Turn::call(&format!("c{turn}"), "lookup", json!({"word": "a", "attempt": turn}));
    let model = ScriptedModel::new((0..9).map(call));
    let tool = tool_fn("lookup", "", |_: Lookup, _| async { Ok(ToolOutput::text("a cold drink")) });
    let outcome = Agent::new("clerk", model.clone()).tool(tool).run("Go on.").await.unwrap();
    assert_eq!((outcome.stop, model.requests().len()), (StopReason::LoopDetected, 5));
}

#[tokio::test]
async fn the_third_call_of_any_unknown_tool_ends_the_run() {
    let model = ScriptedModel::new((0..9).map(|turn| Turn::call("c", &format!("invented_{turn}"), json!({}))));
    let outcome = Agent::new("clerk", model.clone()).tool(lookup()).run("Go on.").await.unwrap();
    assert_eq!((outcome.stop, model.requests().len()), (StopReason::UnknownToolLimit, 3));
    let result = outcome.transcript.messages()[2].tool_results().next().unwrap().clone();
    assert!(result.is_error);
    assert_eq!(result.content, [crate::Part::text("There is no tool called `invented_0`. The tools are: lookup.")]);
}

#[tokio::test]
async fn the_third_call_with_truncated_arguments_ends_the_run_and_none_is_run() {
    let cut = || Turn::parts(Vec::new()).and_call("c", "lookup", "{\"word\": \"ke").stopping(FinishReason::MaxTokens);
    let model = ScriptedModel::new([cut(), cut(), cut()]);
    let tool = tool_fn("lookup", "", |_: Lookup, _| async { Err(ToolError::fatal("the tool was run")) });
    let outcome = Agent::new("clerk", model).tool(tool).run("Go on.").await.unwrap();
    assert_eq!(outcome.stop, StopReason::ToolArgumentsTruncated);
}

#[tokio::test]
async fn a_tool_that_fails_three_times_in_a_row_is_switched_off_for_the_run() {
    let fails = tool_fn("lookup", "", |args: Lookup, run: Run| async move {
        run.count("runs");
        if args.word == "c" { Ok(ToolOutput::text("found")) } else { Err(ToolError::new("nothing works today")) }
    });
    let script = ["a", "b", "c", "d", "e", "f", "g"].map(|word| look_up(word, word)).into_iter();
    let model = ScriptedModel::new(script.chain([Turn::text("Done.")]));
    let run = Run::new();
    let outcome = Agent::new("clerk", model.clone()).tool(fails).run_in(&run, "Go on.").await.unwrap();
    assert_eq!((outcome.stop, outcome.text.as_str(), run.count("runs")), (StopReason::Finished, "Done.", 7));
    assert_eq!(outcome.degraded[0].part, "tool:lookup");
    let results: Vec<_> = outcome.transcript.messages().iter().flat_map(Message::tool_results).collect();
    assert!(results[5].text().contains("is switched off for the rest of this task"));
    assert!(results[6].text().contains("is switched off, because"));
    assert!(model.requests().iter().all(|request| !request.tools.is_empty()), "the prompt stays as it is");
}

#[tokio::test]
async fn a_tool_fails_in_a_turn_only_if_all_its_calls_fail() {
    let fails = || {
        tool_fn("lookup", "", |args: Lookup, _| async move {
            if args.word == "ok" { Ok(ToolOutput::text("found")) } else { Err(ToolError::new("no such word")) }
        })
    };
    let run = async |last: &str, turns: u32| {
        let turn = |number: u32| {
            let words = ["a", "b", "c"].map(|word| format!("{word}{number}")).into_iter().chain([last.to_owned()]);
            words.enumerate().fold(Turn::parts(Vec::new()), |turn, (index, word)| {
                turn.and_call(&format!("c{number}_{index}"), "lookup", &json!({ "word": word }).to_string())
            })
        };
        let model = ScriptedModel::new((0..turns).map(turn).chain([Turn::text("Done.")]));
        Agent::new("clerk", model).tool(fails()).run("Go on.").await.unwrap().degraded.len()
    };
    assert_eq!(run("ok", 4).await, 0, "one that works is enough");
    assert_eq!(run("none", 2).await, 0, "eight calls were two tries");
    assert_eq!(run("none", 3).await, 1);
}

#[tokio::test]
async fn calling_a_disabled_tool_again_and_again_ends_the_run() {
    let fails = tool_fn("lookup", "", |_: Lookup, _| async { Err(ToolError::new("nothing works today")) });
    let model = ScriptedModel::new(look_ups(9));
    let outcome = Agent::new("clerk", model.clone()).tool(fails).run("Go on.").await.unwrap();
    assert_eq!((outcome.stop, model.requests().len()), (StopReason::UnknownToolLimit, 6));
}

#[tokio::test]
async fn an_empty_answer_is_asked_for_once_more() {
    let model = ScriptedModel::new([Turn::text("  "), Turn::text("Now.")]);
    let outcome = Agent::new("clerk", model).run("Go on.").await.unwrap();
    assert_eq!((outcome.stop, outcome.text.as_str()), (StopReason::Finished, "Now."));
    let model = ScriptedModel::new([Turn::text(""), Turn::text(""), Turn::text("never asked")]);
    let outcome = Agent::new("clerk", model.clone()).run("Go on.").await.unwrap();
    assert_eq!((outcome.stop, model.turns_left()), (StopReason::Empty, 1));
    let roles: Vec<_> = outcome.transcript.messages().iter().map(Message::role).collect();
    assert_eq!(roles, [Role::User, Role::User], "providers reject a history with an empty answer");
}

#[tokio::test]
async fn the_output_limit_is_doubled_once_when_reasoning_used_it_up() {
    let spent = || Turn::text("").stopping(FinishReason::MaxTokens);
    let model = ScriptedModel::new([spent(), spent(), Turn::text("never asked")]);
    let settings = Settings { max_output_tokens: Some(500), ..Settings::default() };
    let outcome = Agent::new("clerk", model.clone()).settings(settings).run("Go on.").await.unwrap();
    assert_eq!(outcome.stop, StopReason::Truncated);
    let room: Vec<_> = model.requests().iter().map(|request| request.settings.max_output_tokens).collect();
    assert_eq!(room, [Some(500), Some(1000)]);
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
struct Verdict {
    score: u8,
}

#[tokio::test]
async fn an_answer_that_does_not_match_the_schema_is_asked_for_again_twice() {
    let model = ScriptedModel::new([
        Turn::text("good"),
        Turn::text("{\"score\": -1}"),
        Turn::text("```json\n{\"score\": 7}\n```"),
    ]);
    let outcome = Agent::new("critic", model.clone()).output::<Verdict>().run("Judge.").await.unwrap();
    assert_eq!(outcome.parse::<Verdict>().unwrap(), Verdict { score: 7 });
    let note = model.requests()[2].transcript.messages().last().unwrap().text().into_owned();
    assert!(note.contains("at /score: "), "{note}");

    let model = ScriptedModel::new((0..9).map(|_| Turn::text("no")));
    let outcome = Agent::new("critic", model.clone()).output::<Verdict>().run("Judge.").await.unwrap();
    assert_eq!((outcome.stop, model.requests().len()), (StopReason::InvalidOutput, 3));
}

#[tokio::test]
async fn the_document_that_is_in_an_answer_is_the_answer() {
    let json = "{\"score\": 7}";
    for text in [
        "Here it is:\n```json\n{}\n```\nAnything else?",
        "{}\n<|im_end|>",
        "\u{feff}{}",
        "{}\n{}",
        "{}{}",
        "I weigh [1] and {2}. {\"score\": \"none\"} would be rude, so: {}",
        "```\n{}\n```",
        "Answer: {}",
    ] {
        let text = text.replace("{}", json);
        let model = ScriptedModel::new([Turn::text(&text)]);
        let outcome = Agent::new("critic", model).output::<Verdict>().run("Judge.").await.unwrap();
        assert_eq!((outcome.text.as_str(), outcome.stop), (json, StopReason::Finished), "{text}");
    }
    // Some servers file the whole answer as reasoning.
    let filed = |text: &str| Part::Thinking(crate::TextPart::new(text));
    let model = ScriptedModel::new([Turn::parts(vec![filed(json)])]);
    let outcome = Agent::new("critic", model).output::<Verdict>().run("Judge.").await.unwrap();
    assert_eq!((outcome.text.as_str(), outcome.stop), (json, StopReason::Finished));
    // Without a schema, and without a document that matches, reasoning is not an answer.
    let model = ScriptedModel::new([Turn::parts(vec![filed("{\"score\": -1}")]), Turn::text(json)]);
    let outcome = Agent::new("critic", model.clone()).output::<Verdict>().run("Judge.").await.unwrap();
    assert_eq!((outcome.text.as_str(), model.requests().len()), (json, 2));
    let hopeless = "[{".repeat(50_000);
    let model = ScriptedModel::new([Turn::text(&hopeless), Turn::text(json)]);
    let outcome = Agent::new("critic", model).output::<Verdict>().run("Judge.").await.unwrap();
    assert_eq!(outcome.text, json);
}

#[tokio::test]
async fn a_refusal_is_an_outcome() {
    let model = ScriptedModel::new([Turn::text("I'd rather not.").stopping(FinishReason::Refusal)]);
    let outcome = Agent::new("clerk", model).run("Go on.").await.unwrap();
    assert_eq!((outcome.stop, outcome.text.as_str()), (StopReason::Refused, "I'd rather not."));
}

#[tokio::test]
async fn the_error_of_a_failed_run_has_the_transcript_and_the_cost() {
    let model = ScriptedModel::new([look_up("c1", "kefir"), Turn::fails(ModelErrorKind::Auth)]);
    let error = Agent::new("clerk", model).tool(lookup()).run("What is kefir?").await.unwrap_err();
    assert_eq!(error.model_error().unwrap().kind(), ModelErrorKind::Auth);
    assert_eq!(error.transcript().len(), 3);
    assert_eq!(error.cost().total.usage, Usage::new(100, 10));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_run_with_a_partial_answer() {
    let model = ScriptedModel::new([look_up("c1", "kefir"), Turn::text("late").after(Duration::from_mins(1))]);
    let agent = Agent::new("clerk", model).tool(lookup()).budget(Budget::unlimited().wall(Duration::from_secs(5)));
    let started = tokio::time::Instant::now();
    let outcome = agent.run("What is kefir?").await.unwrap();
    assert_eq!((outcome.stop, started.elapsed()), (StopReason::Deadline, Duration::from_secs(5)));
    assert_eq!(outcome.text, "lookup: a cold drink");
}

#[tokio::test(start_paused = true)]
async fn a_model_error_at_the_deadline_counts_as_the_deadline() {
    let model = ScriptedModel::new([Turn::fails(ModelErrorKind::Cancelled).after(Duration::from_secs(5))]);
    let agent = Agent::new("clerk", model).budget(Budget::unlimited().wall(Duration::from_secs(5)));
    assert_eq!(agent.run("What is kefir?").await.unwrap().stop, StopReason::Deadline);
}

#[tokio::test(start_paused = true)]
async fn cancelling_reaches_a_tool_that_hangs() {
    let tool = tool_fn("lookup", "", |_: Lookup, _| std::future::pending());
    let model = ScriptedModel::new([look_up("c1", "kefir")]);
    let agent = Agent::new("clerk", model).tool(tool);
    let run = Run::new();
    let cancel = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        run.cancel();
    };
    let (outcome, ()) = tokio::join!(agent.run_in(&run, "What is kefir?"), cancel);
    assert_eq!(outcome.unwrap().stop, StopReason::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_run_emits_its_end() {
    let recorder = Recorder::new();
    let model = ScriptedModel::new([Turn::text("late").after(Duration::from_mins(1))]);
    let agent = Agent::new("clerk", model).observer(Arc::new(recorder.clone()));
    tokio::time::timeout(Duration::from_secs(1), agent.run("Go on.")).await.unwrap_err();
    let ends = recorder.count(|event| matches!(event, Event::RunFailed { kind: Some(ModelErrorKind::Cancelled), .. }));
    assert_eq!(ends, 1);
}

#[tokio::test]
async fn a_turn_budget_refuses_the_next_call() {
    let model = ScriptedModel::new([look_up("c1", "a"), look_up("c2", "b"), Turn::text("never asked")]);
    let agent = Agent::new("clerk", model.clone()).tool(lookup()).budget(Budget::unlimited().turns(2));
    let outcome = agent.run("Go on.").await.unwrap();
    assert_eq!((outcome.stop, model.turns_left()), (StopReason::Budget, 1));
    assert!(outcome.notice.contains("turn budget"), "{}", outcome.notice);
}

#[tokio::test]
async fn an_agents_budget_holds_in_a_run_with_and_without_a_budget() {
    let script = || ScriptedModel::new(look_ups(9));
    let model = script();
    let agent = |model: &ScriptedModel| Agent::new("clerk", model.clone()).tool(lookup());
    let outcome = agent(&model).budget(Budget::unlimited().turns(3)).run_in(&Run::new(), "Go on.").await.unwrap();
    assert_eq!((outcome.stop, model.turns_left()), (StopReason::Budget, 6));

    let model = script();
    let run = Run::builder().budget(Budget::unlimited().turns(2)).build();
    let outcome = agent(&model).budget(Budget::unlimited().turns(3)).run_in(&run, "Go on.").await.unwrap();
    assert_eq!((outcome.stop, model.turns_left()), (StopReason::Budget, 7), "the tighter one holds");
    assert_eq!(outcome.cost.by_agent.len(), 1);
}

#[tokio::test]
async fn an_unmetered_model_ends_a_run_with_a_money_budget_after_one_call() {
    let model = ScriptedModel::new([look_up("c1", "a"), Turn::text("never asked")]);
    let agent = Agent::new("clerk", model.clone()).tool(lookup()).budget(Budget::default().usd("0.50").unwrap());
    let outcome = agent.run("Go on.").await.unwrap();
    assert_eq!((outcome.stop, model.turns_left()), (StopReason::Budget, 1));
    assert!(outcome.notice.contains(".metered(&prices)"), "{}", outcome.notice);
    let model = ScriptedModel::new([Turn::text("Paid for.")]);
    let outcome =
        Agent::new("clerk", model).budget(Budget::default().usd("0.50").unwrap()).run("Go on.").await.unwrap();
    assert_eq!(outcome.text, "Paid for.", "a paid answer is kept");
}

#[tokio::test]
async fn a_session_continues_the_stored_conversation() {
    let model = ScriptedModel::new([Turn::text("Hello Ada."), Turn::text("You are Ada.")]);
    let agent = Agent::new("clerk", model.clone()).memory(LocalMemory::new());
    agent.run(Task::from("I am Ada.").session("s1")).await.unwrap();
    let outcome = agent.run(Task::from("Who am I?").session("s1")).await.unwrap();
    let seen: Vec<_> = outcome.transcript.messages().iter().map(|message| message.text().into_owned()).collect();
    assert_eq!(seen, ["I am Ada.", "Hello Ada.", "Who am I?", "You are Ada."]);
    assert_eq!((outcome.inherited, outcome.new_messages().len()), (2, 2));
}

#[tokio::test]
async fn a_tool_can_end_the_run_with_its_output_as_the_answer() {
    let tool = tool_fn("lookup", "", |_: Lookup, _| async { Ok(ToolOutput::text("as is").ending_run()) });
    let model = ScriptedModel::new([look_up("c1", "kefir"), Turn::text("never asked")]);
    let outcome = Agent::new("clerk", model).tool(tool).run("What is kefir?").await.unwrap();
    assert_eq!((outcome.text.as_str(), outcome.ended_by.as_deref()), ("as is", Some("lookup")));
}

#[tokio::test]
async fn an_agent_with_two_tools_of_one_name_fails_before_any_model_call() {
    let model = ScriptedModel::new([Turn::text("never asked")]);
    let agent = Agent::new("clerk", model.clone()).tool(lookup()).tool(lookup());
    let error = agent.run("Go on.").await.unwrap_err();
    assert!(error.chain().contains("two tools called `lookup`"), "{}", error.chain());
    assert_eq!(model.turns_left(), 1);
}

#[tokio::test]
async fn a_run_emits_its_events_in_order() {
    let recorder = Recorder::new();
    let model = ScriptedModel::new([look_up("c1", "kefir"), Turn::text("A drink.")]);
    let agent = Agent::new("clerk", model).tool(lookup()).observer(Arc::new(recorder.clone()));
    agent.run("What is kefir?").await.unwrap();
    let events: Vec<_> =
        recorder.events().into_iter().map(|(agent, event)| format!("{agent}: {}", name(&event))).collect();
    assert_eq!(
        events,
        ["started", "turn", "turn ended", "tool lookup", "tool ok", "turn", "turn ended", "finished"]
            .map(|name| format!("clerk: {name}"))
    );
}

/// A model that hands every request to another one, as a fallback does.
#[derive(Debug)]
struct Router(ModelId, ScriptedModel);

#[async_trait::async_trait]
impl ChatModel for Router {
    fn id(&self) -> &ModelId {
        &self.0
    }

    fn settings(&self) -> &Settings {
        Settings::none()
    }

    async fn chat(&self, request: &ChatRequest, run: &Run) -> Result<ChatReply, ModelError> {
        Ok(self.1.chat(request, run).await?.answered_by(Some(self.1.id().clone())).model("small-2026-01-01".to_owned()))
    }
}

#[tokio::test]
async fn a_turn_and_the_outcome_name_the_model_that_answered_and_what_its_provider_calls_it() {
    let recorder = Recorder::new();
    let small = ScriptedModel::named("small", [Turn::text("Yes.")]);
    let agent =
        Agent::new("clerk", Router(ModelId::new("scripted", "large"), small)).observer(Arc::new(recorder.clone()));
    let outcome = agent.run("Well?").await.unwrap();
    let small = ModelId::new("scripted", "small");
    let charged: Vec<_> = outcome.cost.by_model.keys().cloned().collect();
    assert_eq!((outcome.model.as_ref(), charged), (Some(&small), vec![small.to_string()]));
    let named = recorder.events().into_iter().find_map(|(_, event)| match event {
        Event::TurnEnded { model, served, .. } => Some((model, served)),
        _ => None,
    });
    assert_eq!(named, Some((small, Some("small-2026-01-01".into()))));
}

fn name(event: &Event) -> String {
    match event {
        Event::RunStarted => "started".into(),
        Event::TurnStarted { .. } => "turn".into(),
        Event::TurnEnded { .. } => "turn ended".into(),
        Event::ToolStarted { tool, .. } => format!("tool {tool}"),
        Event::ToolEnded { outcome, .. } => format!("tool {}", outcome.name()),
        Event::RunEnded { stop, .. } => stop.name().into(),
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn the_scripted_model_passes_the_contract() {
    crate::testing::model_contract(&ScriptedModel::new((0..9).map(|_| Turn::text("Hello there.")))).await;
}

#[tokio::test]
async fn an_output_schema_is_checked_before_any_model_call_and_survives_other_settings() {
    let model = ScriptedModel::new([Turn::text("{\"score\": 7}")]);
    let schema = crate::RawJson::parse("{\"type\": \"nonsense\"}".into()).unwrap();
    let unusable = OutputSchema { name: "answer".into(), schema, strict: false };
    let error = Agent::new("critic", model.clone()).output_schema(unusable).run("Judge.").await.unwrap_err();
    assert!(error.chain().contains("the schema of its answer"), "{}", error.chain());
    assert_eq!(model.turns_left(), 1);

    let warm = Settings { temperature: Some(1.0), ..Settings::default() };
    let agent = Agent::new("critic", model.clone()).output::<Verdict>().settings(warm);
    assert_eq!(agent.run("Judge.").await.unwrap().parse::<Verdict>().unwrap(), Verdict { score: 7 });
    assert!(model.requests()[0].settings.output.is_some());
}

#[tokio::test(start_paused = true)]
async fn the_json_of_an_outcome_leaves_the_conversation_out() {
    let outcome = Agent::new("clerk", ScriptedModel::new([Turn::text("Hello.")])).run("Greet me.").await.unwrap();
    let mut json = serde_json::to_value(&outcome).unwrap();
    assert_eq!(json["trace"].take(), outcome.trace.to_string());
    assert_eq!(json["cost"]["by_agent"]["clerk"]["calls"], 1);
    json["cost"].take();
    let expected = json!({
        "text": "Hello.", "stop": "finished", "notice": "", "turns": 1, "model": "scripted/model", "degraded": [], "elapsed_ms": 0,
        "usage": {"input_tokens": 100, "output_tokens": 10}, "cost": null, "trace": null,
    });
    assert_eq!(json, expected);
}

#[tokio::test]
async fn an_agents_observer_sees_each_event_once_in_its_own_run_in_a_given_run_as_a_worker_and_as_a_stream() {
    async fn seen(run: impl AsyncFnOnce(Agent, Arc<dyn Observer>)) -> Vec<(Arc<str>, usize)> {
        let recorder = Recorder::new();
        let shared: Arc<dyn Observer> = Arc::new(recorder.clone());
        let agent = Agent::new("clerk", ScriptedModel::new([Turn::text("Done.")])).observer(shared.clone());
        run(agent, shared).await;
        let started = |path: &Arc<str>| {
            let is_start = |(other, event): &&(Arc<str>, Event)| other == path && *event == Event::RunStarted;
            recorder.events().iter().filter(is_start).count()
        };
        let mut paths: Vec<_> = recorder.events().into_iter().map(|(path, _)| path).collect();
        paths.dedup();
        paths.into_iter().map(|path| (path.clone(), started(&path))).collect()
    }
    let alone = [(Arc::from("clerk"), 1)];
    assert_eq!(seen(async |agent, _| drop(agent.run("Go.").await)).await, alone);
    assert_eq!(seen(async |agent, _| drop(agent.run_in(&Run::new(), "Go.").await)).await, alone);
    let streamed = async |agent: Agent, _| crate::stream(agent, &Run::new(), "Go.").for_each(async |_| {}).await;
    assert_eq!(seen(streamed).await, alone);
    let observed_twice = async |agent: Agent, observer: Arc<dyn Observer>| {
        drop(agent.run_in(&Run::builder().observer(observer).build(), "Go.").await);
    };
    assert_eq!(seen(observed_twice).await, alone);
    let desk = || {
        Agent::new(
            "desk",
            ScriptedModel::new([Turn::call("c1", "clerk", json!({ "task": "Go." })), Turn::text("Done.")]),
        )
    };
    let as_worker = async |agent, _| drop(desk().worker(Worker::new(agent)).run("Go.").await);
    assert_eq!(seen(as_worker).await, [(Arc::from("desk/clerk"), 1)]);
}
