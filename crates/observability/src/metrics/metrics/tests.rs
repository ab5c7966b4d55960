use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    process::{Command, Stdio},
};

use brigade_core::{
    Agent, BreakerState, Budget, Cap, Certainty, Charge, Delta, Estimate, Ledger, ModelErrorKind, ModelExt, Money,
    Quantity, Rate, Rates, ToolOutput, ToolStatus, Usage, Window,
    testing::{ScriptedModel, Turn, all_events},
};

use super::*;
use crate::{LogTarget, Logging, MetricsHandle, PriceBook, Storage};

mod deploy;

const SECOND: Duration = Duration::from_secs(1);

fn mini() -> ModelId {
    ModelId::new("openai", "gpt-5-mini")
}

fn claude() -> ModelId {
    ModelId::new("anthropic", "claude-sonnet-4-5")
}

fn config() -> MetricsConfig {
    MetricsConfig::default().agent("desk").agent("critic").model(mini()).model(claude()).tool("lookup")
}

/// The charge of a call with every kind of token.
fn charge(certainty: Certainty) -> Charge {
    let usage = Usage::new(100, 10).cache_read_tokens(Some(60)).cache_write_tokens(Some(20)).reasoning_tokens(Some(5));
    Charge::new(certainty, usage, Some(Money::from_nano(1_500_000_001)))
}

/// A run of the desk with every event, and then some runs that end, well and badly.
pub(crate) fn exercised(config: &MetricsConfig) -> MetricsHandle {
    let handle = Metrics::local(config).unwrap();
    handle.watch_storage(|| Storage::working().failing(true).lost_writes(2).forgotten_keys(3));
    handle.watch_waiting_runs(|| 4);
    handle.watch_webhook(|| 5);
    let observer = handle.observer();
    let desk = Run::new().child("desk", Budget::unlimited()).unwrap();
    let critic = desk.child("critic", Budget::unlimited()).unwrap();
    let is_end = |event: &Event| matches!(event, Event::RunEnded { .. } | Event::RunFailed { .. });
    let (ends, others): (Vec<_>, Vec<_>) = all_events().into_iter().partition(is_end);
    let attempt = |error, certainty| {
        [
            Event::AttemptStarted { model: mini() },
            Event::AttemptEnded { model: mini(), error, charge: Some(charge(certainty)), elapsed: SECOND },
        ]
    };
    let failed = attempt(Some(ModelErrorKind::Overloaded), Certainty::Uncertain);
    let tool = |tool: &str, outcome| Event::ToolEnded {
        tool: tool.into(),
        call_id: "2".into(),
        outcome,
        reason: None,
        elapsed: SECOND,
    };
    let tools = [tool("lookup", ToolStatus::Ok), tool("critic", ToolStatus::Timeout)];
    for event in others.into_iter().chain(failed).chain(attempt(None, Certainty::Estimated)).chain(tools) {
        observer.on_event(&desk, &event);
    }
    observer.on_event(&critic, &Event::RunStarted);
    for end in ends {
        let run = if matches!(end, Event::RunFailed { .. }) { &critic } else { &desk };
        observer.on_event(run, &end);
    }
    observer.on_event(&Run::new().child("desk", Budget::unlimited()).unwrap(), &Event::RunStarted);
    observer.request_failed("too_many_runs");
    observer.approvals_pending(2);
    observer.approval_answered(true);
    observer.approval_answered(false);
    handle.watch_prices(&PriceBook::bundled());
    let target = LogTarget::File("/dev/null".into());
    let (_layer, logging) = Logging::new().target(target).layer::<tracing_subscriber::Registry>().unwrap();
    handle.watch_logging(&logging);
    handle
        .watch_budget("process", &Ledger::root("process", Budget::unlimited().money(Money::from_nano(2_500_000_000))));
    handle
}

pub(crate) fn name_of(event: &Event) -> String {
    let debug = format!("{event:?}");
    debug.split([' ', '(']).next().unwrap_or_default().to_owned()
}

/// The metrics that an event changes.
fn changed_by(event: &Event) -> BTreeSet<String> {
    let handle = Metrics::local(&config()).unwrap();
    handle.observer().on_event(&Run::new().child("desk", Budget::unlimited()).unwrap(), event);
    let text = handle.render();
    let samples = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#') && !line.ends_with(" 0"));
    let names = samples.map(|line| line.split(['{', ' ']).next().unwrap_or_default());
    names.filter(|name| !name.ends_with("_bucket") && !name.ends_with("_sum")).map(str::to_owned).collect()
}

