//! What a run cost, by agent, by model and by tool.

use std::{collections::BTreeMap, fmt, ops::AddAssign, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{ModelId, Money, Usage, money::node::ToolLine};

/// What one model call used and cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charge {
    /// How sure the amounts are.
    pub certainty: Certainty,
    /// Tokens.
    pub usage: Usage,
    /// Money; absent for a model without a price.
    pub cost: Option<Money>,
}

/// Whose call a reservation is for: the labels of the cost summary.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Spender {
    /// The agent's path.
    pub agent: Arc<str>,
    /// The model.
    pub model: ModelId,
}

/// How sure an amount is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Certainty {
    /// From the usage that the provider reported.
    Charged,
    /// The call succeeded, but the provider reported no usage.
    Estimated,
    /// The call failed after the request had left; the provider may bill it.
    Uncertain,
}

/// Money and tokens spent by a number of model calls.
///
/// As JSON it also has the `cost`, absent if no call had a price.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Written")]
pub struct Spending {
    /// Attempts on the wire.
    pub calls: u64,
    /// Of these, attempts whose model has no price; their cost is not in the sums.
    pub unpriced_calls: u64,
    /// Tokens.
    pub usage: Usage,
    /// From usage that providers reported.
    pub charged: Money,
    /// Of calls that succeeded without reported usage.
    pub estimated: Money,
    /// Of calls that failed after the request had left; the provider may bill them.
    pub uncertain: Money,
}

/// What a run cost, by agent, by model and by tool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CostSummary {
    /// Everything together.
    pub total: Spending,
    /// By the agent's path.
    pub by_agent: BTreeMap<Arc<str>, Spending>,
    /// By model, as `provider/model`.
    pub by_model: BTreeMap<String, Spending>,
    /// By the tool's name. Agents and models spend, so this is no further share of the total: it tells through which
    /// tools it was spent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub by_tool: BTreeMap<Arc<str>, ToolSpending>,
}

/// How often a tool was called, and what that cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolSpending {
    /// Calls that were run.
    pub calls: u64,
    /// What the workers behind it spent, and those below them; absent for a tool that is no worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spending: Option<Spending>,
}

/// The JSON form of [`Spending`].
#[derive(Serialize)]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<Money>,
    calls: u64,
    unpriced_calls: u64,
    usage: Usage,
    charged: Money,
    estimated: Money,
    uncertain: Money,
}

impl Spending {
    /// Charged, estimated and uncertain together: what counts against a limit.
    pub fn total(&self) -> Money {
        self.charged + self.estimated + self.uncertain
    }

    /// The total, or nothing if no call had a price: a cost that was not observed is absent, not zero.
    pub fn cost(&self) -> Option<Money> {
        (self.unpriced_calls < self.calls).then(|| self.total())
    }

    pub(crate) fn add(&mut self, &Charge { certainty, usage, cost }: &Charge) {
        self.calls += 1;
        self.usage += usage;
        self.unpriced_calls += u64::from(cost.is_none());
        let sum = match certainty {
            Certainty::Charged => &mut self.charged,
            Certainty::Estimated => &mut self.estimated,
            Certainty::Uncertain => &mut self.uncertain,
        };
        *sum += cost.unwrap_or_default();
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

impl From<Spending> for Written {
    fn from(spending: Spending) -> Self {
        let Spending { calls, unpriced_calls, usage, charged, estimated, uncertain } = spending;
        Self { cost: spending.cost(), calls, unpriced_calls, usage, charged, estimated, uncertain }
    }
}

impl Certainty {
    /// A stable name for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Charged => "charged",
            Self::Estimated => "estimated",
            Self::Uncertain => "uncertain",
        }
    }
}

impl CostSummary {
    /// What the agent with this path and all workers below it spent: the cost of the tool behind which it works.
    pub fn with_workers(&self, agent: &str) -> Spending {
        let is_below =
            |path: &str| path.strip_prefix(agent).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let mut sum = Spending::default();
        self.by_agent.iter().filter(|(path, _)| is_below(path)).for_each(|(_, spending)| sum += *spending);
        sum
    }

