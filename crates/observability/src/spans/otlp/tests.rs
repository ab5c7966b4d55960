use std::sync::Mutex;

use brigade_core::{
    Agent, Budget, Certainty, Charge, Event, ModelErrorKind, ModelId, Money, Run, StopReason, ToolStatus, Usage,
    Worker,
    testing::{ScriptedModel, Turn, all_events},
};
use opentelemetry::{Value, trace::Status};
use opentelemetry_sdk::{error::OTelSdkResult, trace::SpanData};
use serde_json::json;

use super::*;
use crate::{metrics::metrics::tests::name_of, spans::open_runs::MAX_RUNS};

const SECOND: Duration = Duration::from_secs(1);

/// Remembers exported spans.
#[derive(Debug, Clone, Default)]
struct Exported(Arc<Mutex<Vec<SpanData>>>);

impl opentelemetry_sdk::trace::SpanExporter for Exported {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

fn start(convention: Convention) -> (Otlp, Exported) {
    let exported = Exported::default();
    let processor = BatchSpanProcessor::builder(exported.clone()).build();
    (Otlp(Arc::new(OpenRuns::new(processor, Box::new(Sampler::AlwaysOn), convention))), exported)
}

impl Exported {
    fn after(&self, otlp: &Otlp) -> Vec<SpanData> {
        otlp.0.shut_down();
        otlp.0.processor().shutdown_with_timeout(60 * SECOND).unwrap();
        self.0.lock().unwrap().clone()
    }
}

fn model(name: &str) -> ModelId {
    ModelId::new("vendor", name)
}

fn child(run: &Run, name: &str) -> Run {
    run.child(name, Budget::unlimited()).unwrap()
}

fn asked(turn: u32) -> Event {
    Event::TurnStarted { turn, model: model("m") }
}

fn attempted() -> Event {
    Event::AttemptStarted { model: model("m") }
}

fn failed(error: Option<ModelErrorKind>, nano: i64, elapsed: Duration) -> Event {
    let usage = Usage::new(7, 1);
    let charge = Charge::new(Certainty::Uncertain, usage, Some(Money::from_nano(nano)));
    Event::AttemptEnded { model: model("m"), error, charge: Some(charge), elapsed }
}

fn ended() -> Event {
    let stop = StopReason::Finished;
    Event::RunEnded { stop, turns: 1, usage: Usage::new(1, 1), cost: None, elapsed: SECOND }
}

fn value(span: &SpanData, name: &str) -> Option<Value> {
    span.attributes.iter().find(|one| one.key.as_str() == name).map(|one| one.value.clone())
}

fn named<'a>(spans: &'a [SpanData], name: &str) -> Vec<&'a SpanData> {
    spans.iter().filter(|span| span.name == name).collect()
}

/// The exported spans of a run with these events.
fn spans_of(events: &[Event]) -> Vec<SpanData> {
    let (otlp, exported) = start(Convention::default());
    let (run, observer) = (Run::new(), otlp.observer());
    for event in events {
        observer.on_event(&run, event);
    }
    exported.after(&otlp)
}

/// What an event adds to the spans of a run with an open turn, attempt and tool call.
fn effect(event: &Event) -> String {
    let is_other = |earlier: &Event| std::mem::discriminant(earlier) != std::mem::discriminant(event);
    let mut events = vec![Event::RunStarted];
    events.extend(all_events().into_iter().filter(|earlier| {
        matches!(earlier, Event::TurnStarted { .. } | Event::AttemptStarted { .. } | Event::ToolStarted { .. })
    }));
    events.retain(is_other);
    let before: Vec<_> = spans_of(&events).iter().map(|span| span.name.to_string()).collect();
    events.push(event.clone());
    let mut effects = Vec::new();
    for span in spans_of(&events) {
        if !before.contains(&span.name.to_string()) {
            effects.push(format!("starts {}", span.name.trim()));
        }
        effects.extend(span.events.iter().map(|event| event.name.to_string()));
        effects.extend(value(&span, "gen_ai.response.time_to_first_chunk").map(|_| "time to first chunk".to_owned()));
        if span.status != Status::error("unfinished") {
            effects.push(format!("ends {}", span.name.trim()));
        }
    }
    effects.join(", ")
}

