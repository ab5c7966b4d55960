//! One team with every production pattern. It answers a first question, and then one per line of standard input.

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::{env, time::Duration};

use axum::{Router, http::StatusCode, routing::get};
use brigade_core::{Agent, Budget, ContextWindow, Ledger, LocalMemory, ModelExt, OnFailure, Run, Task, Window, Worker};
use brigade_examples::{calculator, search, two_workers};
use brigade_observability::{Logging, Metrics, MetricsConfig, PriceBook};
use brigade_providers::{Anthropic, OpenAi};
use brigade_resilience::{Accounts, FallbackModel, Policy};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

async fn production() -> anyhow::Result<()> {
    // Every log line of a run, its workers and its tools has the same trace id.
    let _logging = Logging::new().level("info").init()?;
    let metrics = Metrics::install(&MetricsConfig::default().agent("desk").agent("researcher").agent("estimator"))?;
    let (openai, anthropic) = (OpenAi::from_env()?, Anthropic::from_env()?);
    let (prices, accounts) = (PriceBook::bundled(), Accounts::new());

    // The standard stack around each model: timeout, rate limit, circuit breaker, retry, fallback.
    let mut policy = Policy::default();
    policy.timeouts.attempt = Duration::from_mins(1);
    policy.retry.attempts = 3;
    let mut limited = policy.clone();
    limited.limits.requests_per_minute = Some(60); // one token bucket for both workers
    let mini = limited.wrap(openai.model("gpt-5-mini").metered(&prices), [], &accounts);
    let claude = anthropic.model("claude-sonnet-4-5").metered(&prices);
    let claude = policy.wrap(claude, [FallbackModel::new(mini.clone())], &accounts);

    // Each worker has only the tools that it needs, a timeout, and a text that replaces its answer if it fails.
    let researcher =
        Agent::new("researcher", mini.clone()).instructions("You are researcher. Cite facts.").tool(search());
    let estimator = Agent::new("estimator", mini).instructions("You are estimator. Calculate.").tool(calculator());
    let worker = |agent, fallback: &str| {
        Worker::new(agent).timeout(Duration::from_secs(30)).on_failure(OnFailure::fallback(fallback)).max_calls(3)
    };

    // The run ends at 12 turns, at 50 cents or after five minutes, whatever the model wants.
    let desk = Agent::new("desk", claude)
        .instructions("You are desk. Plan the work, delegate it, then answer in your own words.")
        .worker(worker(researcher, "No research available."))
        .worker(worker(estimator, "No estimate available."))
        .memory(LocalMemory::new())
        .window(ContextWindow::default().max_tokens(50_000))
        .budget(Budget::default().usd("0.50")?.turns(12).wall(Duration::from_mins(5)))
        .observer(metrics.observer());
    let process = Ledger::root("process", Budget::default().usd("20.00")?.per(Window::Day));
    metrics.watch_budget("process", &process);

    // Liveness depends on nothing else. Readiness asks both providers for their lists of models, which costs nothing.
    let ready = move || async move {
        let is_ready = openai.probe().await.is_ok() && anthropic.probe().await.is_ok();
        if is_ready { (StatusCode::OK, "ok\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "no provider\n") }
    };
    let routes = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(move || async move { metrics.render() }));
    let _server = brigade_examples::serve(routes).await?;

    let mut lines = BufReader::new(stdin()).lines();
    let mut question = env::args().nth(1).or_else(|| Some("Should we move our queue from SQS to Kafka?".into()));
    while let Some(task) = question {
        let run = Run::builder().account(process.clone()).build();
        let outcome = desk.run_in(&run, Task::from(task).session("console")).await?;
        println!("{}\n\n{}", outcome.text, outcome.summary());
        question = lines.next_line().await?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    brigade_examples::run(two_workers(), production).await
}
