//! What one run of an agent can cost at the most.

use std::fmt;

use brigade_core::{LargestRun, Limits, ModelId, Money, Pricing, Settings};
use brigade_observability::PriceBook;

use crate::config::{Agent, Config, Model};

/// What one run of an agent can cost at the most: every turn as large as it can be, at the dearest rate, as often tried
/// again as allowed; each worker called once a turn, unless its `max_calls` says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WorstCase {
    /// Without a budget; unknown if a model has no price.
    cost: Option<Money>,
    /// Where the agent's own budget stops it.
    limit: Option<Money>,
}

/// Assumed where neither the configuration nor the price table limits a prompt.
const USUAL_CONTEXT: u64 = 128_000;

/// Agents may delegate this deep.
const MAX_DEPTH: u32 = 5;

impl WorstCase {
    /// Of one run of `agent`.
    pub(crate) fn of(config: &Config, agent: &Agent, prices: &PriceBook) -> Self {
        Self { cost: cost(config, agent, (prices, MAX_DEPTH)), limit: agent.budget.usd }
    }

    /// The lower of the two.
    fn bound(self) -> Option<Money> {
        match (self.cost, self.limit) {
            (Some(cost), Some(limit)) => Some(cost.min(limit)),
            (cost, limit) => limit.or(cost),
        }
    }
}

fn cost(config: &Config, agent: &Agent, (prices, depth): (&PriceBook, u32)) -> Option<Money> {
    let turns = agent.turns.unwrap_or_else(|| Limits::default().turns);
    let model = config.models.get(agent.model.as_ref())?;
    let fallbacks = model.fallbacks.iter().filter_map(|name| config.models.get(name.as_ref()));
    let mut own = Money::ZERO;
    for model in std::iter::once(model).chain(fallbacks) {
        own = own.max(of_model(model, agent, (turns, prices))?);
    }
    let mut total = own;
    for worker in agent.workers.iter().filter(|_| depth > 0) {
        let work = config.agents.get(worker.agent.as_ref())?;
        let limit = worker.budget.as_ref().map_or(work.budget.usd, |budget| budget.usd);
        let task = WorstCase { cost: cost(config, work, (prices, depth - 1)), limit }.bound()?;
        total += task.times(u64::from(worker.max_calls.unwrap_or(turns)));
    }
    Some(total)
}

/// All turns of an agent with one model.
fn of_model(model: &Model, agent: &Agent, (turns, prices): (u32, &PriceBook)) -> Option<Money> {
    let id = ModelId::new(model.provider.as_ref().as_str(), model.model.as_str());
    let context = prices.lookup(&id).and_then(|facts| facts.context_window).unwrap_or(USUAL_CONTEXT);
    let largest = LargestRun {
        calls: u64::from(turns) * u64::from(model.policy.retry.attempts),
        input_tokens: agent.context_tokens.unwrap_or(context).min(context),
        output_tokens: agent.max_output_tokens.or(model.max_output_tokens).map(u64::from),
    };
    largest.cost(&id, &Settings::default(), prices as &dyn Pricing)
}

impl fmt::Display for WorstCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cost {
            Some(cost) => write!(f, "at the most {cost} a run, workers included")?,
            None => f.write_str("a run can cost nobody knows what, because a model has no price")?,
        }
        match self.limit {
            Some(limit) => write!(f, "; its budget stops it at {limit}"),
            None => f.write_str("; no budget stops it"),
        }
    }
}
