use std::sync::Mutex;

use brigade_core::{
    Agent, Budget, Certainty, Charge, Event, ModelErrorKind, ModelId, Money, Run, StopReason, Usage, Worker,
    testing::{ScriptedModel, Turn},
};
use opentelemetry::{Value, trace::Status};
use opentelemetry_sdk::{error::OTelSdkResult, trace::SpanData};
use serde_json::json;

use super::*;
use crate::{metrics::metrics::tests::all_events, spans::open_runs::MOST_RUNS};

const SECOND: Duration = Duration::from_secs(1);

/// Keeps what is exported.
#[derive(Debug, Clone, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl opentelemetry_sdk::trace::SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

fn kept(convention: Convention) -> (Otlp, Kept) {
    let kept = Kept::default();
    let processor = BatchSpanProcessor::builder(kept.clone()).build();
    (Otlp(Arc::new(OpenRuns::new(processor, Box::new(Sampler::AlwaysOn), convention))), kept)
}

impl Kept {
    fn after(&self, otlp: &Otlp) -> Vec<SpanData> {
        otlp.0.shut();
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

#[test]
fn every_event_is_taken_and_none_quotes_what_was_said() {
    for convention in [Convention::ClientInference, Convention::ClientOperation] {
        let (otlp, kept) = kept(convention);
        let run = Run::new();
        let observer = otlp.observer();
        all_events().iter().chain([&ended()]).for_each(|event| observer.on_event(&run, event));
        let told = format!("{:?}", kept.after(&otlp));
        for quoted in ["secret words", "rm -rf", "late", "no JSON"] {
            assert!(!told.contains(&format!("\"{quoted}\"")), "{quoted} is told in {told}");
        }
    }
}

#[test]
fn tokens_are_named_as_the_chosen_convention_names_them() {
    let name = |convention| {
        let (otlp, kept) = kept(convention);
        let run = Run::new();
        let usage = Usage::new(100, 10).cache_write_tokens(Some(20));
        let stop = StopReason::Finished;
        let observer = otlp.observer();
        observer.on_event(&run, &Event::RunStarted);
        observer.on_event(&run, &Event::RunEnded { stop, turns: 1, usage, cost: None, elapsed: SECOND });
        let spans = kept.after(&otlp);
        spans[0].attributes.iter().find(|one| one.value == Value::I64(20)).unwrap().key.to_string()
    };
    assert_eq!(name(Convention::ClientInference), "gen_ai.usage.cache_write.input_tokens");
    assert_eq!(name(Convention::ClientOperation), "gen_ai.usage.cache_creation.input_tokens");
}

#[tokio::test(start_paused = true)]
async fn of_two_attempts_at_once_the_one_ends_that_took_as_long() {
    let (otlp, kept) = kept(Convention::default());
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
    let spans = kept.after(&otlp);
    let attempts = named(&spans, "attempt m");
    let told = attempts
        .iter()
        .map(|span| (value(span, "brigade.attempt"), span.end_time.duration_since(span.start_time).unwrap()));
    assert_eq!(told.collect::<Vec<_>>(), [(Some(Value::I64(1)), 3 * SECOND), (Some(Value::I64(2)), SECOND)]);
}

#[test]
fn a_call_without_an_answer_ends_as_its_last_attempt_did_and_costs_what_all_did() {
    let (otlp, kept) = kept(Convention::default());
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
    let spans = kept.after(&otlp);
    let call = named(&spans, "chat m")[0];
    assert_eq!(call.status, Status::error("provider_overloaded"));
    assert_eq!(value(call, "brigade.cost.nano_usd"), Some(Value::I64(5)));
    assert_eq!(named(&spans, "invoke_agent ")[0].status, Status::error("provider_overloaded"));
}

#[test]
fn two_calls_of_one_worker_at_once_keep_their_runs_apart() {
    let (otlp, kept) = kept(Convention::default());
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
        // Of the same path, but each below its own critic.
        observer.on_event(&child(critic, "reader"), &Event::RunStarted);
    }
    let spans = kept.after(&otlp);
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
async fn workers_of_two_agents_that_share_a_run_hang_below_their_own() {
    let (otlp, kept) = kept(Convention::default());
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
    let spans = kept.after(&otlp);
    for name in ["desk", "desk-2"] {
        let path = |span: &&SpanData| value(span, "brigade.agent.path") == Some(format!("{name}/helper").into());
        let helper = spans.iter().find(path).unwrap();
        let tool = spans.iter().find(|span| span.span_context.span_id() == helper.parent_span_id).unwrap();
        let above = spans.iter().find(|span| span.span_context.span_id() == tool.parent_span_id).unwrap();
        assert_eq!((&*tool.name, &*above.name), ("execute_tool helper", &*format!("invoke_agent {name}")));
    }
}

#[test]
fn the_span_of_a_run_is_the_one_that_its_traceparent_names() {
    let (otlp, kept) = kept(Convention::default());
    let run = child(&Run::new(), "desk");
    otlp.observer().on_event(&run, &Event::RunStarted);
    otlp.observer().on_event(&run, &ended());
    // The next to work in the same run.
    otlp.observer().on_event(&run, &Event::RunStarted);
    let ids: Vec<u64> =
        kept.after(&otlp).iter().map(|span| u64::from_be_bytes(span.span_context.span_id().to_bytes())).collect();
    assert_eq!(ids[0], Traceparent::of(&run).span.get());
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn what_goes_on_at_the_shutdown_ends_unfinished_and_nothing_is_taken_after() {
    let (otlp, kept) = kept(Convention::default());
    let run = Run::new();
    let observer = otlp.observer();
    for event in [Event::RunStarted, asked(1), attempted()] {
        observer.on_event(&run, &event);
    }
    let spans = kept.after(&otlp);
    let names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, ["attempt m", "chat m", "invoke_agent "]);
    assert!(spans.iter().all(|span| span.status == Status::error("unfinished")));
    observer.on_event(&Run::new(), &Event::RunStarted);
    assert_eq!(otlp.0.open(), 0);
}

#[test]
fn runs_whose_end_is_never_told_make_room_the_oldest_first() {
    let (otlp, kept) = kept(Convention::default());
    let observer = otlp.observer();
    let first = Run::new();
    observer.on_event(&first, &Event::RunStarted);
    for _ in 0..MOST_RUNS {
        observer.on_event(&Run::new(), &Event::RunStarted);
    }
    assert_eq!(otlp.0.open(), MOST_RUNS);
    let spans = kept.after(&otlp);
    assert_eq!(spans[0].span_context.span_id().to_bytes(), Traceparent::of(&first).span.get().to_be_bytes());
    assert_eq!(spans[0].status, Status::error("unfinished"));
}

#[test]
fn a_run_that_turns_in_circles_holds_a_limited_number_of_events() {
    let (otlp, kept) = kept(Convention::default());
    let run = Run::new();
    otlp.observer().on_event(&run, &Event::RunStarted);
    for count in 0..1_000 {
        otlp.observer().on_event(&run, &Event::LoopNoticed { kind: "tool_call", count });
    }
    let events = &kept.after(&otlp)[0].events;
    assert_eq!((events.len(), events.dropped_count), (128, 872));
}
