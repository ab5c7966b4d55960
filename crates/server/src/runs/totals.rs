//! What all runs of this process have cost, by day, key, agent and model.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use brigade_core::{CostSummary, Spending};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::Serialize;

/// What all runs of this process have cost.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<BTreeMap<Post, Spending>>);

/// What is counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Post {
    /// The day on which the run ended, in UTC.
    pub(crate) day: Date,
    pub(crate) key: Arc<str>,
    pub(crate) agent: Arc<str>,
    pub(crate) model: String,
}

/// So many lines are a year of ten agents with three models each, for one key.
const MOST_POSTS: usize = 10_000;

impl Tally {
    /// Adds what a run has cost that ends now.
    pub(crate) fn add(&self, key: &Arc<str>, agent: &Arc<str>, cost: &CostSummary) {
        let day = Timestamp::now().to_zoned(TimeZone::UTC).date();
        let mut posts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (model, spending) in &cost.by_model {
            let post = Post { day, key: Arc::clone(key), agent: Arc::clone(agent), model: model.clone() };
            *posts.entry(post).or_default() += *spending;
        }
        while posts.len() > MOST_POSTS {
            // The oldest day comes first.
            posts.pop_first();
        }
    }

    /// Everything that `wanted` wants.
    pub(crate) fn posts(&self, wanted: impl Fn(&Post) -> bool) -> Vec<(Post, Spending)> {
        let posts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        posts.iter().filter(|(post, _)| wanted(post)).map(|(post, spending)| (post.clone(), *spending)).collect()
    }
}
