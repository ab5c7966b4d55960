//! The spans that a collector receives.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::format_push_string,
    reason = "a test fails by panicking, and need not be fast"
)]

use std::{net::TcpListener, process::Command, sync::Arc, time::Duration};

use brigade_core::{
    Agent, ChatModel, Event, Metered, ModelErrorKind, Money, Observer, OnFailure, Rate, Rates, Run, ToolError,
    ToolOutput, TraceId, UnpricedPolicy, Worker,
    testing::{ScriptedModel, Turn},
    tool_fn,
};
use brigade_observability::{Otlp, OtlpConfig, OtlpError, PriceBook, Traceparent};
use brigade_resilience::{BreakerSettings, RateLimitSettings, Resilient, RetrySettings};
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::json;
use tokio::time::Instant;

use collector::{Collector, facts, trees};

mod collector;

/// Is in every prompt, answer, argument, result and error, and must not be in any span.
const CANARY: &str = "canary-3fd1";

const SECOND: Duration = Duration::from_secs(1);

fn otlp(collector: &Collector) -> Otlp {
    Otlp::start(&OtlpConfig::default().endpoint(&collector.endpoint)).unwrap()
}

/// Costs 10 dollars per million input tokens, and 20 per million output tokens.
fn priced(name: &str, script: impl IntoIterator<Item = Turn>) -> Metered<ScriptedModel> {
    let model = ScriptedModel::named(name, script.into_iter().map(|turn| turn.after(SECOND)));
    let dollars = |nano| Rate::per_million(Money::from_nano(nano));
    let rates = Rates::new(dollars(10_000_000_000), dollars(20_000_000_000));
    Metered::new(model, Arc::new(PriceBook::bundled())).unpriced(UnpricedPolicy::Assume(rates))
}

fn says() -> Turn {
    Turn::text(CANARY)
}

fn calls(tool: &str) -> Turn {
    Turn::call("1", tool, json!({ "task": CANARY }))
}

fn worker(name: &str, model: impl ChatModel) -> Worker {
    let lookup = tool_fn("lookup", "Looks a word up.", |_: serde_json::Value, _: Run| async {
        Ok::<_, ToolError>(ToolOutput::text(CANARY))
    });
    Worker::new(Agent::new(name, model).instructions(CANARY).tool(lookup))
}

/// A desk whose workers have all kinds of faults: one retries, one falls back, one waits for a rate limit, one times out,
/// one panics; and a tool of the desk panics, too.
fn desk() -> Agent {
    let script = calls("asked-again")
        .and_call("2", "elsewhere", &json!({ "task": CANARY }).to_string())
        .and_call("3", "limited", &json!({ "task": CANARY }).to_string())
        .and_call("4", "slow", &json!({ "task": CANARY }).to_string())
        .and_call("5", "broken", &json!({ "task": CANARY }).to_string())
        .and_call("6", "explode", &json!({ "task": CANARY }).to_string())
        .and_call("7", CANARY, "{}");
    let asked_again = priced("flaky", [Turn::fails(ModelErrorKind::Overloaded), calls("lookup"), says()]);
    let elsewhere = priced("locked", [Turn::fails(ModelErrorKind::Auth)])
        .breaker(BreakerSettings::default())
        .fallback(priced("other", [calls("lookup"), says()]));
    let once_a_minute = RateLimitSettings::default().requests_per_minute(1);
    let limited = priced("limited", [calls("lookup"), says()]).rate_limit(once_a_minute);
    let slow = ScriptedModel::named("slow", [says().after(3_600 * SECOND)]).retry(RetrySettings::default());
    let slow = Metered::new(slow, Arc::new(PriceBook::bundled()));
    let explode = tool_fn("explode", "Explodes.", |_: serde_json::Value, _: Run| async {
        let is_on_fire = true;
        assert!(!is_on_fire, "{CANARY}");
        Ok::<_, ToolError>(ToolOutput::text(CANARY))
    });
    Agent::new("desk", priced("desk", [script, says()]))
        .worker(worker("asked-again", asked_again.retry(RetrySettings::default())))
        .worker(worker("elsewhere", elsewhere))
        .worker(worker("limited", limited).timeout(120 * SECOND))
        .worker(worker("slow", slow).timeout(5 * SECOND).on_failure(OnFailure::fallback(CANARY)))
        .worker(worker("broken", priced("broken", [Turn::panics()])))
        .tool(explode)
}

