//! Where a scenario runs: a simulated provider, and models in the standard stack of wrappers.

use std::{io, net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use brigade_core::{Agent, ChatModel, Metered, ModelExt};
use brigade_observability::PriceBook;
use brigade_providers::{Anthropic, OpenAi, OpenAiResponses};
use brigade_rehearsal::{CallLog, FaultPlan, RunningSimulator, Simulator, WireDialect};
use brigade_resilience::{Accounts, Charging, FallbackModel, Policy, RateLimitSettings};
use tokio::net::TcpListener;

use crate::{
    scenario::scenario::{Scenario, Unreachable, filled},
    scenario::tools::ToolLog,
};

/// The API key of every account. It does not look like a key, so no filter of the log can recognize it: it stays out of
/// the log only because the code does not log keys.
pub(crate) const API_KEY: &str = "the-planted-key-5f1c9a";

/// A word in every prompt, answer, argument and tool result. No event or log line may contain it.
pub(crate) const CANARY: &str = "quetzalcoatlus";

/// A label of a host name has at most 63 characters (RFC 1035, 2.3.4), so a resolver rejects this name without a query.
const UNKNOWN_HOST: &str = "a-name-that-is-too-long-to-be-known-to-any-name-server-in-the-world.test";

/// A model that costs exactly fifteen cents for its longest answer.
const FLAT: &str = r#"
as_of = "2026-01-01"

[[models]]
ids = ["flat-rate"]
max_output = 75000
standard = { input = "0", output = "2" }
"#;

/// A simulated provider, and the state that its clients share.
#[derive(Debug)]
pub struct Environment {
    dialect: WireDialect,
    running: RunningSimulator,
    refusing_address: String,
    accounts: Accounts,
    policy: Policy,
    prices: PriceBook,
    unreachable: Option<Unreachable>,
    template: bool,
    has_fallback: bool,
    tools: ToolLog,
}

impl Environment {
    /// Starts the provider for a scenario.
    ///
    /// # Errors
    /// If the scenario's script or faults cannot be parsed, or no port is free.
    pub async fn start(scenario: &Scenario, dialect: WireDialect, seed: u64) -> anyhow::Result<Self> {
        let plan = FaultPlan::from_toml(&filled(&scenario.faults, dialect)).context(scenario.id)?;
        let simulator = Simulator::builder()
            .script(scenario.script(dialect)?)
            .faults(plan)
            .rate_limits(scenario.limits)
            .latency(scenario.latency)
            .template(scenario.template)
            .reasoning_content(true)
            .build();
        Ok(Self {
            dialect,
            running: simulator.serve_locally().await?,
            refusing_address: refusing_address().await?,
            accounts: Accounts::seeded(seed),
            policy: policy(dialect).hedge_after(scenario.hedge_after),
            prices: prices()?,
            unreachable: scenario.unreachable,
            template: scenario.template,
            has_fallback: scenario.has_fallback,
            tools: ToolLog::default(),
        })
    }

    /// The main model in the standard stack, with the fallback model if the scenario has one.
    ///
    /// # Errors
    /// If the client cannot be set up.
    pub fn model(&self) -> anyhow::Result<Arc<dyn ChatModel>> {
        self.model_called(main_model(self.dialect))
    }

    /// A model of this name in the standard stack.
    ///
    /// # Errors
    /// If the client cannot be set up.
    pub fn model_called(&self, name: &str) -> anyhow::Result<Arc<dyn ChatModel>> {
        let fallback =
            self.has_fallback.then(|| self.with_policy("fallback", fallback_model(self.dialect), None)).transpose()?;
        self.with_policy("main", name, fallback)
    }

    /// An agent named `asker` with the main model.
    ///
    /// # Errors
    /// If the client cannot be set up.
    pub fn asker(&self) -> anyhow::Result<Agent> {
        self.agent("asker")
    }

    /// An agent with the main model.
    ///
    /// # Errors
    /// If the client cannot be set up.
    pub fn agent(&self, name: &str) -> anyhow::Result<Agent> {
        Ok(Agent::new(name, self.model()?).instructions(format!("You are {name}. Never say {CANARY}.")))
    }

    /// The main model's client without any wrapper, so that its calls are not booked.
    ///
    /// # Errors
    /// If it cannot be set up.
    pub fn unmetered_model(&self) -> anyhow::Result<Arc<dyn ChatModel>> {
        self.client("main", &self.running.base_url(), main_model(self.dialect))
    }

    /// The provider's address.
    pub fn address(&self) -> SocketAddr {
        self.running.address()
    }

    /// Makes the scenario's tools, and counts their runs.
    pub fn tools(&self) -> &ToolLog {
        &self.tools
    }

    /// The dialect of the scenario.
    pub fn dialect(&self) -> WireDialect {
        self.dialect
    }

    /// The provider's own record of all calls.
    pub fn call_log(&self) -> &CallLog {
        self.running.call_log()
    }

    /// The prices of all models.
    pub fn prices(&self) -> &PriceBook {
        &self.prices
    }

    /// The limiters and breakers of all accounts.
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// Stops the provider.
    pub async fn shutdown(self) {
        self.running.shutdown().await;
    }

    fn client(&self, role: &str, base: &str, model: &str) -> anyhow::Result<Arc<dyn ChatModel>> {
        if self.template && self.dialect == WireDialect::OpenaiChat {
            let server = OpenAi::compatible(account(self.dialect, role), format!("{base}/v1")).api_key(API_KEY);
            let server = server.agent_header(true).propagate_trace(true);
            return Ok(Arc::new(server.build()?.model(model)));
        }
        client(self.dialect, role, base, model)
    }

    fn with_policy(
        &self,
        role: &str,
        model: &str,
        fallback: Option<Arc<dyn ChatModel>>,
    ) -> anyhow::Result<Arc<dyn ChatModel>> {
        let base = match self.unreachable.filter(|_| role == "main") {
            Some(Unreachable::ConnectionRefused) => self.refusing_address.clone(),
            Some(Unreachable::UnknownHost) => format!("http://{UNKNOWN_HOST}"),
            None => self.running.base_url(),
        };
        let metered: Metered<_> = self.client(role, &base, model)?.metered(&self.prices);
        // So that a flat-rate call is refused rather than shortened when the budget is nearly spent.
        let metered = if model == FLAT_MODEL { metered.least_output_tokens(75_000) } else { metered };
        Ok(self.policy.wrap(metered, fallback.map(FallbackModel::new), &self.accounts))
    }
}

/// The model whose longest answer costs fifteen cents.
pub(crate) const FLAT_MODEL: &str = "flat-rate";

/// The main model, which the faults hit.
pub(crate) fn main_model(dialect: WireDialect) -> &'static str {
    match dialect {
        WireDialect::Anthropic => "claude-sonnet-4-5",
        WireDialect::OpenaiChat | WireDialect::OpenaiResponses => "gpt-5-mini",
    }
}

/// The fallback model.
pub(crate) fn fallback_model(dialect: WireDialect) -> &'static str {
    match dialect {
        WireDialect::Anthropic => "claude-haiku-4-5",
        WireDialect::OpenaiChat | WireDialect::OpenaiResponses => "gpt-5-nano",
    }
}

/// The name of an account. Prices are found by its prefix.
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
    Policy::default().limits(RateLimitSettings::default().charging(charging))
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

fn prices() -> anyhow::Result<PriceBook> {
    Ok(PriceBook::from_toml_overlay(FLAT)?)
}

/// An address that refuses connections: a port that was free a moment ago.
async fn refusing_address() -> io::Result<String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    Ok(format!("http://{}", listener.local_addr()?))
}
