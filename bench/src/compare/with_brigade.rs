//! The same work with Brigade's agents, tools and workers, as its documentation shows them.

use std::sync::Arc;

use anyhow::{Result, ensure};
use brigade_core::{Agent, ChatModel, ModelExt, ToolOutput, Worker, tool_fn};
use brigade_observability::PriceBook;
use brigade_providers::OpenAi;
use brigade_resilience::{Accounts, Policy};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::workload::{AgentSpec, CLERK, DESK, LOOKUP, LOOKUP_PURPOSE, ORACLE, WORKERS, Workload, look_up};

/// The wrappers around every model, from the outside to the inside.
pub(crate) const WRAPPERS: &str = "Fallback ▸ Retry ▸ Breaker ▸ RateLimit ▸ Timeout ▸ Metered(PriceBook) ▸ OpenAi";

/// The agent for one workload.
#[derive(Debug)]
pub(crate) struct Brigade {
    agent: Agent,
}

/// The client and the state that all models share.
struct Shared {
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
    pub(crate) fn new(base_url: &str, workload: Workload) -> Result<Self> {
        let openai = OpenAi::builder().base_url(format!("{base_url}/v1")).api_key("simulated").build()?;
        let shared = Shared { openai, prices: PriceBook::bundled(), accounts: Accounts::new() };
        let agent = match workload {
            Workload::Chat => shared.agent(&ORACLE),
            Workload::ToolLoop => with_lookup(shared.agent(&CLERK)),
            Workload::Supervisor => {
                let worker = |agent| Worker::new(with_lookup(shared.agent(agent)));
                WORKERS.iter().map(worker).fold(shared.agent(&DESK), Agent::worker)
            }
        };
        agent.check()?;
        Ok(Self { agent })
    }

    /// The answer of one run.
    pub(crate) async fn run(&self, workload: Workload) -> Result<String> {
        let outcome = self.agent.run(workload.task()).await?;
        ensure!(outcome.is_finished() && outcome.degraded.is_empty(), "the run did not finish: {}", outcome.notice);
        Ok(outcome.text)
    }
}

impl Shared {
    fn agent(&self, agent: &AgentSpec) -> Agent {
        Agent::new(agent.name, self.model(agent.model)).purpose(agent.purpose).instructions(agent.instructions)
    }

    /// A model in the standard stack of wrappers.
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
