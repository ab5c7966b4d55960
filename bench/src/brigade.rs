//! Brigade's side: the same work with agents, tools and workers, as its documentation shows them.

use anyhow::{Result, ensure};
use brigade_core::{Agent, ChatModel, Metered, ModelExt, Supervisor, ToolOutput, Worker, tool_fn};
use brigade_observability::PriceBook;
use brigade_providers::{OpenAi, OpenAiChatModel};
use brigade_resilience::{Backoff, Resilient, Timeouts};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::scenario::{CLERK, Cast, DESK, LOOKUP, LOOKUP_PURPOSE, ORACLE, Scenario, WORKERS, look_up};

/// The wrappers that every model has here, from the outside to the inside.
pub(crate) const WRAPPERS: &str = "Retry ▸ Timeout ▸ Metered(PriceBook) ▸ OpenAi";

/// An agent, set up for one scenario.
#[derive(Debug)]
pub(crate) struct Brigade {
    agent: Agent,
}

#[derive(Deserialize, JsonSchema)]
struct Topic {
    /// The subject, in a few words.
    topic: String,
}

impl Brigade {
    pub(crate) fn new(base_url: &str, scenario: Scenario) -> Result<Self> {
        let account = OpenAi::builder().base_url(format!("{base_url}/v1")).api_key("simulated").build()?;
        let agent = match scenario {
            Scenario::Chat => agent(&account, &ORACLE),
            Scenario::ToolLoop => with_lookup(agent(&account, &CLERK)),
            Scenario::Supervisor => {
                let worker = |cast| Worker::new(with_lookup(agent(&account, cast)));
                let desk = Supervisor::from_agent(agent(&account, &DESK));
                WORKERS.iter().map(worker).fold(desk, Supervisor::worker).into_agent()
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

fn agent(account: &OpenAi, cast: &Cast) -> Agent {
    Agent::new(cast.name, standard(account.model(cast.model))).purpose(cast.purpose).instructions(cast.instructions)
}

fn with_lookup(agent: Agent) -> Agent {
    agent.tool(tool_fn(
        LOOKUP,
        LOOKUP_PURPOSE,
        |Topic { topic }, _run| async move { Ok(ToolOutput::text(look_up(&topic))) },
    ))
}

/// What stands around every model in production.
pub(crate) fn standard(model: OpenAiChatModel) -> impl ChatModel {
    let metered: Metered<_> = model.metered(&PriceBook::bundled());
    metered.timeout(Timeouts::default()).retry(Backoff::default())
}
