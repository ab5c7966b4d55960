//! What one run of an agent can cost at the most.

use std::fmt;

use brigade_core::{ModelId, Money, Pricing, Settings, TurnLimits};
use brigade_observability::PriceBook;
use brigade_providers::anthropic_answer_tokens;

use crate::config::{Agent, Budget, Config, Kind, Model};

/// What one run of an agent can cost at the most: every turn as large as it can be, at the dearest rate, as often tried
/// again as allowed; each worker called once a turn, unless its `max_calls` says otherwise; all within the limit of model
/// calls.
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

/// All calls that a run may make, and the dearest of them.
#[derive(Debug, Clone, Copy)]
struct Calls {
    total: Money,
    dearest: Money,
}

impl WorstCase {
    /// Of one run of `agent`.
    pub(crate) fn of(config: &Config, agent: &Agent, prices: &PriceBook) -> Self {
        let usual = Budget { model_calls: Some(brigade_core::Budget::DEFAULT_MODEL_CALLS), ..Budget::default() };
        let cost = calls(config, agent, (prices, MAX_DEPTH));
        let cost =
            cost.map(|calls| calls.within(&agent.budget).or_else(|| calls.within(&usual)).unwrap_or(calls.total));
        Self { cost, limit: agent.budget.usd }
    }
}

impl Calls {
    /// What they cost if a budget limits their number.
    fn within(self, budget: &Budget) -> Option<Money> {
        let most = budget.model_calls?;
        Some(if budget.soft { self.total } else { self.total.min(self.dearest.times(most)) })
    }

    /// What one task of them costs under a worker's budget.
    fn under(self, budget: &Budget) -> Money {
        let cost = self.within(budget).unwrap_or(self.total);
        budget.usd.map_or(cost, |limit| cost.min(limit))
    }
}

fn calls(config: &Config, agent: &Agent, (prices, depth): (&PriceBook, u32)) -> Option<Calls> {
    let turns = agent.turns.unwrap_or_else(|| TurnLimits::default().turns);
    let model = config.models.get(agent.model.as_ref())?;
    let fallbacks = model.fallbacks.iter().filter_map(|name| config.models.get(name.as_ref()));
    let mut all = Calls { total: Money::ZERO, dearest: Money::ZERO };
    for model in std::iter::once(model).chain(fallbacks) {
        let call = dearest_call(config, (model, agent), prices)?;
        let attempts = u64::from(turns) * u64::from(model.policy.retry.attempts);
        all = Calls { total: all.total.max(call.times(attempts)), dearest: all.dearest.max(call) };
    }
    for worker in agent.workers.iter().filter(|_| depth > 0) {
        let work = config.agents.get(worker.agent.as_ref())?;
        let task = calls(config, work, (prices, depth - 1))?;
        let cost = task.under(worker.budget.as_ref().unwrap_or(&work.budget));
        all.total += cost.times(u64::from(worker.max_calls.unwrap_or(turns)));
        all.dearest = all.dearest.max(task.dearest);
    }
    Some(all)
}

/// The longest answer to the longest prompt.
fn dearest_call(config: &Config, (model, agent): (&Model, &Agent), prices: &PriceBook) -> Option<Money> {
    let id = ModelId::new(model.provider.as_ref().as_str(), model.model.as_str());
    let context = prices.lookup(&id).and_then(|facts| facts.context_window).unwrap_or(USUAL_CONTEXT);
    let settings = Settings::default()
        .max_output_tokens(agent.max_output_tokens)
        .answer_tokens(is_anthropic(config, model).then(|| anthropic_answer_tokens(&model.model)));
    let input_tokens = agent.context_tokens.unwrap_or(context).min(context);
    let ceiling = prices.ceiling(&id, Settings::none(), input_tokens)?;
    let output_tokens = ceiling.output_tokens(settings.over(&model.settings()).output_limit().map(u64::from))?;
    Some(ceiling.rates.cost(input_tokens, output_tokens))
}

/// Its clients send a limit of output with each request.
fn is_anthropic(config: &Config, model: &Model) -> bool {
    let name = model.provider.as_ref();
    let provider = config.providers.get(name);
    provider.is_some_and(|provider| provider.kind.as_ref().map_or(name, AsRef::as_ref).parse() == Ok(Kind::Anthropic))
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
