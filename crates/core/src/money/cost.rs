//! What a run cost, by agent, by model and by tool.

use std::{collections::BTreeMap, fmt, ops::AddAssign, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ModelId, Money, Usage};

/// What one model call used and cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct Charge {
    /// How sure the amounts are.
    pub certainty: Certainty,
    /// Tokens.
    pub usage: Usage,
    /// Money; absent for a model without a price.
    pub cost: Option<Money>,
}

/// The agent and the model that a call is charged to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Spender {
    pub(crate) agent: Arc<str>,
    pub(crate) model: ModelId,
}

/// The agent that called a tool, and the tool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct ToolCaller {
    pub(crate) agent: Arc<str>,
    pub(crate) tool: Arc<str>,
}

/// How sure an amount is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// From the usage that the provider reported.
    Charged,
    /// The call succeeded, but the provider reported no usage.
    Estimated,
    /// The call failed after the request was sent; the provider may bill it.
    Uncertain,
}

/// Money and tokens spent by a number of model calls.
///
/// As JSON it also has the `cost`: zero if nothing was charged, absent if no call had a price.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(into = "SpendingJson")]
#[schemars(with = "SpendingJson")]
#[non_exhaustive]
pub struct Spending {
    /// Requests sent to providers.
    pub calls: u64,
    /// How many of `calls` went to a model without a price; their cost is not in the sums.
    pub unpriced_calls: u64,
    /// Tokens of calls that were answered.
    pub usage: Usage,
    /// Cost from usage that providers reported.
    pub charged: Money,
    /// Cost of calls that succeeded without reported usage.
    pub estimated: Money,
    /// Cost of calls that failed after the request was sent; the provider may bill them.
    pub uncertain: Money,
    /// Input and output tokens of these calls, at most. They are not in `usage`.
    #[serde(default)]
    pub uncertain_tokens: u64,
}

/// What a run cost, by agent, by model and by tool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct CostSummary {
    /// The whole cost.
    pub total: Spending,
    /// The cost of each agent, by its path. These add up to the total.
    pub by_agent: BTreeMap<Arc<str>, Spending>,
    /// The cost of each model, as `provider/model`. These add up to the total.
    pub by_model: BTreeMap<String, Spending>,
    /// The calls of each tool, by its name. Their cost is a part of what the agents spent: it does not add to the total.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub by_tool: BTreeMap<Arc<str>, ToolSpending>,
}

/// How often a tool was called, and what that cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct ToolSpending {
    /// Calls that were run.
    pub calls: u64,
    /// For a tool that is a worker, the cost of the worker and of all agents below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spending: Option<Spending>,
}

/// The JSON form of [`Spending`].
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Spending")]
struct SpendingJson {
    /// US dollars in all. Absent only if calls were made and none had a price.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<Money>,
    calls: u64,
    unpriced_calls: u64,
    usage: Usage,
    charged: Money,
    estimated: Money,
    uncertain: Money,
    uncertain_tokens: u64,
}

impl Charge {
    /// What one call used and cost.
    pub const fn new(certainty: Certainty, usage: Usage, cost: Option<Money>) -> Self {
        Self { certainty, usage, cost }
    }
}

impl Spending {
    /// Charged, estimated and uncertain cost together: the amount that counts against a limit.
    pub fn total(&self) -> Money {
        self.charged + self.estimated + self.uncertain
    }

    /// The total, or nothing if no call had a price: an unknown cost is absent, and that of no calls is zero.
    pub fn cost(&self) -> Option<Money> {
        (self.calls == 0 || self.unpriced_calls < self.calls).then(|| self.total())
    }
}

impl From<&Charge> for Spending {
    /// The spending of one call. A negative cost counts as zero: it would give money back that was spent before.
    fn from(charge: &Charge) -> Self {
        let (usage, cost) = (charge.usage, charge.cost.unwrap_or_default().or_zero());
        let spending = Self { calls: 1, unpriced_calls: u64::from(charge.cost.is_none()), ..Self::default() };
        match charge.certainty {
            Certainty::Charged => Self { usage, charged: cost, ..spending },
            Certainty::Estimated => Self { usage, estimated: cost, ..spending },
            Certainty::Uncertain => Self { uncertain: cost, uncertain_tokens: usage.total_tokens(), ..spending },
        }
    }
}

impl AddAssign for Spending {
    fn add_assign(&mut self, other: Self) {
        self.calls += other.calls;
        self.unpriced_calls += other.unpriced_calls;
        self.usage += other.usage;
        self.charged += other.charged;
        self.estimated += other.estimated;
        self.uncertain += other.uncertain;
        self.uncertain_tokens = self.uncertain_tokens.saturating_add(other.uncertain_tokens);
    }
}

impl AddAssign for ToolSpending {
    fn add_assign(&mut self, other: Self) {
        self.calls += other.calls;
        if let Some(spending) = other.spending {
            *self.spending.get_or_insert_default() += spending;
        }
    }
}