async fn work(trace: TraceId, observer: Arc<dyn Observer>) {
    let run = Run::builder().trace(trace).observer(observer).deltas(true).build();
    assert_eq!(desk().run_in(&run, CANARY).await.unwrap().text, CANARY);
}

const DESK: &str = "\
invoke_agent desk (internal) finished
  ! brigade.unknown_tool
  ! brigade.worker_failed isolate broken
  ! brigade.worker_failed fallback slow
  chat desk (client) ok
    attempt desk (client) ok
  execute_tool asked-again (internal) ok
    invoke_agent asked-again (internal) finished
      chat flaky (client) ok
        ! brigade.retry 2 scripted/flaky provider_overloaded
        attempt flaky (client) provider_overloaded
        attempt flaky (client) ok
      chat flaky (client) ok
        attempt flaky (client) ok
      execute_tool lookup (internal) ok
  execute_tool broken (internal) error
    invoke_agent broken (internal) internal_error
      chat broken (client) caller_cancelled
        attempt broken (client) caller_cancelled
  execute_tool elsewhere (internal) ok
    invoke_agent elsewhere (internal) finished
      chat locked (client) ok
        ! brigade.breaker_changed scripted/locked open
        ! brigade.fallback scripted/locked scripted/other provider_auth
        attempt locked (client) provider_auth
        attempt other (client) ok
      chat locked (client) ok
        ! brigade.fallback scripted/locked scripted/other policy_circuit_open
        attempt other (client) ok
      execute_tool lookup (internal) ok
  execute_tool explode (internal) panic
  execute_tool limited (internal) ok
    invoke_agent limited (internal) finished
      chat limited (client) ok
        attempt limited (client) ok
      chat limited (client) ok
        rate_limit_wait (internal)
        attempt limited (client) ok
      execute_tool lookup (internal) ok
  execute_tool slow (internal) fallback
    invoke_agent slow (internal) deadline
      chat slow (client) caller_cancelled
        attempt slow (client) caller_cancelled
  chat desk (client) ok
    attempt desk (client) ok
";

/// The attributes of the desk's last turn.
const CHAT: [(&str, &str); 13] = [
    ("brigade.cost.nano_usd", "1200000"),
    ("brigade.outcome", "ok"),
    ("brigade.tool_calls", "0"),
    ("brigade.turn", "2"),
    ("gen_ai.operation.name", "chat"),
    ("gen_ai.provider.name", "scripted"),
    ("gen_ai.request.model", "desk"),
    ("gen_ai.response.finish_reasons", "end_turn"),
    ("gen_ai.response.model", "desk"),
    ("gen_ai.response.time_to_first_chunk", "1.0"),
    ("gen_ai.usage.cost", "0.0012"),
    ("gen_ai.usage.input_tokens", "100"),
    ("gen_ai.usage.output_tokens", "10"),
];

fn of_trace(spans: &[Span], trace: TraceId) -> Vec<Span> {
    spans.iter().filter(|span| span.trace_id == trace.bits().to_be_bytes()).cloned().collect()
}

fn only<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let named: Vec<&Span> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(named.len(), 1, "spans that are called {name}");
    named[0]
}

fn took(span: &Span) -> Duration {
    Duration::from_nanos(span.end_time_unix_nano - span.start_time_unix_nano)
}