    pub(crate) fn new(total: Spending, lines: &[(Spender, Spending)], tools: &[ToolLine]) -> Self {
        let mut summary = Self { total, ..Self::default() };
        for (who, spending) in lines {
            *summary.by_agent.entry(Arc::clone(&who.agent)).or_default() += *spending;
            *summary.by_model.entry(who.model.to_string()).or_default() += *spending;
        }
        for ToolLine { agent, tool, calls } in tools {
            let behind = summary.with_workers(&[agent, "/", tool].concat());
            // An agent that is asked again by those below it has that in its cost already.
            let is_below_itself = agent.split('/').skip(1).any(|name| name == &**tool);
            let spending = (behind.calls > 0 && !is_below_itself).then_some(behind);
            *summary.by_tool.entry(Arc::clone(tool)).or_default() += ToolSpending { calls: *calls, spending };
        }
        summary
    }
}

impl fmt::Display for CostSummary {
    /// One line a log can hold:
    /// `$0.0312 (desk $0.0290, desk/critic $0.0022; critic 2 calls $0.0022, search 3 calls), 5120 tokens in, 840 out`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_cost(f, &self.total)?;
        let mut mark = " (";
        for (agent, spending) in &self.by_agent {
            write!(f, "{mark}{agent} ")?;
            write_cost(f, spending)?;
            mark = ", ";
        }
        mark = if self.by_agent.is_empty() { " (" } else { "; " };
        for (tool, line) in &self.by_tool {
            write!(f, "{mark}{tool} {line}")?;
            mark = ", ";
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
    /// `2 calls $0.0022`, or `3 calls` for a tool that is no worker.
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
        Some(cost) => write!(f, "{cost}"),
        None if spending.calls == 0 => f.write_str("no calls"),
        None => f.write_str("no price"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModelId;

    fn summary() -> CostSummary {
        let line = |agent: &str, model, charge| {
            let mut spending = Spending::default();
            spending.add(&charge);
            (Spender { agent: agent.into(), model: ModelId::new("acme", model) }, spending)
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
        for (_, line) in &lines {
            total += *line;
        }
        let tool = |agent: &str, tool: &str, calls| ToolLine { agent: agent.into(), tool: tool.into(), calls };
        let tools = [tool("desk", "critic", 2), tool("desk/critic", "search", 1), tool("desk/critics", "search", 2)];
        CostSummary::new(total, &lines, &tools)
    }

    #[test]
    fn the_line_for_logs_says_what_each_agent_cost_and_what_is_uncertain() {
        assert_eq!(
            summary().to_string(),
            "$0.0360 (desk $0.0300, desk/critic $0.0020, desk/critic/scout no price, desk/critics $0.0040; \
             critic 2 calls $0.0020, search 3 calls), 1090 tokens in, 50 out, of it $0.0010 uncertain"
        );
    }

    #[test]
    fn a_tool_costs_what_the_agents_behind_it_cost() {
        let critic = summary().with_workers("desk/critic");
        assert_eq!((critic.calls, critic.cost()), (2, Some(Money::from_nano(2_000_000))));
        assert_eq!(summary().with_workers("desk"), summary().total);
    }

    #[test]
    fn a_tool_that_is_no_worker_has_calls_and_no_cost() {
        let by_tool = summary().by_tool;
        assert_eq!(by_tool.get("search"), Some(&ToolSpending { calls: 3, spending: None }));
        assert_eq!(by_tool.get("critic").unwrap().spending.unwrap().calls, 2);
        assert_eq!(CostSummary::default().to_string(), "no calls, 0 tokens in, 0 out");
    }

    #[test]
    fn json_has_the_cost_where_there_is_a_price_and_reads_back() {
        let json = serde_json::to_value(summary()).unwrap();
        assert_eq!(json["total"]["cost"], "0.036");
        assert_eq!(json["by_model"]["acme/small"]["estimated"], "0.004");
        assert_eq!(json["by_agent"]["desk/critic/scout"].get("cost"), None);
        assert_eq!(json["by_tool"]["critic"]["spending"]["cost"], "0.002");
        assert_eq!(json["by_tool"]["search"], serde_json::json!({ "calls": 3 }));
        assert_eq!(serde_json::from_value::<CostSummary>(json).unwrap(), summary());
    }
}
