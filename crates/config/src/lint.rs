//! Advice on configurations that are valid but risky: unlimited cost, and failures without a fallback.

use std::fmt;

use brigade_core::{Effect, ModelId, Settings};
use brigade_observability::PriceBook;

use super::{
    AgentConfig, ClientToolsConfig, Config, FailurePolicy, KeyConfig, KeyScope, ModelConfig, base_url::lint_base_urls,
    config::Name, unused::lint_unused,
};

/// A warning about a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lint {
    /// The path of keys, such as `agents.desk`.
    path: String,
    advice: String,
}

/// Models start to choose wrong tools beyond this number; the vendors advise fewer than 20.
const MANY_TOOLS: usize = 15;

/// Checks a whole configuration.
pub fn lint(config: &Config, prices: &PriceBook) -> Vec<Lint> {
    let mut lints = Vec::new();
    let has_price = |provider: &str, model: &str| prices.lookup(&ModelId::new(provider, model)).is_some();
    for (name, model) in &config.models {
        let path = format!("models.{name}");
        if !has_price(model.provider.as_ref(), &model.model) {
            let advice = "has no price: a budget in dollars refuses it, or with `unpriced = \"warn\"` does not count its \
                          cost; add its price to `prices`, as `brigade prices` shows";
            lints.push(Lint::new(&path, advice));
        }
        lints.extend(left_out(config, &path, model, &model.settings()));
        if let Some(same) = model.fallbacks.iter().find(|name| is_same_model(config, model, name.as_ref())) {
            let advice = format!("falls back to `{}`, which is the same model at the same account", same.as_ref());
            lints.push(Lint::new(&path, advice));
        }
        if model.fallbacks.is_empty() && config.models.len() > 1 {
            lints.push(Lint::new(&path, "has no fallback: its agents fail while its provider is down"));
        }
    }
    if let Some(embedding) = &config.recall.embedding
        && !has_price(embedding.provider.as_ref(), &embedding.model)
    {
        let advice =
            "has no price: its cost is not counted, and under a budget in dollars notes are found by words only";
        lints.push(Lint::new("recall.embedding", advice));
    }
    for (name, agent) in &config.agents {
        lints.extend(lint_agent(config, name, agent));
    }
    lints.extend(lint_approvers(config));
    lints.extend(lint_base_urls(config));
    lints.extend(lint_unused(config));
    if config.budget.usd.is_none() && !config.agents.is_empty() {
        let advice = "has no limit in dollars for all runs together: set `usd = \"5.00\"` and `per = \"day\"`";
        lints.push(Lint::new("budget", advice));
    }
    lints
}

/// Warns of keys whose calls no key may approve.
fn lint_approvers(config: &Config) -> Vec<Lint> {
    if !config.asks_for_approvals() {
        return Vec::new();
    }
    let may_approve = |approver: &str, key: &str| {
        config.keys.get(approver).is_some_and(|found| {
            let is_own = approver == key && !config.approvals.four_eyes;
            found.scopes.contains(&KeyScope::Approve)
                && (is_own || (approver != key && found.approves.iter().any(|name| name.as_ref() == key)))
        })
    };
    let has_none = |key: &&String| !config.keys.keys().any(|approver| may_approve(approver, key));
    let runs = |(name, key): (_, &KeyConfig)| key.scopes.contains(&KeyScope::Run).then_some(name);
    let advice = |name: &String| {
        let advice = format!(
            "has runs whose calls no key may approve: give another key the scope \"approve\" and `approves = [{name:?}]`"
        );
        Lint::new(&format!("keys.{name}"), advice)
    };
    config.keys.iter().filter_map(runs).filter(has_none).map(advice).collect()
}

/// Warns of settings that the model refuses, or takes only up to a lower value.
fn left_out(config: &Config, path: &str, model: &ModelConfig, settings: &Settings) -> Vec<Lint> {
    let account = model.provider.as_ref();
    let kind = config.providers.get(account).and_then(|provider| provider.kind(account).ok());
    let Some(kind) = kind else { return Vec::new() };
    let refused = kind.refused(&model.model, settings);
    let mut reduced = kind.reduced(settings);
    reduced.retain(|name| !refused.contains(name));
    let listed = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let model = &model.model;
    let refused = (!refused.is_empty())
        .then(|| format!("sets {}, which {model} refuses: its requests leave it out", listed(&refused)));
    let reduced = (!reduced.is_empty())
        .then(|| format!("sets {} higher than {model} takes: its requests have the highest value", listed(&reduced)));
    refused.into_iter().chain(reduced).map(|advice| Lint::new(path, advice)).collect()
}

fn is_same_model(config: &Config, model: &ModelConfig, other: &str) -> bool {
    let same = |other: &ModelConfig| other.model == model.model && other.provider.as_ref() == model.provider.as_ref();
    config.models.get(other).is_some_and(same)
}

fn lint_agent(config: &Config, name: &str, agent: &AgentConfig) -> Vec<Lint> {
    let path = format!("agents.{name}");
    let mut lints = Vec::new();
    let settings = Settings::default().temperature(agent.temperature);
    // The settings of an agent go to each model of the chain.
    let first = config.models.get(agent.model.as_ref());
    let chain =
        first.into_iter().flat_map(|model| &model.fallbacks).filter_map(|name| config.models.get(name.as_ref()));
    for model in first.into_iter().chain(chain) {
        lints.extend(left_out(config, &path, model, &settings));
    }
    if agent.exposed && agent.budget.usd.is_none() {
        lints.push(Lint::new(&path, "has no budget in dollars: one run may spend the budget of the whole process"));
    }
    if agent.exposed && agent.budget.wall.is_none() {
        lints.push(Lint::new(&path, "has no time limit: set `budget.wall`, for example to \"5m\""));
    }
    let has_effect =
        |name: &&Name| config.tools.get(name.as_ref()).is_none_or(|tool| tool.effect != Effect::Repeatable);
    if agent.client_tools == Some(ClientToolsConfig::Accept)
        && let Some(tool) = agent.tools.iter().find(has_effect)
    {
        let advice = format!(
            "accepts tools of clients beside the tool `{}`, which may change something: the results that a client sends can \
             make the model call it",
            tool.as_ref()
        );
        lints.push(Lint::new(&path, advice));
    }
    let tools = agent.tools.len() + agent.workers.len();
    if tools > MANY_TOOLS {
        let advice = format!("has {tools} tools and workers: models choose badly among more than {MANY_TOOLS}");
        lints.push(Lint::new(&path, advice));
    }
    for worker in &agent.workers {
        let path = format!("{path}.workers.{}", worker.agent.as_ref());
        if worker.timeout.is_none() {
            lints.push(Lint::new(&path, "has no timeout: a task may take the default of two minutes"));
        }
        if worker.on_failure == FailurePolicy::Required {
            lints.push(Lint::new(&path, "is required: if it fails, the whole run fails"));
        }
        let has_purpose = config.agents.get(worker.agent.as_ref()).is_some_and(|agent| !agent.purpose.is_empty());
        if !has_purpose {
            lints.push(Lint::new(&path, "has no purpose: its supervisor cannot know when to use it"));
        }
    }
    lints
}

impl Lint {
    pub(super) fn new(path: &str, advice: impl Into<String>) -> Self {
        Self { path: path.to_owned(), advice: advice.into() }
    }
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path, self.advice)
    }
}
