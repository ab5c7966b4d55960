//! One team with every production pattern. It answers a first question, and then one per line of standard input.

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::{env, io::stdin, iter, time::Duration};

use axum::{Router, http::StatusCode, routing::get};
use brigade_core::{Agent, Budget, ContextWindow, Ledger, LocalMemory, ModelExt, OnFailure, Run, Task, Worker};
use brigade_examples::{calculator, search};
use brigade_observability::{LogFormat, Logging, Metrics, MetricsConfig, MetricsHandle, PriceBook};
use brigade_providers::{Anthropic, OpenAi};
use brigade_resilience::{Accounts, FallbackModel, Policy, RateLimitSettings, RetrySettings};
use futures::{FutureExt as _, future::select_ok};

pub(crate) fn team(openai: &OpenAi, anthropic: &Anthropic, metrics: &MetricsHandle) -> anyhow::Result<Agent> {
    // The standard stack around each model: timeout, rate limit, circuit breaker, retry, fallback.
    let (prices, accounts) = (PriceBook::bundled(), Accounts::new());
    let policy = Policy::default().retry(RetrySettings::default().attempts(3));
    let limits = RateLimitSettings::default().requests_per_minute(60); // one token bucket for both workers
    let mini = openai.model("gpt-5-mini").metered(&prices);
    let mini = policy.clone().limits(limits).wrap(mini, [], &accounts);
    let claude = anthropic.model("claude-sonnet-4-5").metered(&prices);
    let claude = policy.wrap(claude, [FallbackModel::new(mini.clone())], &accounts);
    // Only these names may be labels of metrics. A model can invent any number of others.
    let names = MetricsConfig::default().agent("desk").agent("researcher").agent("estimator").tool("search");
    metrics.observer().add_names(&names.tool("calculate").model(mini.id().clone()).model(claude.id().clone()));

    // Each worker has only the tools that it needs, a timeout, and a text that replaces its answer if it fails.
    let worker = |agent, text: &str| {
        Worker::new(agent).timeout(Duration::from_secs(30)).on_failure(OnFailure::fallback(text)).max_calls(3)
    };
    let researcher = Agent::new("researcher", mini.clone()).instructions("You are researcher. Cite each fact.");
    let estimator = Agent::new("estimator", mini).instructions("You are estimator. Calculate, do not guess.");
    // A run ends at 12 turns, at 50 cents or after five minutes, whatever the model wants.
    Ok(Agent::new("desk", claude)
        .instructions("You are desk. Plan the work, delegate it, then answer in your own words.")
        .worker(worker(researcher.tool(search()), "No research available."))
        .worker(worker(estimator.tool(calculator()), "No estimate available."))
        .memory(LocalMemory::new())
        .window(ContextWindow::default().max_tokens(50_000))
        .limits(brigade_core::TurnLimits::default().turns(12))
        .budget(Budget::default().usd("0.50")?.wall(Duration::from_mins(5)))
        .observer(metrics.observer()))
}

// Liveness depends on nothing else. The process is ready while one provider lists its models, which costs nothing.
pub(crate) fn routes(openai: OpenAi, anthropic: Anthropic, metrics: MetricsHandle) -> Router {
    let ready = move || async move {
        let probes = select_ok([openai.probe().boxed(), anthropic.probe().boxed()]);
        match tokio::time::timeout(Duration::from_secs(5), probes).await {
            Ok(Ok(_)) => return (StatusCode::OK, "ok\n"),
            Ok(Err(problem)) => tracing::warn!("provider down: {problem}"),
            Err(late) => tracing::warn!("provider down: {late}"),
        }
        (StatusCode::SERVICE_UNAVAILABLE, "no provider is up\n")
    };
    let routes = Router::new().route("/livez", get("ok\n")).route("/readyz", get(ready));
    routes.route("/metrics", get(move || async move { metrics.render() }))
}

#[tokio::main]
pub(crate) async fn main() -> anyhow::Result<()> {
    brigade_examples::run(brigade_examples::two_workers(), async || {
        let _logging = Logging::new().format(LogFormat::Json).level("info").init()?; // each line has its trace id
        let metrics = Metrics::install(&MetricsConfig::default())?;
        let (openai, anthropic) = (OpenAi::from_env()?, Anthropic::from_env()?);
        let desk = team(&openai, &anthropic, &metrics)?;
        let process = Ledger::root("process", Budget::default().usd("20.00")?.per(brigade_core::Window::Day));
        metrics.watch_budget("process", &process);
        let _server = brigade_examples::serve(routes(openai, anthropic, metrics)).await?;
        let first = env::args().nth(1).unwrap_or_else(|| "Should we move our queue from SQS to Kafka?".to_owned());
        for question in iter::once(first).chain(stdin().lines().map_while(Result::ok)) {
            let run = Run::builder().account(process.clone()).build();
            let outcome = desk.run_in(&run, Task::from(question).session("console")).await?;
            println!("{}\n\n{}", outcome.text, outcome.summary());
        }
        Ok(())
    })
    .await
}