impl From<Spending> for SpendingJson {
    fn from(spending: Spending) -> Self {
        let Spending { calls, unpriced_calls, usage, charged, estimated, uncertain, uncertain_tokens } = spending;
        Self { cost: spending.cost(), calls, unpriced_calls, usage, charged, estimated, uncertain, uncertain_tokens }
    }
}

names! { Certainty: Charged => "charged", Estimated => "estimated", Uncertain => "uncertain" }

impl CostSummary {
    pub(crate) fn new(
        total: Spending,
        by_spender: &BTreeMap<Spender, Spending>,
        tool_calls: &BTreeMap<ToolCaller, u64>,
    ) -> Self {
        let mut summary = Self { total, ..Self::default() };
        for (spender, spending) in by_spender {
            *summary.by_agent.entry(Arc::clone(&spender.agent)).or_default() += *spending;
            *summary.by_model.entry(spender.model.to_string()).or_default() += *spending;
        }
        for (ToolCaller { agent, tool }, calls) in tool_calls {
            let worker = summary.with_workers(&[agent, "/", tool].concat());
            // An agent called by one of its own workers has the cost of that call already.
            let is_recursive = agent.split('/').skip(1).any(|name| name == &**tool);
            let spending = (worker.calls > 0 && !is_recursive).then_some(worker);
            *summary.by_tool.entry(Arc::clone(tool)).or_default() += ToolSpending { calls: *calls, spending };
        }
        summary
    }

    /// The cost of the agent with this path and of all workers below it.
    fn with_workers(&self, agent: &str) -> Spending {
        let is_below =
            |path: &str| path.strip_prefix(agent).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let mut sum = Spending::default();
        self.by_agent.iter().filter(|(path, _)| is_below(path)).for_each(|(_, spending)| sum += *spending);
        sum
    }
}

impl fmt::Display for CostSummary {
    /// One line for a log:
    /// `$0.0312 (desk $0.0290, desk/critic $0.0022; critic 2 calls $0.0022, search 3 calls), 5120 tokens in, 840 out`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_cost(f, &self.total)?;
        let mut separator = " (";
        for (agent, spending) in &self.by_agent {
            write!(f, "{separator}{agent} ")?;
            write_cost(f, spending)?;
            separator = ", ";
        }
        separator = if self.by_agent.is_empty() { " (" } else { "; " };
        for (tool, calls) in &self.by_tool {
            write!(f, "{separator}{tool} {calls}")?;
            separator = ", ";
        }
        f.write_str(if self.by_agent.is_empty() && self.by_tool.is_empty() { "" } else { ")" })?;
        write!(f, ", {} tokens in, {} out", self.total.usage.input_tokens, self.total.usage.output_tokens)?;
        if self.total.uncertain > Money::ZERO {
            write!(f, ", of it {} uncertain", self.total.uncertain)?;
        }
        Ok(())
    }
}

impl fmt::Display for ToolSpending {
    /// `2 calls $0.0022`, or `3 calls` for a tool that is not a worker.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.calls, if self.calls == 1 { "call" } else { "calls" })?;
        match &self.spending {
            Some(spending) => {
                f.write_str(" ")?;
                write_cost(f, spending)
            }
            None => Ok(()),
        }
    }
}

