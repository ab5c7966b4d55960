//! What a scenario plays on: a simulated provider, and models with everything that production puts around them.

use std::{io, net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use brigade_core::{Agent, ChatModel, Metered, ModelExt};
use brigade_observability::PriceBook;
use brigade_providers::{Anthropic, OpenAi, OpenAiResponses};
use brigade_rehearsal::{CallLog, FaultPlan, RunningSimulator, Simulator, WireDialect};
use brigade_resilience::{Accounts, Charging, FallbackModel, Policy, RateLimitSettings};
use tokio::net::TcpListener;

use crate::{
    scenario::{Nowhere, Scenario, filled},
    tools,
};

/// The key of every account. It has no form by which a log could recognise it, so it stays out of the log only if
/// nobody writes it there.
pub const API_KEY: &str = "the-planted-key-5f1c9a";

/// A word in every prompt, answer, argument and tool result, that no event or log line may hold.
pub const CANARY: &str = "quetzalcoatlus";

/// A label of a name has 63 characters at the most (RFC 1035, 2.3.4), so whoever looks names up knows without asking anybody
/// that there is none like this.
const UNKNOWN_HOST: &str = "a-name-that-is-too-long-to-be-known-to-any-name-server-in-the-world.test";

/// Prices for the models of the table, and one that costs exactly fifteen cents for its longest answer.
const FLAT: &str = r#"
as_of = "2026-01-01"

[[models]]
ids = ["flat-rate"]
max_output = 75000
standard = { input = "0", output = "2" }
"#;

/// A simulated provider and all that its callers share.
#[derive(Debug)]
pub struct Stage {
    dialect: WireDialect,
    running: RunningSimulator,
    /// Where nobody listens.
    dead_end: String,
    accounts: Accounts,
    policy: Policy,
    prices: PriceBook,
    nobody_there: Option<Nowhere>,
    has_fallback: bool,
    tools: tools::Log,
}

impl Stage {
    /// Sets the stage for a scenario.
    ///
    /// # Errors
    /// If the scenario's script or plan cannot be read, or no port can be had.
    pub async fn set(scenario: &Scenario, dialect: WireDialect, seed: u64) -> anyhow::Result<Self> {
        let plan = FaultPlan::from_toml(&filled(&scenario.faults, dialect)).context(scenario.id)?;
        let simulator = Simulator::builder()
            .script(scenario.script(dialect)?)
            .faults(plan)
            .rate_limits(scenario.limits)
            .latency(scenario.latency)
            .reasoning_content(true)
            .build();
        Ok(Self {
            dialect,
            running: simulator.serve_locally().await?,
            dead_end: dead_end().await?,
            accounts: Accounts::seeded(seed),
            policy: Policy { hedge_after: scenario.hedge_after, ..policy(dialect) },
            prices: prices()?,
            nobody_there: scenario.nobody_there,
            has_fallback: scenario.has_fallback,
            tools: tools::Log::default(),
        })
    }

    /// The model in question, guarded as in production, with another one behind it if the scenario has one.
    ///
    /// # Errors
    /// If the client cannot be set up.
    pub fn model(&self) -> anyhow::Result<Arc<dyn ChatModel>> {
        self.model_called(main_model(self.dialect))
    }

    /// The same by another name.
    ///
    /// # Errors
    /// If the client cannot be set up.
    pub fn model_called(&self, name: &str) -> anyhow::Result<Arc<dyn ChatModel>> {
        let spare = self.has_fallback.then(|| self.guarded("spare", spare_model(self.dialect), None)).transpose()?;
        self.guarded("main", name, spare)
    }

    /// An agent called `asker` with the model.
    ///
    /// # Errors
    /// If the client cannot be set up.
    pub fn asker(&self) -> anyhow::Result<Agent> {
        self.agent("asker")
    }

    /// An agent with the model.
    ///
    /// # Errors
    /// If the client cannot be set up.
    pub fn agent(&self, name: &str) -> anyhow::Result<Agent> {
        Ok(Agent::new(name, self.model()?).instructions(format!("You are {name}. Never say {CANARY}.")))
    }

    /// The client alone, without meter and guards.
    ///
    /// # Errors
    /// If it cannot be set up.
    pub fn bare_model(&self) -> anyhow::Result<Arc<dyn ChatModel>> {
        client(self.dialect, "main", &self.running.base_url(), main_model(self.dialect))
    }

    /// Where the provider is.
    pub fn address(&self) -> SocketAddr {
        self.running.address()
    }

    /// The tools of the scenario, which remember how often they were run.
    pub fn tools(&self) -> &tools::Log {
        &self.tools
    }

    /// The protocol that is spoken.
    pub fn dialect(&self) -> WireDialect {
        self.dialect
    }

    /// What the provider knows.
    pub fn call_log(&self) -> &CallLog {
        self.running.call_log()
    }

    /// What anything costs.
    pub fn prices(&self) -> &PriceBook {
        &self.prices
    }

    /// The state of accounts and models.
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// Closes the provider.
    pub async fn clear(self) {
        self.running.shutdown().await;
    }

    fn guarded(
        &self,
        role: &str,
        model: &str,
        spare: Option<Arc<dyn ChatModel>>,
    ) -> anyhow::Result<Arc<dyn ChatModel>> {
        let base = match self.nobody_there.filter(|_| role == "main") {
            Some(Nowhere::Refuses) => self.dead_end.clone(),
            Some(Nowhere::Unknown) => format!("http://{UNKNOWN_HOST}"),
            None => self.running.base_url(),
        };
        let metered: Metered<_> = client(self.dialect, role, &base, model)?.metered(&self.prices);
        // A flat-rate answer is wanted whole or not at all.
        let metered = if model == FLAT_MODEL { metered.least_output_tokens(75_000) } else { metered };
        Ok(self.policy.wrap(metered, spare.map(FallbackModel::new), &self.accounts))
    }
}

/// The model whose longest answer costs fifteen cents.
pub const FLAT_MODEL: &str = "flat-rate";

/// The model that faults strike.
pub fn main_model(dialect: WireDialect) -> &'static str {
    match dialect {
        WireDialect::Anthropic => "claude-sonnet-4-5",
        WireDialect::OpenaiChat | WireDialect::OpenaiResponses => "gpt-5-mini",
    }
}