#[test]
fn every_event_becomes_a_span_or_a_span_event_or_nothing() {
    let expected = [
        ("RunStarted", "starts invoke_agent"),
        ("Resumed", "brigade.resumed"),
        ("TurnStarted", "starts chat gpt-5-mini"),
        ("RateLimitWaited", "starts rate_limit_wait, ends rate_limit_wait"),
        ("AttemptStarted", "starts attempt gpt-5-mini"),
        ("Delta", "time to first chunk"), // its text is content
        ("AttemptEnded", "ends attempt gpt-5-mini"),
        ("Retrying", "brigade.retry"),
        ("ReplyRestarted", "brigade.reply_restarted"),
        ("RetrySuppressed", "brigade.retry_suppressed"),
        ("BreakerChanged", "brigade.breaker_changed"),
        ("FellBack", "brigade.fallback"),
        ("RateLimitsReported", ""), // comes with every answer
        ("WireQuirk", "brigade.wire_quirk"),
        ("TurnEnded", "ends chat gpt-5-mini"),
        ("ToolStarted", "starts execute_tool lookup"),
        ("ToolEnded", "ends execute_tool lookup"),
        ("UnknownTool", "brigade.unknown_tool"),
        ("WorkerFailed", "brigade.worker_failed"),
        ("LoopNoticed", "brigade.loop_noticed"),
        ("Trimmed", "brigade.trimmed"),
        ("AnswerRejected", "brigade.answer_rejected"),
        ("HandedOff", "brigade.handed_off"),
        ("Degraded", "brigade.degraded"),
        ("BudgetWarning", "brigade.budget_warning"),
        ("BudgetRefused", "brigade.budget_refused"),
        ("RunEnded", "ends invoke_agent"),
        ("RunFailed", "ends attempt gpt-5-mini, ends execute_tool lookup, ends chat gpt-5-mini, ends invoke_agent"),
        ("RunWaiting", "ends attempt gpt-5-mini, ends execute_tool lookup, ends chat gpt-5-mini, ends invoke_agent"),
    ];
    let effects: Vec<_> = all_events().iter().map(|event| (name_of(event), effect(event))).collect();
    assert_eq!(effects, expected.map(|(event, effect)| (event.to_owned(), effect.to_owned())));
}

#[test]
fn a_chat_span_names_the_model_that_answered_and_its_provider() {
    let answered = |model: ModelId, served: Option<&str>| {
        let (usage, cost, stop) = (None, None, brigade_core::FinishReason::EndTurn);
        let served = served.map(Into::into);
        let ended = Event::TurnEnded { turn: 1, model, served, usage, cost, stop, tool_calls: 0, elapsed: SECOND };
        let spans = spans_of(&[Event::RunStarted, asked(1), ended]);
        let chat = named(&spans, "chat m")[0];
        let names = ["gen_ai.request.model", "gen_ai.response.model", "gen_ai.provider.name"];
        let count = chat.attributes.iter().filter(|one| names.contains(&one.key.as_str())).count();
        (count, names.map(|name| value(chat, name).map(|value| value.to_string()).unwrap_or_default()))
    };
    let named = |names: [&str; 3]| (3, names.map(str::to_owned));
    assert_eq!(answered(model("m"), None), named(["m", "m", "vendor"]));
    assert_eq!(answered(model("m"), Some("m-2026-08-06")), named(["m", "m-2026-08-06", "vendor"]));
    assert_eq!(answered(ModelId::new("other", "n"), None), named(["m", "n", "other"]));
}

#[test]
fn no_span_quotes_what_a_model_wrote_or_an_error_message() {
    let text = format!("{:?}", spans_of(&all_events()));
    for quoted in ["private text", "rm -rf", "late", "disk full", "no capacity"] {
        assert!(!text.contains(&format!("\"{quoted}\"")), "{quoted} is in {text}");
    }
}

#[test]
fn token_attributes_follow_the_convention() {
    let name = |convention| {
        let (otlp, exported) = start(convention);
        let run = Run::new();
        let usage = Usage::new(100, 10).cache_write_tokens(Some(20));
        let stop = StopReason::Finished;
        let observer = otlp.observer();
        observer.on_event(&run, &Event::RunStarted);
        observer.on_event(&run, &Event::RunEnded { stop, turns: 1, usage, cost: None, elapsed: SECOND });
        let spans = exported.after(&otlp);
        spans[0].attributes.iter().find(|one| one.value == Value::I64(20)).unwrap().key.to_string()
    };
    assert_eq!(name(Convention::ClientInference), "gen_ai.usage.cache_write.input_tokens");
    assert_eq!(name(Convention::ClientOperation), "gen_ai.usage.cache_creation.input_tokens");
}

