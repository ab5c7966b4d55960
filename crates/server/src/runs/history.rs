//! What can be asked about runs and what they cost: what this process remembers, and behind it what the store keeps.
//!
//! Of a run that both know, this process knows more: its answer, and how it stands right now.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use brigade_core::{RunId, Spending};
use brigade_store::{RunFilter, RunInfo, RunStatus, StoreError, UsageFilter};
use jiff::civil::Date;

use crate::{
    runs::manager::{End, Record, Runs},
    runs::store::Store,
    runs::totals::Post,
};

/// Runs and spending, wherever they are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Past<'a> {
    pub(crate) runs: &'a Runs,
    pub(crate) store: Option<&'a Store>,
}

/// A run that was found.
#[derive(Debug)]
pub(crate) enum Found {
    /// By this process.
    Known(Arc<Record>),
    /// In the store.
    Kept(Box<RunInfo>),
}

/// Which runs are asked for. Absent means any.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) owner: Option<Arc<str>>,
    pub(crate) agent: Option<String>,
    pub(crate) status: Option<RunStatus>,
    pub(crate) session: Option<String>,
    pub(crate) before: Option<RunId>,
    pub(crate) limit: usize,
}

/// Which spending is asked for. Absent means any.
#[derive(Debug, Clone, Default)]
pub(crate) struct WantedSpending {
    pub(crate) from: Option<Date>,
    pub(crate) to: Option<Date>,
    pub(crate) key: Option<Arc<str>>,
    pub(crate) agent: Option<String>,
    pub(crate) model: Option<String>,
}

impl Past<'_> {
    /// The run with this id.
    pub(crate) async fn find(&self, id: RunId) -> Result<Option<Found>, StoreError> {
        if let Some(known) = self.runs.find(id) {
            return Ok(Some(Found::Known(known)));
        }
        let Some(store) = self.store else { return Ok(None) };
        // Workers are a part of the run that they work for.
        let kept = store.runs().find(id).await?.filter(|run| run.depth == 0);
        Ok(kept.map(|run| Found::Kept(Box::new(run))))
    }

    /// The newest runs, and whether there are more.
    pub(crate) async fn list(&self, wanted: &Wanted) -> Result<(Vec<Found>, bool), StoreError> {
        let known = self.runs.all().into_iter().filter(|record| wanted.wants(record));
        let mut found: BTreeMap<_, _> = known.map(|record| (Reverse(record.id), Found::Known(record))).collect();
        let mut has_more = found.len() > wanted.limit;
        if let Some(store) = self.store {
            store.flush().await;
            let kept = store.runs().list(wanted.in_store()).await?;
            has_more |= kept.len() > wanted.limit;
            let kept = kept.into_iter().filter(|run| self.runs.find(run.run).is_none());
            found.extend(kept.map(|run| (Reverse(run.run), Found::Kept(Box::new(run)))));
        }
        Ok((found.into_values().take(wanted.limit).collect(), has_more))
    }

    /// What was spent, by day, key, agent and model: with a store, ever; without, by the runs of this process that have
    /// ended. What workers spend is their supervisor's.
    pub(crate) async fn spending(&self, wanted: &WantedSpending) -> Result<Vec<(Post, Spending)>, StoreError> {
        let Some(store) = self.store else { return Ok(self.runs.tally().posts(|post| wanted.wants(post))) };
        store.flush().await;
        let mut posts: BTreeMap<Post, Spending> = BTreeMap::new();
        for (post, spending) in store.spending(wanted.in_store()).await? {
            *posts.entry(post).or_default() += spending;
        }
        Ok(posts.into_iter().collect())
    }
}

impl Found {
    /// The name of the key that asked for it.
    pub(crate) fn owner(&self) -> &str {
        match self {
            Self::Known(record) => &record.owner,
            Self::Kept(run) => &run.account,
        }
    }

    /// How it ended, if this process remembers it.
    pub(crate) fn end(&self) -> Option<Arc<End>> {
        match self {
            Self::Known(record) => record.end(),
            Self::Kept(_) => None,
        }
    }
}

impl Wanted {
    fn wants(&self, record: &Record) -> bool {
        is(self.owner.as_deref(), Some(&record.owner))
            && is(self.agent.as_deref(), Some(&record.agent))
            && is(self.session.as_deref(), record.session.as_deref())
            && self.status.is_none_or(|status| record.status() == status)
            && self.before.is_none_or(|before| record.id < before)
    }

    /// The same question to the store, for one more than is wanted.
    fn in_store(&self) -> RunFilter {
        let mut filter = RunFilter::default().limit(u32::try_from(self.limit + 1).unwrap_or(u32::MAX));
        filter.account = self.owner.as_deref().map(str::to_owned);
        filter.agent.clone_from(&self.agent);
        filter.status = self.status;
        filter.session.clone_from(&self.session);
        filter.before = self.before;
        filter
    }
}

impl WantedSpending {
    fn wants(&self, post: &Post) -> bool {
        self.from.is_none_or(|from| post.day >= from)
            && self.to.is_none_or(|to| post.day <= to)
            && is(self.key.as_deref(), Some(&post.key))
            && is(self.agent.as_deref(), Some(&post.agent))
            && is(self.model.as_deref(), Some(&post.model))
    }

    fn in_store(&self) -> UsageFilter {
        let mut filter = UsageFilter::default();
        filter.since_day = self.from;
        filter.until_day = self.to;
        filter.account = self.key.as_deref().map(str::to_owned);
        filter.agent.clone_from(&self.agent);
        filter.model.clone_from(&self.model);
        filter
    }
}

/// Whether a value is the one that is wanted, if one is.
fn is(wanted: Option<&str>, value: Option<&str>) -> bool {
    wanted.is_none_or(|wanted| Some(wanted) == value)
}
