//! Brigade's side: the same work with agents, tools and workers, as its documentation shows them.

use std::sync::Arc;

use anyhow::{Result, ensure};
use brigade_core::{Agent, ChatModel, ModelExt, ToolOutput, Worker, tool_fn};
use brigade_observability::PriceBook;
use brigade_providers::OpenAi;
use brigade_resilience::{Accounts, Policy};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::scenario::{CLERK, Cast, DESK, LOOKUP, LOOKUP_PURPOSE, ORACLE, Scenario, WORKERS, look_up};

/// The wrappers that every model has here, from the outside to the inside.
pub(crate) const WRAPPERS: &str = "Fallback ▸ Retry ▸ Breaker ▸ RateLimit ▸ Timeout ▸ Metered(PriceBook) ▸ OpenAi";

/// An agent, set up for one scenario.
#[derive(Debug)]
pub(crate) struct Brigade {
    agent: Agent,
}

/// What all models of a program share.
struct Station {
    openai: OpenAi,
    prices: PriceBook,
    accounts: Accounts,
}

#[derive(Deserialize, JsonSchema)]
struct Topic {
    /// The subject, in a few words.
    topic: String,
}

impl Brigade {
    pub(crate) fn new(base_url: &str, scenario: Scenario) -> Result<Self> {
        let openai = OpenAi::builder().base_url(format!("{base_url}/v1")).api_key("simulated").build()?;
        let station = Station { openai, prices: PriceBook::bundled(), accounts: Accounts::new() };
        let agent = match scenario {
            Scenario::Chat => station.agent(&ORACLE),
            Scenario::ToolLoop => with_lookup(station.agent(&CLERK)),
            Scenario::Supervisor => {
                let worker = |cast| Worker::new(with_lookup(station.agent(cast)));
                WORKERS.iter().map(worker).fold(station.agent(&DESK), Agent::worker)
            }
        };
        agent.check()?;
        Ok(Self { agent })
    }

    /// The answer of one run.
    pub(crate) async fn run(&self, scenario: Scenario) -> Result<String> {
        let outcome = self.agent.run(scenario.task()).await?;
        ensure!(outcome.is_finished() && outcome.degraded.is_empty(), "the run did not finish: {}", outcome.notice);
        Ok(outcome.text)
    }
}

impl Station {
    fn agent(&self, cast: &Cast) -> Agent {
        Agent::new(cast.name, self.model(cast.model)).purpose(cast.purpose).instructions(cast.instructions)
    }

    /// A model with what stands around it in production.
    fn model(&self, name: &str) -> Arc<dyn ChatModel> {
        Policy::default().wrap(self.openai.model(name).metered(&self.prices), [], &self.accounts)
    }
}

fn with_lookup(agent: Agent) -> Agent {
    agent.tool(tool_fn(
        LOOKUP,
        LOOKUP_PURPOSE,
        |Topic { topic }, _run| async move { Ok(ToolOutput::text(look_up(&topic))) },
    ))
}
