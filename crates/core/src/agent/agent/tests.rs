use std::{sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::*;
use crate::{
    Budget, Event, FinishReason, LocalMemory, ModelErrorKind, Role, StopReason, ToolError, ToolOutput, TurnLimits,
    Usage,
    testing::{Recorder, ScriptedModel, Turn},
    tool_fn,
};

#[derive(Deserialize, JsonSchema)]
struct Lookup {
    word: String,
}

fn lookup() -> impl Tool {
    tool_fn("lookup", "Looks a word up.", |args: Lookup, _| async move {
        Ok(ToolOutput::text(format!("{} means cold drink", args.word)))
    })
}

fn look_up(id: &str, word: &str) -> Turn {
    Turn::call(id, "lookup", json!({ "word": word }))
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
    assert_eq!(results[0].content, [crate::Part::text("kefir means cold drink")]);
    assert_eq!(outcome.usage, Usage::new(200, 20));
}

#[tokio::test]
async fn the_last_turn_is_without_tools_and_the_outcome_says_why_it_ended() {
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
async fn a_model_that_calls_tools_in_its_last_turn_gets_none_and_its_history_stays_valid() {
    let model = ScriptedModel::new([look_up("c1", "a"), look_up("c2", "b")]);
    let limits = TurnLimits::default().turns(2);
    let outcome = Agent::new("clerk", model).tool(lookup()).limits(limits).run("Go on.").await.unwrap();
    assert_eq!(outcome.stop, StopReason::MaxTurns);
    assert_eq!(outcome.text, "lookup: a means cold drink");
    assert!(outcome.transcript.open_calls().is_empty());
}

#[tokio::test]
async fn the_same_call_again_and_again_is_noticed_and_then_stopped() {
    let model = ScriptedModel::new((0..9).map(|turn| look_up(&format!("c{turn}"), "a")));
    let outcome = Agent::new("clerk", model.clone()).tool(lookup()).run("Go on.").await.unwrap();
    assert_eq!((outcome.stop, model.requests().len()), (StopReason::LoopDetected, 5));
    let notices = outcome.transcript.messages().iter().flat_map(Message::tool_results);
    let notices: Vec<_> = notices.map(|result| result.content.len()).collect();
    assert_eq!(notices, [1, 1, 2, 2, 2], "from the third call on the model is told");
}

#[tokio::test]
async fn a_cosmetic_counter_does_not_hide_a_repetition() {
    let call = |turn: u32| Turn::call(&format!("c{turn}"), "lookup", json!({"word": "a", "attempt": turn}));
    let model = ScriptedModel::new((0..9).map(call));
    let outcome = Agent::new("clerk", model.clone()).tool(lookup()).run("Go on.").await.unwrap();
    assert_eq!((outcome.stop, model.requests().len()), (StopReason::LoopDetected, 5));
}

#[tokio::test]
async fn a_polling_tool_may_be_called_as_long_as_it_brings_news() {
    let poll = |news: bool| {
        tool_fn("lookup", "", move |_: Lookup, run: Run| async move {
            Ok(ToolOutput::text(if news { run.count("polls").to_string() } else { "nothing".to_owned() }))
        })
    };
    let script = || (0..9).map(|turn| look_up(&format!("c{turn}"), "a")).chain([Turn::text("Done.")]);
    let run = async |tool: crate::FunctionTool| {
        let agent = Agent::new("clerk", ScriptedModel::new(script())).tool(tool);
        agent.run("Go on.").await.unwrap().stop
    };
    assert_eq!(run(poll(true).polling()).await, StopReason::Finished);
    assert_eq!(run(poll(false).polling()).await, StopReason::LoopDetected);
    assert_eq!(run(poll(true)).await, StopReason::LoopDetected);
}

#[tokio::test]
async fn invented_tools_end_the_run_at_the_third_whatever_their_names() {
    let model = ScriptedModel::new((0..9).map(|turn| Turn::call("c", &format!("invented_{turn}"), json!({}))));
    let outcome = Agent::new("clerk", model.clone()).tool(lookup()).run("Go on.").await.unwrap();
    assert_eq!((outcome.stop, model.requests().len()), (StopReason::UnknownToolLimit, 3));
    let told = outcome.transcript.messages()[2].tool_results().next().unwrap().clone();
    assert!(told.is_error);
    assert_eq!(told.content, [crate::Part::text("There is no tool called `invented_0`. The tools are: lookup.")]);
}

#[tokio::test]
async fn arguments_that_break_off_are_not_run_and_the_third_time_ends_the_run() {
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
    let told: Vec<_> = outcome.transcript.messages().iter().flat_map(Message::tool_results).collect();
    assert!(told[5].text().contains("is switched off for the rest of this task"));
    assert!(told[6].text().contains("is switched off, because"));
    assert!(model.requests().iter().all(|request| !request.tools.is_empty()), "the prompt stays as it is");
}

#[tokio::test]
async fn calls_of_one_turn_are_one_try_and_one_that_works_is_enough() {
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
async fn who_insists_on_a_tool_that_is_switched_off_is_stopped() {
    let fails = tool_fn("lookup", "", |_: Lookup, _| async { Err(ToolError::new("nothing works today")) });
    let model = ScriptedModel::new((0..9).map(|turn| look_up(&format!("c{turn}"), &turn.to_string())));
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
    assert_eq!(roles, [Role::User, Role::User], "no provider takes an empty answer back");
}

#[tokio::test]
async fn reasoning_that_used_up_all_tokens_gets_twice_the_room_once() {
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
async fn an_answer_that_does_not_match_is_asked_for_again_a_bounded_number_of_times() {
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
async fn a_refusal_is_an_outcome() {
    let model = ScriptedModel::new([Turn::text("I'd rather not.").stopping(FinishReason::Refusal)]);
    let outcome = Agent::new("clerk", model).run("Go on.").await.unwrap();
    assert_eq!((outcome.stop, outcome.text.as_str()), (StopReason::Refused, "I'd rather not."));
}

#[tokio::test]
async fn a_failed_run_keeps_what_was_said_and_spent() {
    let model = ScriptedModel::new([look_up("c1", "kefir"), Turn::fails(ModelErrorKind::Auth)]);
    let error = Agent::new("clerk", model).tool(lookup()).run("What is kefir?").await.unwrap_err();
    assert_eq!(error.model_error().unwrap().kind(), ModelErrorKind::Auth);
    assert_eq!(error.transcript().len(), 3);
    assert_eq!(error.cost().total.usage, Usage::new(100, 10));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_run_with_what_there_is() {
    let model = ScriptedModel::new([look_up("c1", "kefir"), Turn::text("late").after(Duration::from_mins(1))]);
    let agent = Agent::new("clerk", model).tool(lookup()).budget(Budget::unlimited().wall(Duration::from_secs(5)));
    let started = tokio::time::Instant::now();
    let outcome = agent.run("What is kefir?").await.unwrap();
    assert_eq!((outcome.stop, started.elapsed()), (StopReason::Deadline, Duration::from_secs(5)));
    assert_eq!(outcome.text, "lookup: kefir means cold drink");
}

#[tokio::test(start_paused = true)]
async fn a_model_that_gives_up_at_the_deadline_ends_the_run_in_the_same_way() {
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
async fn a_run_that_is_dropped_is_said_to_have_ended() {
    let recorder = Recorder::new();
    let model = ScriptedModel::new([Turn::text("late").after(Duration::from_mins(1))]);
    let agent = Agent::new("clerk", model).observer(Arc::new(recorder.clone()));
    tokio::time::timeout(Duration::from_secs(1), agent.run("Go on.")).await.unwrap_err();
    let ends = recorder.count(|event| matches!(event, Event::RunFailed { kind: Some(ModelErrorKind::Cancelled), .. }));
    assert_eq!(ends, 1);
}

#[tokio::test]
async fn a_turn_budget_is_shared_and_refuses_the_next_call() {
    let model = ScriptedModel::new([look_up("c1", "a"), look_up("c2", "b"), Turn::text("never asked")]);
    let agent = Agent::new("clerk", model.clone()).tool(lookup()).budget(Budget::unlimited().turns(2));
    let outcome = agent.run("Go on.").await.unwrap();
    assert_eq!((outcome.stop, model.turns_left()), (StopReason::Budget, 1));
    assert!(outcome.notice.contains("turn budget"), "{}", outcome.notice);
}

#[tokio::test]
async fn an_agents_own_budget_holds_also_in_a_run_that_has_none() {
    let script = || ScriptedModel::new((0..9).map(|index| look_up(&format!("c{index}"), &index.to_string())));
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
async fn a_limit_of_money_is_not_kept_by_guessing() {
    let model = ScriptedModel::new([look_up("c1", "a"), Turn::text("never asked")]);
    let agent = Agent::new("clerk", model.clone()).tool(lookup()).budget(Budget::default().usd("0.50").unwrap());
    let outcome = agent.run("Go on.").await.unwrap();
    assert_eq!((outcome.stop, model.turns_left()), (StopReason::Budget, 1));
    assert!(outcome.notice.contains(".metered(&prices)"), "{}", outcome.notice);
    let model = ScriptedModel::new([Turn::text("Paid for.")]);
    let outcome =
        Agent::new("clerk", model).budget(Budget::default().usd("0.50").unwrap()).run("Go on.").await.unwrap();
    assert_eq!(outcome.text, "Paid for.", "what was paid for is not thrown away");
}

#[tokio::test]
async fn a_session_goes_on_where_it_ended() {
    let model = ScriptedModel::new([Turn::text("Hello Ada."), Turn::text("You are Ada.")]);
    let agent = Agent::new("clerk", model.clone()).memory(LocalMemory::new());
    agent.run(Task::from("I am Ada.").session("s1")).await.unwrap();
    let outcome = agent.run(Task::from("Who am I?").session("s1")).await.unwrap();
    let seen: Vec<_> = outcome.transcript.messages().iter().map(|message| message.text().into_owned()).collect();
    assert_eq!(seen, ["I am Ada.", "Hello Ada.", "Who am I?", "You are Ada."]);
    assert_eq!((outcome.inherited, outcome.new_messages().len()), (2, 2));
}

#[tokio::test]
async fn a_tool_can_give_the_answer_itself() {
    let tool = tool_fn("lookup", "", |_: Lookup, _| async { Ok(ToolOutput::text("as is").ending_run()) });
    let model = ScriptedModel::new([look_up("c1", "kefir"), Turn::text("never asked")]);
    let outcome = Agent::new("clerk", model).tool(tool).run("What is kefir?").await.unwrap();
    assert_eq!((outcome.text.as_str(), outcome.ended_by.as_deref()), ("as is", Some("lookup")));
}

#[tokio::test]
async fn an_agent_with_two_tools_of_one_name_says_so_and_does_not_run() {
    let model = ScriptedModel::new([Turn::text("never asked")]);
    let agent = Agent::new("clerk", model.clone()).tool(lookup()).tool(lookup());
    let error = agent.run("Go on.").await.unwrap_err();
    assert!(error.chain().contains("two tools called `lookup`"), "{}", error.chain());
    assert_eq!(model.turns_left(), 1);
}

#[tokio::test]
async fn the_events_of_a_run_tell_its_story() {
    let recorder = Recorder::new();
    let model = ScriptedModel::new([look_up("c1", "kefir"), Turn::text("A drink.")]);
    let agent = Agent::new("clerk", model).tool(lookup()).observer(Arc::new(recorder.clone()));
    agent.run("What is kefir?").await.unwrap();
    let story: Vec<_> =
        recorder.events().into_iter().map(|(agent, event)| format!("{agent}: {}", name(&event))).collect();
    assert_eq!(
        story,
        ["started", "turn", "turn ended", "tool lookup", "tool ok", "turn", "turn ended", "finished"]
            .map(|name| format!("clerk: {name}"))
    );
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
async fn the_form_of_the_answer_is_checked_before_anybody_is_asked_and_survives_other_settings() {
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
async fn an_outcome_as_json_tells_all_but_the_conversation() {
    let outcome = Agent::new("clerk", ScriptedModel::new([Turn::text("Hello.")])).run("Greet me.").await.unwrap();
    let mut json = serde_json::to_value(&outcome).unwrap();
    assert_eq!(json["trace"].take(), outcome.trace.to_string());
    assert_eq!(json["cost"]["by_agent"]["clerk"]["calls"], 1);
    json["cost"].take();
    let told = json!({
        "text": "Hello.", "stop": "finished", "notice": "", "turns": 1, "degraded": [], "elapsed_ms": 0,
        "usage": {"input_tokens": 100, "output_tokens": 10}, "cost": null, "trace": null,
    });
    assert_eq!(json, told);
}