fn write_cost(f: &mut fmt::Formatter<'_>, spending: &Spending) -> fmt::Result {
    match spending.cost() {
        _ if spending.calls == 0 => f.write_str("no calls"),
        Some(cost) => write!(f, "{cost}"),
        None => f.write_str("no price"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> CostSummary {
        let line = |agent: &str, model, charge| {
            (Spender { agent: agent.into(), model: ModelId::new("acme", model) }, Spending::from(&charge))
        };
        let charge = |certainty, input, cost: i64| Charge {
            certainty,
            usage: Usage::new(input, 10),
            cost: Some(Money::from_nano(cost * 1_000_000)),
        };
        let lines = [
            line("desk", "large", charge(Certainty::Charged, 900, 29)),
            line("desk", "small", charge(Certainty::Uncertain, 100, 1)),
            line("desk/critic", "small", charge(Certainty::Charged, 50, 2)),
            line("desk/critic/scout", "small", Charge { cost: None, ..charge(Certainty::Charged, 20, 0) }),
            line("desk/critics", "small", charge(Certainty::Estimated, 20, 4)),
        ];
        let mut total = Spending::default();
        for (_, spending) in &lines {
            total += *spending;
        }
        let tool = |agent: &str, tool: &str, calls| (ToolCaller { agent: agent.into(), tool: tool.into() }, calls);
        let tools = [tool("desk", "critic", 2), tool("desk/critic", "search", 1), tool("desk/critics", "search", 2)];
        CostSummary::new(total, &lines.into(), &tools.into())
    }

    #[test]
    fn the_log_line_shows_the_cost_of_each_agent_and_the_uncertain_part() {
        assert_eq!(
            summary().to_string(),
            "$0.0360 (desk $0.0300, desk/critic $0.0020, desk/critic/scout no price, desk/critics $0.0040; \
             critic 2 calls $0.0020, search 3 calls), 990 tokens in, 40 out, of it $0.0010 uncertain"
        );
    }

    #[test]
    fn a_worker_costs_what_it_and_the_agents_below_it_cost() {
        let critic = summary().with_workers("desk/critic");
        assert_eq!((critic.calls, critic.cost()), (2, Some(Money::from_nano(2_000_000))));
        assert_eq!(summary().with_workers("desk"), summary().total);
    }

    #[test]
    fn a_tool_that_is_not_a_worker_has_calls_and_no_cost() {
        let by_tool = summary().by_tool;
        assert_eq!(by_tool.get("search"), Some(&ToolSpending { calls: 3, spending: None }));
        assert_eq!(by_tool.get("critic").unwrap().spending.unwrap().calls, 2);
        assert_eq!(CostSummary::default().to_string(), "no calls, 0 tokens in, 0 out");
    }

    #[test]
    fn no_calls_cost_nothing_and_calls_without_a_price_an_unknown_amount() {
        let calls = |calls, unpriced_calls| Spending { calls, unpriced_calls, ..Spending::default() };
        for (spending, cost) in [(calls(0, 0), Some("0")), (calls(2, 1), Some("0")), (calls(2, 2), None)] {
            let json = serde_json::to_value(spending).unwrap();
            assert_eq!(json.get("cost").and_then(|cost| cost.as_str()), cost, "{json}");
        }
    }

    #[test]
    fn json_includes_the_cost_of_priced_calls_and_can_be_read_back() {
        let json = serde_json::to_value(summary()).unwrap();
        assert_eq!(json["total"]["cost"], "0.036");
        assert_eq!(json["by_model"]["acme/small"]["estimated"], "0.004");
        assert_eq!(json["by_agent"]["desk/critic/scout"].get("cost"), None);
        assert_eq!(json["by_tool"]["critic"]["spending"]["cost"], "0.002");
        assert_eq!(json["by_tool"]["search"], serde_json::json!({ "calls": 3 }));
        assert_eq!(serde_json::from_value::<CostSummary>(json).unwrap(), summary());
    }

    #[test]
    fn the_spending_of_a_call_goes_where_its_certainty_says() {
        let (usage, cost) = (Usage::new(30, 4), Money::from_cents(2));
        let spent = |certainty| Spending::from(&Charge::new(certainty, usage, Some(cost)));
        let one = Spending { calls: 1, ..Spending::default() };
        assert_eq!(spent(Certainty::Charged), Spending { usage, charged: cost, ..one });
        assert_eq!(spent(Certainty::Estimated), Spending { usage, estimated: cost, ..one });
        assert_eq!(spent(Certainty::Uncertain), Spending { uncertain: cost, uncertain_tokens: 34, ..one });
        let unpriced = Spending::from(&Charge::new(Certainty::Charged, usage, None));
        assert_eq!(unpriced, Spending { usage, unpriced_calls: 1, ..one });
    }

    #[test]
    fn sums_of_spending_add_up_field_by_field() {
        let spending = |n: u64| Spending {
            calls: n,
            unpriced_calls: 2 * n,
            usage: Usage::new(3 * n, 4 * n),
            charged: Money::from_nano(5 * n.cast_signed()),
            estimated: Money::from_nano(6 * n.cast_signed()),
            uncertain: Money::from_nano(7 * n.cast_signed()),
            uncertain_tokens: 8 * n,
        };
        let mut sum = spending(3);
        sum += spending(4);
        assert_eq!(sum, spending(7));
        assert_eq!(sum.total(), Money::from_nano((5 + 6 + 7) * 7));

        let mut tool = ToolSpending { calls: 3, spending: None };
        tool += ToolSpending { calls: 4, spending: Some(spending(3)) };
        tool += ToolSpending { calls: 5, spending: Some(spending(4)) };
        tool += ToolSpending { calls: 6, spending: None };
        assert_eq!(tool, ToolSpending { calls: 18, spending: Some(spending(7)) });
    }

    #[test]
    fn each_certainty_has_a_name_for_labels() {
        let all = [Certainty::Charged, Certainty::Estimated, Certainty::Uncertain];
        assert_eq!(all.map(Certainty::name), ["charged", "estimated", "uncertain"]);
    }

    #[test]
    fn the_log_line_lists_tools_without_agents_and_agents_without_tools() {
        let by_tool = BTreeMap::from([(Arc::from("search"), ToolSpending { calls: 1, spending: None })]);
        let tools = CostSummary { by_tool, ..CostSummary::default() };
        assert_eq!(tools.to_string(), "no calls (search 1 call), 0 tokens in, 0 out");
        let spent = Spending { calls: 1, charged: Money::from_cents(1), ..Spending::default() };
        let agents = CostSummary { by_agent: [(Arc::from("desk"), spent)].into(), ..CostSummary::default() };
        assert_eq!(agents.to_string(), "no calls (desk $0.0100), 0 tokens in, 0 out");
    }
}
