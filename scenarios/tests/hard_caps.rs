//! Hard limits of money against a provider that counts with a real tokenizer, whatever the text.
#![cfg(test)]

use std::{sync::Arc, time::Duration};

use brigade_core::{
    Agent, Budget, ChatModel, ChatRequest, Ledger, ModelErrorKind, ModelExt, ModelId, Money, Pricing, Run, ServedCall,
    Settings, Spending, StopReason, Usage,
};
use brigade_observability::PriceBook;
use brigade_providers::{Anthropic, OpenAi, OpenAiResponses};
use brigade_rehearsal::{
    CallRecord, FaultPlan, Latency, RunningSimulator, Script, ScriptedAnswer, Simulator, WireDialect,
};
use brigade_resilience::{Hedge, RetrySettings, Timeout, Timeouts};
use futures::future::join_all;
use proptest::{collection::vec, prelude::*, sample::select, string::string_regex, test_runner::TestRunner};

const DIALECTS: [WireDialect; 3] = [WireDialect::OpenaiChat, WireDialect::OpenaiResponses, WireDialect::Anthropic];

/// Answers of the simulated models, in tokens about a tenth of the shortest prompts here.
const ANSWER: &str = "The figures are consistent, and nothing needs to be done before the end of the month.";

/// English text that was not written for this test.
const PROSE: &str = concat!(include_str!("../../SECURITY.md"), include_str!("../../CONTRIBUTING.md"));

fn count_tokens(text: &str) -> u64 {
    tiktoken_rs::o200k_base_singleton().count_ordinary(text) as u64
}

fn model_name(dialect: WireDialect) -> &'static str {
    if dialect == WireDialect::Anthropic { "claude-sonnet-4-5" } else { "gpt-5-mini" }
}

async fn simulator(faults: &str) -> RunningSimulator {
    let script = Script::always(ScriptedAnswer::text(ANSWER));
    let latency = Latency::new(Duration::from_millis(5), Duration::ZERO);
    let faults = FaultPlan::from_toml(faults).unwrap();
    let builder = Simulator::builder().script(script).latency(latency).faults(faults);
    builder.tokenizer(count_tokens).build().serve_locally().await.unwrap()
}

fn client(dialect: WireDialect, at: &RunningSimulator) -> Arc<dyn ChatModel> {
    let path = if dialect == WireDialect::Anthropic { "" } else { "/v1" };
    let (base, name) = (format!("{}{path}", at.base_url()), model_name(dialect));
    match dialect {
        WireDialect::OpenaiChat => Arc::new(OpenAi::builder().base_url(base).api_key("k").build().unwrap().model(name)),
        WireDialect::OpenaiResponses => {
            Arc::new(OpenAiResponses::builder().base_url(base).api_key("k").build().unwrap().model(name))
        }
        WireDialect::Anthropic => {
            Arc::new(Anthropic::builder().base_url(base).api_key("k").build().unwrap().model(name))
        }
    }
}

fn cost(call: &CallRecord) -> Money {
    let asked = ModelId::new(if call.dialect == WireDialect::Anthropic { "anthropic" } else { "openai" }, &*call.model);
    let usage = Usage::new(call.usage.input, call.usage.output);
    if usage == Usage::default() {
        return Money::ZERO;
    }
    PriceBook::bundled().cost(&ServedCall::new(&asked), &usage).unwrap()
}

async fn bill(simulator: &RunningSimulator) -> Money {
    simulator.call_log().wait_until_idle().await;
    simulator.call_log().calls().iter().fold(Money::ZERO, |sum, call| sum + cost(call))
}

