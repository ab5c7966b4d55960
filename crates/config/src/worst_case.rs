//! The maximum cost of one run.

use std::fmt;

use brigade_core::{Budget, ModelId, Money, Pricing, Settings, TurnLimits};
use brigade_observability::PriceBook;
use brigade_providers::anthropic_answer_tokens;

use super::{AgentConfig, BudgetConfig, Config, ModelConfig, ProviderKind};

/// The maximum cost of one run of an agent.
///
/// Assumes that each turn is as large as the limits allow, at the highest rate, with all retries, and that each worker is
/// called once per turn unless `max_calls` says otherwise; all within the limit on model calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorstCase {
    /// Ignores the budget. Unknown if a model has no price.
    cost: Option<Money>,
    /// The agent's own hard limit in dollars.
    limit: Option<Money>,
}

/// The context window that is assumed if neither the configuration nor the price table limits a prompt.
const DEFAULT_CONTEXT: u64 = 128_000;

const MAX_DEPTH: u32 = 5;

/// The cost of all calls that a run may make, and of the most expensive one.
#[derive(Debug, Clone, Copy)]
struct CallCosts {
    total: Money,
    most_expensive: Money,
}

impl WorstCase {
    /// Estimates one run of `agent`.
    pub fn estimate(config: &Config, agent: &AgentConfig, prices: &PriceBook) -> Self {
        let default = BudgetConfig { model_calls: Some(Budget::DEFAULT_MODEL_CALLS), ..BudgetConfig::default() };
        let cost = call_costs(config, agent, prices, MAX_DEPTH)
            .map(|costs| costs.within(&agent.budget).or_else(|| costs.within(&default)).unwrap_or(costs.total));
        Self { cost, limit: agent.budget.usd.filter(|_| !agent.budget.soft) }
    }
}

impl CallCosts {
    /// The cost under the budget's limit on the number of calls, if it has one.
    fn within(self, budget: &BudgetConfig) -> Option<Money> {
        let calls = budget.model_calls?;
        Some(if budget.soft { self.total } else { self.total.min(self.most_expensive.times(calls)) })
    }

    /// The cost of one task under a worker's budget.
    fn limited_by(self, budget: &BudgetConfig) -> Money {
        let cost = self.within(budget).unwrap_or(self.total);
        budget.usd.map_or(cost, |limit| cost.min(limit))
    }
}

fn call_costs(config: &Config, agent: &AgentConfig, prices: &PriceBook, depth: u32) -> Option<CallCosts> {
    let turns = agent.turns.unwrap_or_else(|| TurnLimits::default().turns);
    let model = config.models.get(agent.model.as_ref())?;
    let fallbacks = model.fallbacks.iter().filter_map(|name| config.models.get(name.as_ref()));
    let mut costs = CallCosts { total: Money::ZERO, most_expensive: Money::ZERO };
    for model in std::iter::once(model).chain(fallbacks) {
        let call = largest_call(config, model, agent, prices)?;
        let attempts = u64::from(turns) * u64::from(model.policy.retry.attempts);
        costs.total = costs.total.max(call.times(attempts));
        costs.most_expensive = costs.most_expensive.max(call);
    }
    for worker in agent.workers.iter().filter(|_| depth > 0) {
        let worker_agent = config.agents.get(worker.agent.as_ref())?;
        let task = call_costs(config, worker_agent, prices, depth - 1)?;
        let cost = task.limited_by(worker.budget.as_ref().unwrap_or(&worker_agent.budget));
        costs.total += cost.times(u64::from(worker.max_calls.unwrap_or(turns)));
        costs.most_expensive = costs.most_expensive.max(task.most_expensive);
    }
    Some(costs)
}

/// The cost of the longest answer to the longest prompt.
fn largest_call(config: &Config, model: &ModelConfig, agent: &AgentConfig, prices: &PriceBook) -> Option<Money> {
    let id = ModelId::new(model.provider.as_ref().as_str(), model.model.as_str());
    let context = prices.lookup(&id).and_then(|facts| facts.context_window).unwrap_or(DEFAULT_CONTEXT);
    let settings = Settings::default()
        .max_output_tokens(agent.max_output_tokens)
        .answer_tokens(is_anthropic(config, model).then(|| anthropic_answer_tokens(&model.model)));
    let input_tokens = agent.context_tokens.unwrap_or(context).min(context);
    let ceiling = prices.ceiling(&id, Settings::none(), input_tokens)?;
    let output_tokens = ceiling.output_tokens(settings.over(&model.settings()).output_limit().map(u64::from))?;
    Some(ceiling.rates.cost(input_tokens, output_tokens))
}

/// Anthropic's client sends an output limit with each request.
fn is_anthropic(config: &Config, model: &ModelConfig) -> bool {
    let name = model.provider.as_ref();
    config.providers.get(name).is_some_and(|provider| provider.kind(name) == Ok(ProviderKind::Anthropic))
}

impl fmt::Display for WorstCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: &str = "a run with its workers costs at most";
        match (self.cost, self.limit) {
            (Some(cost), Some(limit)) if cost > limit => write!(f, "{MOST} {limit}, its budget; without it {cost}"),
            (Some(cost), Some(limit)) => write!(f, "{MOST} {cost}; its budget of {limit} allows more"),
            (Some(cost), None) => write!(f, "{MOST} {cost}; it has no budget in dollars"),
            (None, Some(limit)) => write!(f, "{MOST} {limit}, its budget, apart from unpriced models"),
            (None, None) => f.write_str("the cost of a run is unbounded, because a model has no price"),
        }
    }
}
