//! Limits of spending.

use std::time::Duration;

use brigade_core::{Cap, Money, Window};
use schemars::JsonSchema;
use serde::Deserialize;

use super::units;

/// What may be spent. Absent is without limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Budget {
    /// US dollars, as a decimal such as "0.50".
    #[serde(deserialize_with = "units::some_positive")]
    #[schemars(with = "Option<String>")]
    pub(crate) usd: Option<Money>,
    /// Input and output tokens together.
    #[serde(deserialize_with = "units::some_positive")]
    pub(crate) tokens: Option<u64>,
    /// Model turns, all agents of a run together.
    #[serde(deserialize_with = "units::some_positive")]
    pub(crate) turns: Option<u64>,
    /// Model calls, all agents of a run together. 100 for a run if absent.
    #[serde(deserialize_with = "units::some_positive")]
    pub(crate) model_calls: Option<u64>,
    /// Tool calls, all agents of a run together.
    pub(crate) tool_calls: Option<u64>,
    /// Time from start to end, such as "5m". It means nothing for a process or a key.
    #[serde(deserialize_with = "units::some_time")]
    #[schemars(with = "Option<String>")]
    pub(crate) wall: Option<Duration>,
    /// The span of time that the limits are for: "total", "day" or "month", in UTC.
    #[schemars(with = "Option<String>")]
    pub(crate) per: Window,
    /// Only warns when a limit is crossed.
    pub(crate) soft: bool,
    /// How many percent of money and tokens are set aside for a last answer when the rest is used up.
    pub(crate) wrap_up_percent: Option<u8>,
}

impl Budget {
    /// The same in core's words.
    pub(crate) fn to_core(&self) -> brigade_core::Budget {
        let count = |limit| self.cap(limit);
        let mut budget = brigade_core::Budget::default().per(self.per);
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
