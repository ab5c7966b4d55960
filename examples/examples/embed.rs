//! An axum service that mounts Brigade's API beside its own routes, with an agent built in code.

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use axum::{Router, routing::get};
use brigade_core::{Agent, Budget, ModelExt};
use brigade_edge::{CheckResult, HealthCheck, async_trait};
use brigade_observability::PriceBook;
use brigade_providers::OpenAi;
use brigade_rehearsal::{Script, ScriptedAnswer};
use brigade_server::{Api, ServedAgent};
use tokio::net::TcpListener;

/// A check of the service's own, beside those of Brigade.
#[derive(Debug)]
struct Database;

#[async_trait]
impl HealthCheck for Database {
    async fn check(&self) -> Vec<CheckResult> {
        vec![CheckResult::passed("database")]
    }
}

async fn serve() -> anyhow::Result<()> {
    let mini = OpenAi::from_env()?.model("gpt-5-mini").metered(&PriceBook::bundled());
    let clerk = Agent::new("clerk", mini).instructions("You are a clerk. Answer in one sentence.");
    let api = Api::builder()
        .agent(ServedAgent::new(clerk).purpose("Answers letters.").budget(Budget::default().usd("0.10")?))
        .budget(Budget::default().usd("5.00")?)
        .health_check(Database)
        .build()
        .await?;
    let app = Router::new().route("/", get(|| async { "My service." })).merge(api.router());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::select! {
        result = async { axum::serve(listener, app).await } => Ok(result?),
        result = ask(&url) => result,
    }
}

/// What a client of the service does.
async fn ask(url: &str) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let question = r#"{"model": "clerk", "messages": [{"role": "user", "content": "Are you open on Sunday?"}]}"#;
    let request = client.post(format!("{url}/v1/chat/completions")).header("content-type", "application/json");
    let answer = request.body(question).send().await?.error_for_status()?.text().await?;
    let health = client.get(format!("{url}/readyz?verbose")).send().await?.error_for_status()?.text().await?;
    println!("{answer}\n{health}");
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    brigade_examples::run(Script::always(ScriptedAnswer::text("We are closed on Sunday.")), serve).await
}