#[tokio::test(start_paused = true)]
async fn of_two_open_attempts_the_one_with_this_duration_ends() {
    let (otlp, exported) = start(Convention::default());
    let run = Run::new();
    let observer = otlp.observer();
    for event in [Event::RunStarted, asked(1), attempted()] {
        observer.on_event(&run, &event);
    }
    tokio::time::sleep(2 * SECOND).await;
    observer.on_event(&run, &attempted());
    tokio::time::sleep(SECOND).await;
    observer.on_event(&run, &failed(Some(ModelErrorKind::Broken), 1, 3 * SECOND));
    observer.on_event(&run, &failed(None, 1, SECOND));
    let spans = exported.after(&otlp);
    let attempts = named(&spans, "attempt m");
    let told = attempts
        .iter()
        .map(|span| (value(span, "brigade.attempt"), span.end_time.duration_since(span.start_time).unwrap()));
    assert_eq!(told.collect::<Vec<_>>(), [(Some(Value::I64(1)), 3 * SECOND), (Some(Value::I64(2)), SECOND)]);
}

#[test]
fn an_unanswered_call_has_the_last_error_and_the_cost_of_all_attempts() {
    let (otlp, exported) = start(Convention::default());
    let run = Run::new();
    let observer = otlp.observer();
    let overloaded = Some(ModelErrorKind::Overloaded);
    for event in [
        Event::RunStarted,
        asked(1),
        attempted(),
        failed(Some(ModelErrorKind::Broken), 2, SECOND),
        attempted(),
        failed(overloaded, 3, SECOND),
        Event::RunFailed { kind: overloaded, message: "the model did not answer".into(), elapsed: SECOND },
    ] {
        observer.on_event(&run, &event);
    }
    let spans = exported.after(&otlp);
    let call = named(&spans, "chat m")[0];
    assert_eq!(call.status, Status::error("provider_overloaded"));
    assert_eq!(value(call, "brigade.cost.nano_usd"), Some(Value::I64(5)));
    assert_eq!(named(&spans, "invoke_agent ")[0].status, Status::error("provider_overloaded"));
}

#[test]
fn two_parallel_calls_of_one_worker_have_a_run_each() {
    let (otlp, exported) = start(Convention::default());
    let desk = child(&Run::new(), "desk");
    let observer = otlp.observer();
    observer.on_event(&desk, &Event::RunStarted);
    for call_id in ["1", "2"] {
        let tool = Arc::from("critic");
        observer.on_event(&desk, &Event::ToolStarted { tool, call_id: call_id.into() });
    }
    let critics = [child(&desk, "critic"), child(&desk, "critic")];
    for critic in &critics {
        observer.on_event(critic, &Event::RunStarted);
        // The two readers have the same path, but each is below a critic of its own.
        observer.on_event(&child(critic, "reader"), &Event::RunStarted);
    }
    let spans = exported.after(&otlp);
    let (tools, critics) = (named(&spans, "execute_tool critic"), named(&spans, "invoke_agent critic"));
    let below = |above: &[&SpanData], spans: &[&SpanData]| {
        let ids: Vec<_> = above.iter().map(|span| span.span_context.span_id()).collect();
        let parents: Vec<_> = spans.iter().map(|span| span.parent_span_id).collect();
        assert_eq!((ids.len(), &parents), (2, &ids), "one below each");
    };
    below(&tools, &critics);
    below(&critics, &named(&spans, "invoke_agent reader"));
}