fn key(cap: Money) -> Ledger {
    Ledger::root("key", Budget::unlimited().money(cap))
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// Asks all texts at once from one key, with answers of at most 256 tokens. Returns the provider's bill.
async fn ask_all(texts: &[String], dialect: WireDialect, key: &Ledger) -> Money {
    let simulator = simulator("").await;
    let model = client(dialect, &simulator).metered(&PriceBook::bundled());
    join_all(texts.iter().map(|text| {
        let (model, run) = (&model, Run::builder().account(key.clone()).build());
        async move {
            let settings = Settings::default().max_output_tokens(Some(256));
            let refused = model.chat(&ChatRequest::new(text).settings(settings), &run).await.err();
            assert!(refused.as_ref().is_none_or(|error| error.kind() == ModelErrorKind::Budget), "{refused:?}");
        }
    }))
    .await;
    bill(&simulator).await
}

/// Texts of one kind, between 500 and 4,000 bytes long.
fn text() -> impl Strategy<Value = String> {
    let kind = select(vec![
        "[0-9]",
        "[0-9]{4},[A-Z][a-z]{2,7},[0-9]{1,4}\\.[0-9]{2},2026-0[1-9]-[0-2][0-9]\n",
        "[A-Za-z0-9+/]{60}\n",
        "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}\n",
        "a\n",
        "[\u{4e00}-\u{9fff}]",
        "[\u{ac00}-\u{d7a3}]",
        "[\u{1f300}-\u{1faff}]",
        "(let|fn|if) [a-z_]{1,9}(\\(\\)|\\[[0-9]\\]) = [a-z]{1,5}::<[A-Z][a-z]{1,6}>\\?;\n {4,12}",
        " (the|of|Because|committee|don't|results)[,.;]?",
        "\\PC",
        "[\\x00-\\x7f]",
    ]);
    kind.prop_flat_map(|kind| (string_regex(&format!("({kind}){{20}}")).unwrap(), 500..4_000_usize)).prop_map(
        |(piece, length)| {
            let mut text = piece.repeat(length.div_ceil(piece.len()));
            text.truncate(text.floor_char_boundary(length));
            text
        },
    )
}

#[test]
fn sixty_four_runs_at_once_never_cost_more_than_the_cap_whatever_the_text() {
    let mut runner = TestRunner::new(ProptestConfig {
        failure_persistence: None,
        max_shrink_iters: 0,
        ..ProptestConfig::with_cases(12)
    });
    let dialects = select(DIALECTS.to_vec());
    runner
        .run(&(vec(text(), 64), dialects, 20..100_u32), |(texts, dialect, percent)| {
            // The cap is a part of what all calls would cost, so that it is met on the way.
            let tokens: u64 = texts.iter().map(|text| count_tokens(text) + 30).sum();
            let rate = if dialect == WireDialect::Anthropic { 3_000 } else { 250 };
            let cap = Money::from_nano(i64::try_from(tokens * rate * u64::from(percent) / 100).unwrap());
            let key = key(cap);
            let billed = block_on(ask_all(&texts, dialect, &key));
            prop_assert!(billed <= cap, "{billed} of {cap}");
            prop_assert_eq!((key.spending().total(), key.outstanding()), (billed, 0));
            Ok(())
        })
        .unwrap();
}

/// Runs an agent again and again, each time with another 6,000 bytes of the text, until its key's budget is used up.
/// Returns the share of the cap that the provider billed.
async fn used_share(text: &str, dialect: WireDialect, cap: Money) -> f64 {
    let simulator = simulator("").await;
    let agent =
        Agent::new("clerk", client(dialect, &simulator).metered(&PriceBook::bundled())).instructions("Check it.");
    let key = key(cap);
    let text = text.repeat(3);
    for number in 0..500 {
        let start = text.floor_char_boundary(number * 397 % (text.len() / 2));
        let end = text.ceil_char_boundary(start + 6_000);
        let run = Run::builder().account(key.clone()).build();
        let outcome = agent.run_in(&run, format!("Part {number}: {}", &text[start..end])).await.unwrap();
        if outcome.stop != StopReason::Finished {
            assert_eq!(outcome.stop, StopReason::Budget, "{}", outcome.notice);
            let billed = bill(&simulator).await;
            assert!(billed <= cap && number > 20, "{billed} of {cap} after {number} runs");
            return billed.as_usd_lossy() / cap.as_usd_lossy();
        }
    }
    unreachable!("the budget never ended");
}

fn caps() -> [(WireDialect, Money); 3] {
    DIALECTS.map(|dialect| (dialect, Money::from_cents(if dialect == WireDialect::Anthropic { 45 } else { 5 })))
}

#[test]
fn prose_can_use_at_least_90_percent_of_a_cap_run_after_run() {
    for (dialect, cap) in caps() {
        let used = block_on(used_share(PROSE, dialect, cap));
        assert!(used >= 0.9, "{used:.3} of {cap} in {dialect:?}");
    }
}

#[test]
fn csv_can_use_at_least_60_percent_of_a_cap_run_after_run() {
    let row = |id: u32| format!("{id},Miller & Sons,{}.{:02},2026-03-{:02}\n", id % 977, id % 100, 1 + id % 28);
    let csv: String = (1_000..2_000).map(row).collect();
    for (dialect, cap) in caps() {
        let used = block_on(used_share(&csv, dialect, cap));
        assert!(used >= 0.6, "{used:.3} of {cap} in {dialect:?}");
    }
}

/// How a call that brings no answer ends for its caller.
#[derive(Debug, Clone, Copy)]
enum Ending {
    TimesOut,
    IsCancelled,
    LosesAHedge,
}

#[test]
fn a_call_that_showed_nothing_books_all_that_it_reserved_and_the_provider_bills_less() {
    for dialect in DIALECTS {
        for streams in [false, true] {
            for ending in [Ending::TimesOut, Ending::IsCancelled, Ending::LosesAHedge] {
                block_on(unseen_answer(dialect, streams, ending));
            }
        }
    }
}

async fn unseen_answer(dialect: WireDialect, streams: bool, ending: Ending) {
    let slow =
        "[[fault]]\nid = \"slow\"\nmatch = { call = 1 }\nat = { before_headers = true }\ndo = { stall = \"20s\" }";
    let simulator = simulator(slow).await;
    let model = client(dialect, &simulator).metered(&PriceBook::bundled());
    let run = Run::builder().account(key(Money::from_dollars(5))).deltas(streams).build();
    let request = ChatRequest::new("Is it so?").settings(Settings::default().max_output_tokens(Some(2_000)));
    let moment = Duration::from_millis(200);
    match ending {
        Ending::TimesOut => {
            let mut timeouts = Timeouts::default();
            (timeouts.first_delta, timeouts.attempt) = (moment, moment);
            let error = Timeout::new(model, timeouts).chat(&request, &run).await.unwrap_err();
            assert!(matches!(error.kind(), ModelErrorKind::Timeout(_)), "{error}");
        }
        Ending::IsCancelled => drop(tokio::time::timeout(moment, model.chat(&request, &run)).await.unwrap_err()),
        Ending::LosesAHedge => {
            let hedged = Hedge::new(model, moment, RetrySettings::default());
            hedged.chat(&request, &run).await.unwrap();
        }
    }
    let spent = run.ledger().spending();
    let output_rate = if dialect == WireDialect::Anthropic { 15_000 } else { 2_000 };
    let output = Money::from_nano(2_000 * output_rate);
    let billed = bill(&simulator).await;
    let what = format!("{dialect:?}, {streams}, {ending:?}: {spent:?}, billed {billed}");
    assert!(spent.uncertain > output && spent.total() >= billed, "{what}");
    assert!(spent.uncertain < output + Money::from_cents(1), "{what}");
    assert!(spent.usage.output_tokens < 100 && spent.uncertain_tokens > 2_000, "{what}");
}

/// Of three calls one is refused, one breaks before its answer begins, and one is answered.
const STORM: &str = r#"
[[fault]]
id = "refused"
match = { last_user_contains = "refused" }
do = { status = 503 }
[[fault]]
id = "reset"
match = { last_user_contains = "reset" }
at = { before_headers = true }
do = { then = "reset" }
"#;

#[test]
fn a_storm_of_faults_leaves_as_uncertain_only_what_was_in_flight_or_unread() {
    for dialect in DIALECTS {
        let (spent, reserved) = block_on(storm(dialect));
        assert_eq!(spent.calls, 20 + 20 + 1, "{dialect:?}: the refused calls are free");
        assert_eq!(spent.uncertain, reserved.times(20 + 1), "{dialect:?}");
    }
}

/// Sends twenty calls of each kind at once, and then drops one. Returns the spending and what each call reserved.
async fn storm(dialect: WireDialect) -> (Spending, Money) {
    let simulator = simulator(STORM).await;
    let model = client(dialect, &simulator).metered(&PriceBook::bundled());
    let run = Run::builder().account(key(Money::from_dollars(5))).build();
    let ask = |task: &'static str| {
        let request = ChatRequest::new(task).settings(Settings::default().max_output_tokens(Some(500)));
        let (model, run) = (&model, &run);
        async move { model.chat(&request, run).await.is_ok() }
    };
    let tasks = ["refused", "reset!!", "is fine"].repeat(20);
    let answered = join_all(tasks.into_iter().map(ask)).await.into_iter().filter(|ok| *ok).count();
    assert_eq!(answered, 20);
    assert_eq!(run.ledger().outstanding(), 0);
    let mut dropped = Box::pin(ask("is fine"));
    assert!(futures::poll!(&mut dropped).is_pending());
    let reserved = run.ledger().reserved();
    drop(dropped);
    (run.ledger().spending(), reserved)
}