/// The samples without histograms, sorted.
fn samples(text: &str) -> BTreeMap<String, String> {
    let is_sample = |line: &&str| !line.starts_with('#') && !line.is_empty() && !line.contains("_seconds");
    let pairs = text.lines().filter(is_sample).filter_map(|line| line.rsplit_once(' '));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[track_caller]
fn assert_shows(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|shown| shown == *line), "no `{line}` in\n{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_event_changes_its_metrics_or_none() {
    let tokens = |kind| format!("gen_ai_client_inference_usage_{kind}_tokens_total");
    let attempt = [
        "brigade_attempts_total".to_owned(),
        "brigade_cost_usd_total".to_owned(),
        "gen_ai_client_inference_duration_seconds_count".to_owned(),
        tokens("cache_read_input"),
        tokens("cache_write_input"),
        tokens("input"),
        tokens("output"),
        tokens("reasoning_output"),
    ];
    let attempt: Vec<_> = attempt.iter().map(String::as_str).collect();
    let invoke_agent = "gen_ai_invoke_agent_duration_seconds_count";
    let expected: [(&str, &[&str]); 29] = [
        ("RunStarted", &["brigade_runs_in_flight"]),
        ("Resumed", &["brigade_runs_in_flight"]),
        ("TurnStarted", &[]), // the end of the run counts its turns
        ("RateLimitWaited", &["brigade_rate_limit_wait_seconds_count"]),
        ("AttemptStarted", &[]), // starts a timer
        ("Delta", &[]),          // the first one of an attempt records the time to the first chunk
        ("AttemptEnded", &attempt),
        ("Retrying", &["brigade_retries_total"]),
        ("ReplyRestarted", &[]), // the retry or fallback before it is counted
        ("RetrySuppressed", &["brigade_retries_suppressed_total"]),
        ("BreakerChanged", &["brigade_breaker_state"]),
        ("FellBack", &["brigade_fallbacks_total"]),
        ("RateLimitsReported", &["brigade_rate_limit_remaining"]),
        ("WireQuirk", &["brigade_wire_quirks_total"]),
        ("TurnEnded", &["brigade_usage_missing_total"]),
        ("ToolStarted", &[]), // starts a timer
        ("ToolEnded", &["brigade_tool_calls_total", "gen_ai_execute_tool_duration_seconds_count"]),
        ("UnknownTool", &["brigade_tool_calls_total"]),
        ("WorkerFailed", &["brigade_worker_failures_total"]),
        ("LoopNoticed", &["brigade_loop_detected_total"]),
        ("Trimmed", &[]), // of interest within one run only, as the next two
        ("AnswerRejected", &[]),
        ("HandedOff", &[]),
        ("Degraded", &["brigade_degraded_total"]),
        ("BudgetWarning", &["brigade_budget_warnings_total"]),
        ("BudgetRefused", &["brigade_budget_refusals_total"]),
        (
            "RunEnded",
            &["brigade_run_duration_seconds_count", "brigade_runs_total", "brigade_turns_per_run_count", invoke_agent],
        ),
        ("RunFailed", &["brigade_run_duration_seconds_count", "brigade_runs_total", invoke_agent]),
        ("RunWaiting", &["brigade_runs_total"]), // it goes on later
    ];
    let expected: Vec<_> = expected.map(|(event, metrics)| (event.to_owned(), metrics.to_vec())).into();
    let changed: Vec<_> = all_events().iter().map(|event| (name_of(event), changed_by(event))).collect();
    let changed: Vec<_> =
        changed.iter().map(|(event, metrics)| (event.clone(), metrics.iter().map(String::as_str).collect())).collect();
    assert_eq!(changed, expected);
}