#[tokio::test]
async fn workers_of_two_agents_in_one_run_are_below_their_own_agent() {
    let (otlp, exported) = start(Convention::default());
    let run = Run::builder().observer(otlp.observer()).build();
    let delegates = |name: &str| {
        let helper = Agent::new("helper", ScriptedModel::new([Turn::text("Fine.")]));
        let call = Turn::call("1", "helper", json!({ "task": "help" }));
        let model = ScriptedModel::new([call.after(Duration::from_millis(1)), Turn::text("Done.")]);
        Agent::new(name, model).worker(Worker::new(helper))
    };
    let (first, second) = (delegates("desk"), delegates("desk-2"));
    let (one, other) = tokio::join!(first.run_in(&run, "Work."), second.run_in(&run, "Work."));
    assert!(one.is_ok() && other.is_ok());
    let spans = exported.after(&otlp);
    for name in ["desk", "desk-2"] {
        let path = |span: &&SpanData| value(span, "brigade.agent.path") == Some(format!("{name}/helper").into());
        let helper = spans.iter().find(path).unwrap();
        let tool = spans.iter().find(|span| span.span_context.span_id() == helper.parent_span_id).unwrap();
        let above = spans.iter().find(|span| span.span_context.span_id() == tool.parent_span_id).unwrap();
        assert_eq!((&*tool.name, &*above.name), ("execute_tool helper", &*format!("invoke_agent {name}")));
    }
}

#[test]
fn the_span_of_a_run_has_the_id_in_its_traceparent() {
    let (otlp, exported) = start(Convention::default());
    let run = child(&Run::new(), "desk");
    otlp.observer().on_event(&run, &Event::RunStarted);
    otlp.observer().on_event(&run, &ended());
    // The next to work in the same run.
    otlp.observer().on_event(&run, &Event::RunStarted);
    let ids: Vec<u64> =
        exported.after(&otlp).iter().map(|span| u64::from_be_bytes(span.span_context.span_id().to_bytes())).collect();
    assert_eq!(ids[0], Traceparent::of(&run).span.get());
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn open_spans_end_unfinished_at_shutdown_and_later_events_are_ignored() {
    let (otlp, exported) = start(Convention::default());
    let run = Run::new();
    let observer = otlp.observer();
    for event in [Event::RunStarted, asked(1), attempted()] {
        observer.on_event(&run, &event);
    }
    let spans = exported.after(&otlp);
    let names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, ["attempt m", "chat m", "invoke_agent "]);
    assert!(spans.iter().all(|span| span.status == Status::error("unfinished")));
    observer.on_event(&Run::new(), &Event::RunStarted);
    assert_eq!(otlp.0.open(), 0);
}

#[test]
fn the_oldest_of_too_many_open_runs_ends() {
    let (otlp, exported) = start(Convention::default());
    let observer = otlp.observer();
    let first = Run::new();
    observer.on_event(&first, &Event::RunStarted);
    for _ in 0..MAX_RUNS {
        observer.on_event(&Run::new(), &Event::RunStarted);
    }
    assert_eq!(otlp.0.open(), MAX_RUNS);
    let spans = exported.after(&otlp);
    assert_eq!(spans[0].span_context.span_id().to_bytes(), Traceparent::of(&first).span.get().to_be_bytes());
    assert_eq!(spans[0].status, Status::error("unfinished"));
}

#[test]
fn the_events_of_a_span_are_limited() {
    let (otlp, exported) = start(Convention::default());
    let run = Run::new();
    otlp.observer().on_event(&run, &Event::RunStarted);
    for count in 0..1_000 {
        otlp.observer().on_event(&run, &Event::LoopNoticed { kind: "tool_call".into(), count });
    }
    let events = &exported.after(&otlp)[0].events;
    assert_eq!((events.len(), events.dropped_count), (128, 872));
}

#[test]
fn the_spans_of_a_run_that_waits_have_ended_and_are_not_failed() {
    let (tool, call_id) = (Arc::from("refund"), Arc::from("1"));
    let spans = spans_of(&[
        Event::RunStarted,
        Event::ToolStarted { tool: Arc::clone(&tool), call_id: Arc::clone(&call_id) },
        Event::ToolEnded { tool, call_id, outcome: ToolStatus::Waiting, reason: None, elapsed: SECOND },
        Event::RunWaiting { reason: "`refund` waits for an approval".into(), elapsed: SECOND },
    ]);
    for name in ["execute_tool refund", "invoke_agent "] {
        let span = named(&spans, name)[0];
        assert_eq!((&span.status, value(span, "brigade.outcome")), (&Status::Unset, Some("waiting".into())), "{name}");
        assert_eq!(value(span, "error.type"), None, "{name}");
    }
}
