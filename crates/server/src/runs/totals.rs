//! Sums of what the runs of this process have cost.

use std::{collections::BTreeMap, sync::Arc};

use brigade_core::{CostSummary, Spending};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Serialize;

/// Sums of what the runs of this process have cost, by day, key, agent and model.
#[derive(Debug, Default)]
pub(crate) struct UsageTotals(Mutex<BTreeMap<UsageKey, Spending>>);

/// What one sum is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub(crate) struct UsageKey {
    /// The day on which the run ended, in UTC.
    #[schemars(with = "String", extend("format" = "date"))]
    pub(crate) day: Date,
    /// The name of the API key.
    #[schemars(with = "String")]
    pub(crate) key: Arc<str>,
    /// The name of the agent that the client called.
    #[schemars(with = "String")]
    pub(crate) agent: Arc<str>,
    /// The model, as `provider/model`.
    pub(crate) model: String,
}

/// One sum.
#[derive(Debug, Clone)]
pub(crate) struct UsageSum {
    pub(crate) key: UsageKey,
    pub(crate) spending: Spending,
}

/// A year of ten agents with three models each, for one key.
const MAX_SUMS: usize = 10_000;

impl UsageTotals {
    /// Adds the cost of a run that has just ended.
    pub(crate) fn add(&self, key: &Arc<str>, agent: &Arc<str>, cost: &CostSummary) {
        let day = Timestamp::now().to_zoned(TimeZone::UTC).date();
        let mut sums = self.0.lock();
        for (model, spending) in &cost.by_model {
            let key = UsageKey { day, key: Arc::clone(key), agent: Arc::clone(agent), model: model.clone() };
            *sums.entry(key).or_default() += *spending;
        }
        while sums.len() > MAX_SUMS {
            // The oldest day is first.
            sums.pop_first();
        }
    }

    /// The sums that match a filter.
    pub(crate) fn sums(&self, matches: impl Fn(&UsageKey) -> bool) -> Vec<UsageSum> {
        let sums = self.0.lock();
        let matching = sums.iter().filter(|(key, _)| matches(key));
        matching.map(|(key, spending)| UsageSum { key: key.clone(), spending: *spending }).collect()
    }
}