#[tokio::test(start_paused = true)]
async fn every_event_is_counted_under_configured_names_only() {
    let text = exercised(&config()).render();
    assert_shows(
        &text,
        &[
            r#"brigade_cost_usd_total{provider="openai",model="gpt-5-mini",agent="desk",kind="charged"} 1.500000001"#,
            r#"brigade_cost_usd_total{provider="openai",model="gpt-5-mini",agent="desk",kind="uncertain"} 1.500000001"#,
            r#"brigade_runs_total{agent="desk",outcome="finished"} 1"#,
            r#"brigade_runs_total{agent="critic",outcome="provider_overloaded"} 1"#,
            r#"brigade_runs_in_flight{agent="desk"} 1"#,
            r#"brigade_runs_in_flight{agent="critic"} 0"#,
            r#"brigade_attempts_total{provider="openai",model="gpt-5-mini",outcome="ok"} 2"#,
            r#"brigade_attempts_total{provider="openai",model="gpt-5-mini",outcome="provider_overloaded"} 1"#,
            r#"brigade_retries_total{reason="provider_overloaded"} 1"#,
            r#"brigade_retries_suppressed_total{reason="provider_overloaded"} 1"#,
            r#"brigade_fallbacks_total{from="openai/gpt-5-mini",to="anthropic/claude-sonnet-4-5",reason="provider_overloaded"} 1"#,
            r#"brigade_breaker_state{provider="openai",model="gpt-5-mini"} 2"#,
            r#"brigade_rate_limit_remaining{provider="openai",model="gpt-5-mini",dimension="requests"} 7"#,
            r#"brigade_tool_calls_total{tool="lookup",outcome="ok"} 1"#,
            r#"brigade_tool_calls_total{tool="critic",outcome="timeout"} 1"#,
            r#"brigade_tool_calls_total{tool="other",outcome="unknown"} 1"#,
            r#"brigade_worker_failures_total{worker="critic",policy="fallback"} 1"#,
            r#"brigade_loop_detected_total{kind="tool_call"} 1"#,
            r#"brigade_budget_refusals_total{scope="process",quantity="turns"} 1"#,
            r#"brigade_budget_warnings_total{scope="process",quantity="turns"} 1"#,
            r#"brigade_usage_missing_total{provider="openai",model="gpt-5-mini"} 1"#,
            r#"brigade_wire_quirks_total{kind="unknown_event"} 1"#,
            r#"brigade_degraded_total{part="session"} 1"#,
            r#"brigade_request_errors_total{code="too_many_runs"} 1"#,
            "brigade_approvals_pending 2",
            r#"brigade_approvals_answered_total{decision="denied"} 1"#,
            r#"brigade_budget_limit_usd{scope="process"} 2.5"#,
            r#"brigade_budget_remaining_usd{scope="process"} 2.5"#,
            r#"brigade_turns_per_run_sum{agent="desk"} 2"#,
            r#"gen_ai_client_inference_usage_input_tokens_total{gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_request_model="gpt-5-mini"} 200"#,
            r#"gen_ai_client_inference_usage_cache_read_input_tokens_total{gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_request_model="gpt-5-mini"} 120"#,
            r#"gen_ai_client_inference_duration_seconds_bucket{gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_request_model="gpt-5-mini",error_type="provider_overloaded",le="1.28"} 1"#,
            r#"gen_ai_invoke_agent_duration_seconds_count{gen_ai_agent_name="critic",error_type="provider_overloaded"} 1"#,
            r#"gen_ai_execute_tool_duration_seconds_count{gen_ai_tool_name="lookup"} 1"#,
        ],
    );
    assert!(!text.contains("secret") && !text.contains("rm -rf"), "{text}");
    assert!(!text.contains("quantile="), "a histogram without buckets");
    assert!(!text.contains("nano"));
}

#[tokio::test(start_paused = true)]
async fn every_metric_has_its_help_and_type() {
    let text = exercised(&config()).render();
    let family = |line: &str| {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        base.unwrap_or(name).to_owned()
    };
    let of = |prefix: &str| -> BTreeSet<String> {
        text.lines().filter_map(|line| line.strip_prefix(prefix)).map(family).collect()
    };
    let shown: BTreeSet<String> =
        text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(family).collect();
    assert_eq!(of("# HELP "), shown);
    assert_eq!(of("# TYPE "), shown);
}

#[tokio::test(start_paused = true)]
async fn promtool_accepts_the_text() {
    let Ok(mut promtool) =
        Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn()
    else {
        brigade_core::testing::skip_test("metrics by promtool", "promtool is not installed");
        return;
    };
    let text = exercised(&config()).render();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let complaints = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && complaints.is_empty(), "{complaints}\n{text}");
}

