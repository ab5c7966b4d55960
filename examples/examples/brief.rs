//! A supervisor, two workers and a budget: the first example of the README.

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use brigade_rehearsal::Script;

// README: begin
use std::time::Duration;

use brigade_core::{Agent, Budget, ModelExt, OnFailure, Worker};
use brigade_observability::PriceBook;
use brigade_providers::{Anthropic, OpenAi};
use brigade_resilience::{Resilient, RetrySettings, Timeouts};

async fn brief() -> anyhow::Result<()> {
    let prices = PriceBook::bundled();
    let mini = OpenAi::from_env()?.model("gpt-5-mini").metered(&prices).timeout(Timeouts::default());
    let claude = Anthropic::from_env()?.model("claude-sonnet-4-5").thinking(4_000);
    let claude = claude.metered(&prices).timeout(Timeouts::default());

    let researcher = Agent::new("researcher", mini.clone()).instructions("You are researcher. Cite each fact.");
    let critic = Agent::new("critic", mini.clone()).instructions("You are critic. List what is not proven.");
    let desk = Agent::new("desk", claude.retry(RetrySettings::default()).fallback(mini))
        .instructions("You are desk. Plan the work, delegate it, then answer in your own words.")
        .worker(
            Worker::new(researcher)
                .timeout(Duration::from_secs(30))
                .on_failure(OnFailure::fallback("No research available.")),
        )
        .worker(Worker::new(critic))
        .budget(Budget::default().usd("0.50")?.turns(24).wall(Duration::from_mins(5)));

    let outcome = desk.run("Should we move our queue from SQS to Kafka?").await?;
    println!("{}\n\n{}", outcome.text, outcome.summary());
    Ok(())
}
// README: end

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    brigade_examples::run(Script::demo(), brief).await
}
