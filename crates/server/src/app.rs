//! Where the crates meet: models with their prices, limits and policies.

use std::sync::Arc;

use anyhow::Context as _;
use brigade_core::{ChatModel, ModelExt};
use brigade_observability::PriceBook;
use brigade_providers::{Anthropic, OpenAi};
use brigade_resilience::{Accounts, Policy};

/// What all models of a process share.
#[derive(Debug)]
pub(crate) struct App {
    prices: PriceBook,
    accounts: Accounts,
    policy: Policy,
}

impl App {
    /// Bundled prices and the default policy.
    pub(crate) fn new() -> Self {
        Self { prices: PriceBook::bundled(), accounts: Accounts::new(), policy: Policy::default() }
    }

    /// A model of a simulator that speaks Anthropic's protocol.
    pub(crate) fn simulated_anthropic(&self, base_url: &str, model: &str) -> anyhow::Result<Arc<dyn ChatModel>> {
        let client = Anthropic::builder().base_url(base_url).api_key("simulated").agent_header(true).build();
        Ok(self.guarded(client.context("the simulator's address cannot be used")?.model(model).thinking(1_024)))
    }

    /// A model of a simulator that speaks OpenAI's protocol.
    pub(crate) fn simulated_openai(&self, base_url: &str, model: &str) -> anyhow::Result<Arc<dyn ChatModel>> {
        let client =
            OpenAi::builder().base_url(format!("{base_url}/v1")).api_key("simulated").agent_header(true).build();
        Ok(self.guarded(client.context("the simulator's address cannot be used")?.model(model)))
    }

    /// The model with everything that production needs around it.
    fn guarded(&self, model: impl ChatModel) -> Arc<dyn ChatModel> {
        self.policy.wrap(model.metered(&self.prices), [], &self.accounts)
    }
}