#[tokio::test(start_paused = true)]
async fn unknown_names_make_no_series() {
    let handle = Metrics::local(&config()).unwrap();
    let observer = handle.observer();
    let series = || handle.render().lines().filter(|line| !line.starts_with('#')).count();
    let noise = |number: u32| {
        let name: Arc<str> = format!("name-{number}").into();
        let model = ModelId::new(Arc::clone(&name), Arc::clone(&name));
        let run = Run::new().child(&name, Budget::unlimited()).unwrap();
        let elapsed = SECOND;
        let call_id: Arc<str> = "1".into();
        let refused =
            Event::BudgetRefused { scope: Arc::clone(&name), quantity: Some(Quantity::Tokens), limit: "".into() };
        for event in [
            Event::RunStarted,
            Event::AttemptEnded { model: model.clone(), error: None, charge: None, elapsed },
            Event::FellBack { from: model.clone(), to: model.clone(), reason: ModelErrorKind::Auth },
            Event::BreakerChanged { model, state: BreakerState::Open },
            Event::ToolEnded { tool: Arc::clone(&name), call_id, outcome: ToolStatus::Ok, reason: None, elapsed },
            Event::UnknownTool { name: Arc::clone(&name) },
            Event::WorkerFailed { worker: name, policy: "isolate".into(), reason: "late".into() },
            refused,
            Event::RunFailed { kind: None, message: "m".into(), elapsed },
        ] {
            observer.on_event(&run, &event);
        }
    };
    noise(0);
    let first = series();
    (1..10_000).for_each(noise);
    assert_eq!(series(), first);
    let text = handle.render();
    assert!(!text.contains("name-"), "{text}");
    assert_shows(&text, &[r#"brigade_tool_calls_total{tool="other",outcome="unknown"} 10000"#]);
}

#[tokio::test(start_paused = true)]
async fn names_can_be_added_later() {
    let handle = Metrics::local(&config()).unwrap();
    let observer = handle.observer();
    let asked = |agent: &str| {
        observer.on_event(&Run::new().child(agent, Budget::unlimited()).unwrap(), &Event::RunStarted);
    };
    ["desk", "porter"].into_iter().for_each(asked);
    observer.add_names(&MetricsConfig::default().agent("porter").agent("desk"));
    ["desk", "porter", "stranger"].into_iter().for_each(asked);
    assert_shows(
        &handle.render(),
        &[
            r#"brigade_runs_in_flight{agent="desk"} 2"#,
            r#"brigade_runs_in_flight{agent="porter"} 1"#,
            r#"brigade_runs_in_flight{agent="other"} 2"#,
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn what_remains_of_a_budget_is_of_its_own_limit_soft_or_hard() {
    let dollars = Money::from_dollars;
    let handle = Metrics::local(&config()).unwrap();
    let process = Ledger::root("process", Budget::unlimited().money(dollars(3)));
    let mut soft = Budget::unlimited().per(Window::Day);
    soft.usd = Some(Cap::soft(dollars(8)));
    let key = process.child("key", soft);
    let run = key.child("run", Budget::unlimited().money(dollars(5)));
    for (scope, ledger) in [("process", &process), ("key", &key), ("run", &run)] {
        handle.watch_budget(scope, ledger);
    }
    let rates = Rates::new(Rate::per_million(dollars(1)), Rate::default());
    let reserve = || {
        let estimate = Estimate::new(1_000_000, 0).rates(rates);
        run.reserve(&"desk".into(), &ModelId::new("acme", "m"), estimate, false).unwrap()
    };
    reserve().settle(&Charge::new(Certainty::Charged, Usage::new(1_000_000, 0), Some(dollars(1))));
    let _reserved = reserve();
    let samples = samples(&handle.render());
    let remaining = |scope| &*samples[&*format!("brigade_budget_remaining_usd{{scope=\"{scope}\"}}")];
    assert_eq!(["process", "key", "run"].map(remaining), ["1", "6", "3"]);
}

#[tokio::test(start_paused = true)]
async fn a_budget_can_be_replaced_and_becomes_nan_when_forgotten() {
    let handle = Metrics::local(&config()).unwrap();
    let of = |nano| Ledger::root("key", Budget::unlimited().money(Money::from_nano(nano)));
    handle.watch_budget("key", &of(1_000_000_000));
    handle.watch_budget("key", &of(2_000_000_000));
    assert_eq!(samples(&handle.render())[r#"brigade_budget_limit_usd{scope="key"}"#], "2");
    handle.forget_budget("key");
    assert_eq!(samples(&handle.render())[r#"brigade_budget_limit_usd{scope="key"}"#], "NaN");
    handle.watch_budget("key", &of(3_000_000_000));
    assert_eq!(samples(&handle.render())[r#"brigade_budget_limit_usd{scope="key"}"#], "3");
}

#[tokio::test(start_paused = true)]
async fn series_past_the_limit_are_dropped_and_counted() {
    let tools: Vec<Arc<str>> = (0..10_000).map(|number| format!("tool-{number}").into()).collect();
    let config = MetricsConfig { tools: tools.clone(), ..config() }.max_series(500);
    let handle = Metrics::local(&config).unwrap();
    let (observer, run) = (handle.observer(), Run::new());
    for tool in tools {
        observer.on_event(
            &run,
            &Event::ToolEnded { tool, call_id: "1".into(), outcome: ToolStatus::Ok, reason: None, elapsed: SECOND },
        );
    }
    let text = handle.render();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).count();
    assert!((400..=501).contains(&lines), "{lines}");
    let dropped: u32 = samples(&text)["brigade_metric_samples_dropped_total"].parse().unwrap();
    assert!(dropped > 19_000, "{dropped}");
}

#[tokio::test(start_paused = true)]
async fn the_earlier_convention_has_its_own_names() {
    let config = config().convention(Convention::ClientOperation);
    let text = exercised(&config).render();
    assert!(!text.contains("gen_ai_client_inference"), "{text}");
    assert!(text.contains("gen_ai_client_operation_duration_seconds_bucket"));
    assert!(text.contains(r#"gen_ai_token_type="output",le="16"} 2"#), "{text}");
}

#[tokio::test(start_paused = true)]
async fn the_time_to_the_first_chunk_is_measured_once_per_attempt() {
    let handle = Metrics::local(&config()).unwrap();
    let (observer, run) = (handle.observer(), Run::new());
    let say = |event| observer.on_event(&run, &event);
    say(Event::RunStarted);
    say(Event::AttemptStarted { model: mini() });
    tokio::time::sleep(2 * SECOND).await;
    for _ in 0..3 {
        say(Event::Delta(Delta::Text("a".to_owned())));
    }
    let text = handle.render();
    let sum = text.lines().find(|line| line.starts_with("gen_ai_client_inference_time_to_first_chunk_seconds_sum"));
    assert!(sum.unwrap().ends_with("} 2"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn time_in_models_and_tools_is_not_overhead() {
    let handle = Metrics::local(&config()).unwrap();
    let slow = brigade_core::tool_fn("lookup", "Looks a word up.", |_: serde_json::Value, _: Run| async {
        tokio::time::sleep(30 * SECOND).await;
        Ok::<_, brigade_core::ToolError>(ToolOutput::text("a word"))
    });
    let script = [Turn::call("1", "lookup", serde_json::json!({})), Turn::text("Done.")].map(|turn| turn.after(SECOND));
    let model = ScriptedModel::new(script).metered(&PriceBook::bundled());
    let agent = Agent::new("desk", model).tool(slow).observer(handle.observer());
    tokio::time::sleep(SECOND).await;
    agent.run("Look a word up.").await.unwrap();
    let text = handle.render();
    assert_shows(&text, &[r#"brigade_overhead_seconds_sum{agent="desk"} 0"#]);
    assert_shows(&text, &[r#"brigade_run_duration_seconds_sum{agent="desk"} 32"#]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_run_is_counted_and_no_longer_in_flight() {
    let handle = Metrics::local(&config()).unwrap();
    let model = ScriptedModel::new([Turn::text("Too late.").after(Duration::from_mins(1))]);
    let agent = Agent::new("desk", model.metered(&PriceBook::bundled())).observer(handle.observer());
    assert!(tokio::time::timeout(SECOND, agent.run("Work.")).await.is_err());
    assert_shows(
        &handle.render(),
        &[
            r#"brigade_runs_in_flight{agent="desk"} 0"#,
            r#"brigade_runs_total{agent="desk",outcome="caller_cancelled"} 1"#,
            r#"brigade_overhead_seconds_sum{agent="desk"} 0"#,
        ],
    );
}

#[test]
fn without_a_runtime_there_is_an_error_not_a_panic() {
    assert!(matches!(Metrics::local(&config()), Err(crate::MetricsError::NoRuntime(_))));
}

#[tokio::test(start_paused = true)]
async fn the_state_of_a_breaker_is_read_when_it_is_scraped() {
    let handle = Metrics::local(&config()).unwrap();
    let model = ModelId::new("openai", "gpt-5-mini");
    let opened = Event::BreakerChanged { model: model.clone(), state: BreakerState::Open };
    handle.observer().on_event(&Run::new(), &opened);
    let state = Arc::new(std::sync::Mutex::new(BreakerState::Open));
    let source = Arc::clone(&state);
    handle.watch_breakers(move || vec![(model.clone(), *source.lock().unwrap())]);
    for (now, shown) in [(BreakerState::Open, 2), (BreakerState::HalfOpen, 1), (BreakerState::Closed, 0)] {
        *state.lock().unwrap() = now;
        let line = format!(r#"brigade_breaker_state{{provider="openai",model="gpt-5-mini"}} {shown}"#);
        assert_shows(&handle.render(), &[&line]);
    }
}

#[tokio::test(start_paused = true)]
async fn every_duration_within_a_runs_default_deadline_has_a_bucket() {
    let handle = exercised(&config());
    let (run, tool, call_id) = (Run::new(), Arc::<str>::from("lookup"), Arc::<str>::from("1"));
    let elapsed = Duration::from_mins(15);
    let model = ModelId::new("openai", "gpt-5-mini");
    for event in [
        Event::ToolEnded { tool, call_id, outcome: ToolStatus::Ok, reason: None, elapsed },
        Event::AttemptEnded { model: model.clone(), error: None, charge: None, elapsed },
        Event::RateLimitWaited { model: model.clone(), waited: elapsed },
        Event::Retrying { model, attempt: 2, reason: ModelErrorKind::Overloaded, delay: Duration::MAX },
    ] {
        handle.observer().on_event(&run, &event);
    }
    let text = handle.render();
    for metric in [
        "gen_ai_execute_tool_duration_seconds",
        "gen_ai_client_inference_duration_seconds",
        "brigade_rate_limit_wait_seconds",
        "brigade_run_duration_seconds",
        "gen_ai_invoke_agent_duration_seconds",
    ] {
        let bounds = text.lines().filter(|line| line.starts_with(&format!("{metric}_bucket")));
        let bounds = bounds.filter_map(|line| line.split("le=\"").nth(1)?.split('"').next()?.parse::<f64>().ok());
        let largest = bounds.filter(|bound| bound.is_finite()).fold(0.0, f64::max);
        assert!(largest >= 900.0, "{metric}: {largest}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_counters_of_failures_start_at_zero_for_every_known_name() {
    let handle = Metrics::local(&config()).unwrap();
    handle.observer().add_names(&MetricsConfig::default().agent("porter"));
    assert_shows(
        &handle.render(),
        &[
            r#"brigade_runs_total{agent="desk",outcome="finished"} 0"#,
            r#"brigade_runs_total{agent="critic",outcome="internal_error"} 0"#,
            r#"brigade_runs_total{agent="porter",outcome="provider_overloaded"} 0"#,
            r#"brigade_attempts_total{provider="openai",model="gpt-5-mini",outcome="ok"} 0"#,
            r#"brigade_attempts_total{provider="anthropic",model="claude-sonnet-4-5",outcome="provider_timeout_idle"} 0"#,
            r#"brigade_usage_missing_total{provider="openai",model="gpt-5-mini"} 0"#,
            r#"brigade_budget_refusals_total{scope="process",quantity="usd"} 0"#,
        ],
    );
    let names = (0..10_000).fold(MetricsConfig::default(), |config, number| config.agent(format!("agent-{number}")));
    let crowded = Metrics::local(&names).unwrap();
    crowded.observer().on_event(&Run::new().child("agent-7", Budget::unlimited()).unwrap(), &Event::RunStarted);
    assert_shows(&crowded.render(), &[r#"brigade_runs_in_flight{agent="agent-7"} 1"#]);
}