/// The model behind it.
pub fn spare_model(dialect: WireDialect) -> &'static str {
    match dialect {
        WireDialect::Anthropic => "claude-haiku-4-5",
        WireDialect::OpenaiChat | WireDialect::OpenaiResponses => "gpt-5-nano",
    }
}

/// The name of an account, by which its prices are found.
pub(crate) fn account(dialect: WireDialect, role: &str) -> String {
    match dialect {
        WireDialect::Anthropic => format!("anthropic-{role}"),
        WireDialect::OpenaiChat | WireDialect::OpenaiResponses => format!("openai-{role}"),
    }
}

/// The standard policy, with tokens counted as the vendor counts them.
fn policy(dialect: WireDialect) -> Policy {
    let charging = match dialect {
        WireDialect::Anthropic => Charging::Anthropic,
        WireDialect::OpenaiChat | WireDialect::OpenaiResponses => Charging::OpenAi,
    };
    Policy {
        limits: RateLimitSettings { charging: Some(charging), ..RateLimitSettings::default() },
        ..Policy::default()
    }
}

fn client(dialect: WireDialect, role: &str, base: &str, model: &str) -> anyhow::Result<Arc<dyn ChatModel>> {
    let (name, v1) = (account(dialect, role), format!("{base}/v1"));
    Ok(match dialect {
        WireDialect::OpenaiChat => {
            let client = OpenAi::builder().name(name).base_url(v1).api_key(API_KEY);
            let client = client.agent_header(true).propagate_trace(true);
            Arc::new(client.build()?.model(model))
        }
        WireDialect::OpenaiResponses => {
            let client = OpenAiResponses::builder().name(name).base_url(v1).api_key(API_KEY);
            let client = client.agent_header(true).propagate_trace(true);
            Arc::new(client.build()?.model(model))
        }
        WireDialect::Anthropic => {
            let client = Anthropic::builder().name(name).base_url(base.to_owned()).api_key(API_KEY);
            let client = client.agent_header(true).propagate_trace(true);
            Arc::new(client.build()?.model(model))
        }
    })
}

/// The bundled prices and the flat rate.
fn prices() -> anyhow::Result<PriceBook> {
    Ok(PriceBook::from_toml_overlay(FLAT)?)
}

/// An address that refuses connections: a port that was free a moment ago.
async fn dead_end() -> io::Result<String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    Ok(format!("http://{}", listener.local_addr()?))
}