#[tokio::test(start_paused = true)]
async fn two_concurrent_runs_with_faults_are_two_complete_trees_without_content() {
    let collector = Collector::listen();
    let otlp = otlp(&collector);
    let caller: Traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
    let here = TraceId::random();
    tokio::join!(work(here, otlp.observer()), work(caller.trace, otlp.continuing(caller)));
    // Paused time would skip every wait for the network.
    tokio::time::resume();
    otlp.shutdown(60 * SECOND).await.unwrap();

    let spans = collector.spans();
    let (here, there) = (of_trace(&spans, here), of_trace(&spans, caller.trace));
    assert_eq!(spans.len(), here.len() + there.len(), "a span is in a third trace");
    for spans in [&here, &there] {
        let shown = trees(spans);
        assert_eq!(shown, DESK, "{shown}");
    }
    assert!(only(&here, "invoke_agent desk").parent_span_id.is_empty());
    assert_eq!(only(&there, "invoke_agent desk").parent_span_id, caller.span.get().to_be_bytes());
    for export in collector.exports() {
        assert!(!String::from_utf8_lossy(&export.body).contains(CANARY), "something is quoted");
    }
}

#[tokio::test(start_paused = true)]
async fn spans_have_tokens_cost_times_and_errors_by_the_conventions() {
    let collector = Collector::listen();
    let otlp = otlp(&collector);
    work(TraceId::random(), otlp.observer()).await;
    tokio::time::resume();
    otlp.shutdown(60 * SECOND).await.unwrap();

    let spans = collector.spans();
    let chat = spans.iter().filter(|span| span.name == "chat desk").max_by_key(|span| span.start_time_unix_nano);
    let chat = facts(&chat.unwrap().attributes);
    let chat: Vec<_> = chat.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(chat, CHAT);
    assert_eq!(took(only(&spans, "rate_limit_wait")), 59 * SECOND);
    assert_eq!(took(only(&spans, "attempt slow")), 5 * SECOND);
    let panicked = only(&spans, "execute_tool explode");
    assert_eq!(panicked.status.as_ref().map(|status| (status.code, &*status.message)), Some((2, "panic")));
    assert_eq!(facts(&panicked.attributes)["error.type"], "panic");
    let dollars =
        |span: &Span| facts(&span.attributes).get("gen_ai.usage.cost").map(|cost| cost.parse::<f64>().unwrap());
    let total = &facts(&only(&spans, "invoke_agent desk").attributes)["brigade.cost.nano_usd"];
    let sum: f64 = spans.iter().filter_map(dollars).sum();
    assert_eq!(format!("{:.0}", sum * 1e9), *total, "the calls' cost adds up to the run's");
}

#[tokio::test]
async fn a_trace_is_not_recorded_if_its_caller_does_not_record_it() {
    let collector = Collector::listen();
    let otlp = otlp(&collector);
    let caller: Traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00".parse().unwrap();
    let answer = |trace, observer| async move {
        let run = Run::builder().trace(trace).observer(observer).build();
        Agent::new("oracle", ScriptedModel::new([says()])).run_in(&run, CANARY).await.unwrap();
    };
    answer(caller.trace, otlp.continuing(caller)).await;
    // A header of another trace does not matter.
    let other = TraceId::random();
    answer(other, otlp.continuing(caller)).await;
    otlp.shutdown(60 * SECOND).await.unwrap();
    let spans = collector.spans();
    assert_eq!(of_trace(&spans, other).len(), spans.len());
    assert!(only(&spans, "invoke_agent oracle").parent_span_id.is_empty());
}

#[tokio::test]
async fn a_collector_that_never_answers_delays_neither_runs_nor_the_shutdown() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/v1/traces", silent.local_addr().unwrap());
    let otlp = Otlp::start(&OtlpConfig::default().endpoint(endpoint)).unwrap();
    let began = Instant::now();
    // More spans than the queue of the exporter holds.
    for _ in 0..2_000 {
        let run = Run::builder().observer(otlp.observer()).build();
        Agent::new("oracle", ScriptedModel::new([says()])).run_in(&run, CANARY).await.unwrap();
    }
    let stopped = otlp.shutdown(SECOND / 5).await;
    assert!(matches!(stopped, Err(OtlpError::Shutdown(_))), "{stopped:?}");
    assert!(began.elapsed() < 9 * SECOND, "it waited for the response, which the exporter gives up after 10 s");
}

