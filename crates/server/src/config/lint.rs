//! What is allowed and still unwise: costs without a limit, and failures without an answer.

use std::fmt;

use brigade_core::ModelId;
use brigade_observability::PriceBook;

use crate::config::{Agent, Config, FailurePolicy};

/// Advice on a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lint {
    /// Where: `agents.desk`.
    place: String,
    advice: String,
}

/// Beyond so many tools and workers models begin to pick wrong ones; the vendors advise fewer than 20.
const MANY_TOOLS: usize = 15;

/// All advice on a configuration.
pub(crate) fn lint(config: &Config, prices: &PriceBook) -> Vec<Lint> {
    let mut lints = Vec::new();
    for (name, model) in &config.models {
        let place = format!("models.{name}");
        let id = ModelId::new(model.provider.as_ref().as_str(), model.model.as_str());
        if prices.lookup(&id).is_none() {
            let advice =
                "has no price: its cost is not counted, and a budget in dollars refuses it; add it to `prices`";
            lints.push(Lint::new(&place, advice));
        }
        if model.fallbacks.is_empty() && config.models.len() > 1 {
            lints.push(Lint::new(&place, "has no fallback: while its provider is down, so are its agents"));
        }
    }
    if let Some(embedding) = &config.recall.embedding
        && prices.lookup(&ModelId::new(embedding.provider.as_ref().as_str(), embedding.model.as_str())).is_none()
    {
        let advice =
            "has no price: its cost is not counted, and under a budget in dollars notes are found by words only";
        lints.push(Lint::new("recall.embedding", advice));
    }
    for (name, agent) in &config.agents {
        lints.extend(of_agent(config, name, agent));
    }
    if config.budget.usd.is_none() && !config.agents.is_empty() {
        let advice = "is not limited: add `[budget]` with `usd` and `per = \"day\"` for all runs together";
        lints.push(Lint::new("budget", advice));
    }
    lints
}

fn of_agent(config: &Config, name: &str, agent: &Agent) -> Vec<Lint> {
    let place = format!("agents.{name}");
    let mut lints = Vec::new();
    if agent.exposed && agent.budget.usd.is_none() {
        lints.push(Lint::new(&place, "has no budget in dollars: one run may spend what the process may"));
    }
    if agent.exposed && agent.budget.wall.is_none() {
        lints.push(Lint::new(&place, "has no limit of time: set `budget.wall`, such as \"5m\""));
    }
    let tools = agent.tools.len() + agent.workers.len();
    if tools > MANY_TOOLS {
        let advice = format!("has {tools} tools and workers: models pick badly among more than {MANY_TOOLS}");
        lints.push(Lint::new(&place, advice));
    }
    for worker in &agent.workers {
        let place = format!("{place}.workers.{}", worker.agent.as_ref());
        if worker.timeout.is_none() {
            lints.push(Lint::new(&place, "has no timeout of its own: a task may take two minutes"));
        }
        if worker.on_failure == FailurePolicy::Required {
            lints.push(Lint::new(&place, "is required: when it fails, the whole run fails"));
        }
        let has_purpose = config.agents.get(worker.agent.as_ref()).is_some_and(|agent| !agent.purpose.is_empty());
        if !has_purpose {
            lints.push(Lint::new(&place, "has no purpose: its supervisor cannot know what it is for"));
        }
    }
    lints
}

impl Lint {
    fn new(place: &str, advice: impl Into<String>) -> Self {
        Self { place: place.to_owned(), advice: advice.into() }
    }
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.place, self.advice)
    }
}
