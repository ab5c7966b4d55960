//! Spending limits.

use std::time::Duration;

use brigade_core::{Budget, Cap, Money, Window};
use schemars::JsonSchema;
use serde::Deserialize;

use super::units;

/// Spending limits. A limit that is not set is unlimited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BudgetConfig {
    /// US dollars, as a decimal in quotes such as "0.50".
    #[serde(deserialize_with = "units::some_positive")]
    #[schemars(with = "Option<String>")]
    pub usd: Option<Money>,
    /// Input and output tokens together.
    #[serde(deserialize_with = "units::some_positive")]
    pub tokens: Option<u64>,
    /// Model turns of all agents of a run together.
    #[serde(deserialize_with = "units::some_positive")]
    pub turns: Option<u64>,
    /// Model calls of all agents of a run together. 100 per run by default.
    #[serde(deserialize_with = "units::some_positive")]
    pub model_calls: Option<u64>,
    /// Tool calls of all agents of a run together.
    pub tool_calls: Option<u64>,
    /// Time from start to end, such as "5m". Only for runs, not for the process or a key.
    #[serde(deserialize_with = "units::some_duration")]
    #[schemars(with = "Option<String>")]
    pub wall: Option<Duration>,
    /// When the limits start again: "total" (never, the default), "day" or "month", in UTC.
    #[schemars(with = "Option<String>")]
    pub per: Window,
    /// Only warns when a limit is exceeded.
    pub soft: bool,
    /// The percentage of money and tokens that is reserved for a last answer when the rest is used up: 0 to 99.
    #[serde(deserialize_with = "units::some_percent")]
    pub wrap_up_percent: Option<u8>,
}

impl BudgetConfig {
    /// The limits as the ledger takes them.
    pub fn to_core(&self) -> Budget {
        let count = |limit| self.cap(limit);
        let mut budget = Budget::default().per(self.per);
        budget.usd = self.usd.map(|limit| self.cap(limit));
        budget.tokens = self.tokens.map(count);
        budget.turns = self.turns.map(count);
        budget.model_calls = self.model_calls.map(count);
        budget.tool_calls = self.tool_calls.map(count);
        budget.wall = self.wall;
        budget.wrap_up_percent = self.wrap_up_percent.unwrap_or(budget.wrap_up_percent);
        budget
    }

    fn cap<T>(&self, limit: T) -> Cap<T> {
        if self.soft { Cap::soft(limit) } else { Cap::hard(limit) }
    }
}