#[tokio::test]
async fn the_shutdown_exports_unfinished_runs() {
    let collector = Collector::listen();
    let otlp = otlp(&collector);
    let observer = otlp.observer();
    let run = Run::new();
    observer.on_event(&run, &Event::RunStarted);
    otlp.shutdown(60 * SECOND).await.unwrap();
    observer.on_event(&Run::new(), &Event::RunStarted);
    let spans = collector.spans();
    assert_eq!((spans.len(), &*facts(&spans[0].attributes)["brigade.outcome"]), (1, "unfinished"));
}

/// The program that [`the_environment_is_honored`] starts: the same test in another environment.
async fn export_with_the_environment() {
    let otlp = Otlp::start(&OtlpConfig::default()).unwrap();
    for first_digit in 0..8 {
        // The ratio sampler decides by the low half of the trace id.
        let trace = TraceId::from_bits(u128::from(u64::MAX / 8 * first_digit + 1)).unwrap();
        let run = Run::builder().trace(trace).observer(otlp.observer()).build();
        Agent::new("oracle", ScriptedModel::new([says()])).run_in(&run, CANARY).await.unwrap();
    }
    otlp.shutdown(60 * SECOND).await.unwrap();
}

#[tokio::test]
async fn the_environment_is_honored() {
    if std::env::var_os("BRIGADE_TEST_SPEAKS").is_some() {
        return export_with_the_environment().await;
    }
    let collector = Collector::listen();
    let spoken = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_environment_is_honored"])
        .env("BRIGADE_TEST_SPEAKS", "1")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.trim_end_matches("/v1/traces"))
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-team=night%20watch")
        .env("OTEL_SERVICE_NAME", "night-watch")
        .env("OTEL_TRACES_SAMPLER", "traceidratio")
        .env("OTEL_TRACES_SAMPLER_ARG", "0.5")
        .output()
        .unwrap();
    assert!(spoken.status.success(), "{spoken:?}");
    let heads: Vec<String> = collector.exports().into_iter().map(|export| export.head).collect();
    assert!(heads[0].starts_with("post /v1/traces http/1.1\r\n"), "{heads:?}");
    assert!(heads[0].contains("\r\nx-team: night watch\r\n"), "{heads:?}");
    let resource = collector.requests()[0].resource_spans[0].resource.clone().unwrap();
    assert_eq!(facts(&resource.attributes)["service.name"], "night-watch");
    let recorded = collector.spans().iter().filter(|span| span.name == "invoke_agent oracle").count();
    assert!((3..=5).contains(&recorded), "of 8 traces, {recorded} are the half");
}

#[tokio::test]
async fn the_configured_service_name_is_used_without_one_in_the_environment() {
    let collector = Collector::listen();
    let otlp = otlp(&collector);
    let run = Run::builder().observer(otlp.observer()).build();
    Agent::new("oracle", ScriptedModel::new([says()])).run_in(&run, CANARY).await.unwrap();
    otlp.shutdown(60 * SECOND).await.unwrap();
    let resource = collector.requests()[0].resource_spans[0].resource.clone().unwrap();
    assert_eq!(facts(&resource.attributes)["service.name"], "brigade");
    let stopped = otlp.shutdown(SECOND).await;
    assert!(matches!(stopped, Err(OtlpError::Shutdown(_))), "a second shutdown has nothing to stop");
}

#[test]
fn without_a_runtime_there_is_an_error() {
    assert!(matches!(Otlp::start(&OtlpConfig::default()), Err(OtlpError::NoRuntime(_))));
}
