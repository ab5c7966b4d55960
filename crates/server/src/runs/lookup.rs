//! Finds runs and their cost, in the memory of this process and in the store.
//!
//! If both know a run, the process knows more: its answer and its current status.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use brigade_core::{Money, RunId, Spending, StopReason, TraceId};
use brigade_durable::{Durable, RunState, RunStoreError, StoredRun, SubmittedTask};
use brigade_store::{NumberedEvent, RunFilter, RunInfo, RunStatus, StoreError, UsageFilter};
use jiff::{Timestamp, civil::Date};
use serde::Deserialize;

use super::{
    manager::Runs,
    report::StoredAnswer,
    run_handle::{RunEnd, RunHandle},
    store::Store,
    totals::{UsageKey, UsageSum},
};

/// Runs and their cost, wherever they are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunLookup<'a> {
    pub(crate) runs: &'a Runs,
    pub(crate) store: Option<&'a Store>,
    pub(crate) durable: Option<&'a Durable>,
}

/// A run that was found.
#[derive(Debug)]
pub(crate) enum FoundRun {
    /// In the memory of this process.
    InMemory(Arc<RunHandle>),
    /// Only in the store.
    Stored(Box<RecordedRun>),
    /// Durable, and not at work in this process.
    Durable(Box<DurableRun>),
}

/// A durable run that is not at work in this process.
#[derive(Debug)]
pub(crate) struct DurableRun {
    pub(crate) stored: StoredRun,
    pub(crate) request: RequestSummary,
    /// The outcome, unless it was erased or is of another version.
    pub(crate) answer: Option<StoredAnswer>,
}

/// A run that the history recorded.
#[derive(Debug)]
pub(crate) struct RecordedRun {
    pub(crate) info: RunInfo,
    /// The outcome, if the run was durable and ended a short time ago.
    pub(crate) answer: Option<StoredAnswer>,
}

/// What is shown of the stored request of a durable run.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RequestSummary {
    pub(crate) trace: Option<TraceId>,
    pub(crate) body: BodySummary,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct BodySummary {
    pub(crate) session_id: Option<String>,
    pub(crate) user: Option<String>,
}

/// Runs could not be looked up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookupError {
    #[error(transparent)]
    History(#[from] StoreError),
    #[error(transparent)]
    Runs(#[from] RunStoreError),
}

/// Selects runs. A field that is `None` matches all.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunQuery {
    pub(crate) owner: Option<Arc<str>>,
    pub(crate) agent: Option<String>,
    pub(crate) status: Option<RunStatus>,
    pub(crate) stop: Option<StopReason>,
    /// The first digits of the trace id.
    pub(crate) trace: Option<String>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) min_cost: Option<Money>,
    pub(crate) session: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) before: Option<RunId>,
    pub(crate) limit: usize,
}

/// A page of runs, the newest first.
#[derive(Debug)]
pub(crate) struct RunPage {
    pub(crate) runs: Vec<FoundRun>,
    pub(crate) has_more: bool,
}

/// Selects spending. A field that is `None` matches all.
#[derive(Debug, Clone, Default)]
pub(crate) struct UsageQuery {
    pub(crate) from: Option<Date>,
    pub(crate) to: Option<Date>,
    pub(crate) key: Option<Arc<str>>,
    pub(crate) agent: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) offset: usize,
    pub(crate) limit: usize,
}

/// A page of spending, and the sum of all pages.
#[derive(Debug)]
pub(crate) struct UsagePage {
    pub(crate) total: Spending,
    pub(crate) sums: Vec<UsageSum>,
    pub(crate) has_more: bool,
}

impl RunLookup<'_> {
    /// Finds a run that the key `owner` started, or that any key started if there is no owner.
    pub(crate) async fn find(&self, id: RunId, owner: Option<&str>) -> Result<Option<FoundRun>, LookupError> {
        if let Some(handle) = self.runs.find(id) {
            return Ok(Some(handle).filter(|handle| is_equal(owner, Some(handle.owner()))).map(FoundRun::InMemory));
        }
        let recorded = match self.store {
            // Runs of workers are part of their supervisor's run.
            Some(store) => store.runs().find(id, owner).await?.filter(|run| run.depth == 0),
            None => None,
        };
        if let Some(recorded) = recorded {
            return self.with_state(recorded).await.map(Some);
        }
        let durable = self.durable_run(id).await?;
        let durable = durable.filter(|run| is_equal(owner, Some(&run.stored.account)));
        Ok(durable.map(|run| FoundRun::Durable(Box::new(run))))
    }

    /// A recorded run may be a durable one, which goes on or has its answer.
    async fn with_state(&self, info: RunInfo) -> Result<FoundRun, LookupError> {
        let durable = self.durable_run(info.run).await?;
        let is_recorded = match info.status() {
            RunStatus::Ended | RunStatus::Cancelled => true,
            RunStatus::Failed => durable.as_ref().is_none_or(|run| run.stored.status == RunState::Failed),
            RunStatus::Running | RunStatus::Interrupted | RunStatus::Waiting => false,
        };
        Ok(match durable {
            Some(mut run) if !is_recorded => {
                // The request of a run that has ended is erased; the history still has what is shown of it.
                let RequestSummary { trace, body } = &mut run.request;
                *trace = trace.or_else(|| info.trace.parse().ok());
                body.session_id = body.session_id.take().or(info.session);
                body.user = body.user.take().or(info.user);
                FoundRun::Durable(Box::new(run))
            }
            durable => {
                let answer = durable.and_then(|run| run.answer);
                FoundRun::Stored(Box::new(RecordedRun { info, answer }))
            }
        })
    }

    async fn durable_run(&self, id: RunId) -> Result<Option<DurableRun>, LookupError> {
        let Some(durable) = self.durable else { return Ok(None) };
        let Some(stored) = durable.store().find(id).await? else { return Ok(None) };
        let task = serde_json::from_str::<SubmittedTask>(stored.input.get()).ok();
        let request = task.and_then(|task| serde_json::from_str(task.extra?.get()).ok()).unwrap_or_default();
        let answer = stored.output.as_ref().and_then(|output| serde_json::from_str(output.get()).ok());
        Ok(Some(DurableRun { stored, request, answer }))
    }

    /// The stored events of a run and of its workers after the one with this number.
    pub(crate) async fn events(&self, run: RunId, after: u64) -> Result<Vec<NumberedEvent>, StoreError> {
        let Some(store) = self.store else { return Ok(Vec::new()) };
        store.flush_for_read().await;
        store.runs().events(run, after).await
    }

    pub(crate) async fn list(&self, query: &RunQuery) -> Result<RunPage, LookupError> {
        let in_memory = self.runs.all().into_iter().filter(|handle| query.matches(handle));
        let mut found: BTreeMap<_, _> =
            in_memory.map(|handle| (Reverse(handle.id()), FoundRun::InMemory(handle))).collect();
        let mut has_more = found.len() > query.limit;
        if let Some(store) = self.store {
            store.flush_for_read().await;
            let stored = store.runs().list(query.for_store()).await?;
            has_more |= stored.len() > query.limit;
            for run in stored.into_iter().filter(|run| self.runs.find(run.run).is_none()) {
                found.insert(Reverse(run.run), self.with_state(run).await?);
            }
        }
        Ok(RunPage { runs: found.into_values().take(query.limit).collect(), has_more })
    }

    /// Sums by day, key, agent and model. With a store they cover all time, without one the runs of this process that
    /// have ended. What workers spend counts for their supervisor.
    pub(crate) async fn usage(&self, query: &UsageQuery) -> Result<UsagePage, StoreError> {
        let (total, mut sums) = if let Some(store) = self.store {
            store.flush_for_read().await;
            store.usage(query.for_store()).await?
        } else {
            let (mut total, sums) = (Spending::default(), self.runs.totals().sums(|key| query.matches(key)));
            for sum in &sums {
                total += sum.spending;
            }
            (total, sums.into_iter().skip(query.offset).take(query.limit + 1).collect())
        };
        let has_more = sums.len() > query.limit;
        sums.truncate(query.limit);
        Ok(UsagePage { total, sums, has_more })
    }
}

impl FoundRun {
    /// How the run ended, if this process knows.
    pub(crate) fn end(&self) -> Option<Arc<RunEnd>> {
        match self {
            Self::InMemory(handle) => handle.end(),
            Self::Stored(_) | Self::Durable(_) => None,
        }
    }
}

impl RunQuery {
    fn matches(&self, run: &RunHandle) -> bool {
        is_equal(self.owner.as_deref(), Some(run.owner()))
            && is_equal(self.agent.as_deref(), Some(run.agent()))
            && is_equal(self.session.as_deref(), run.session())
            && is_equal(self.user.as_deref(), run.user())
            && self.status.is_none_or(|status| run.status() == status)
            && self.before.is_none_or(|before| run.id() < before)
            && self.stop.is_none_or(|stop| run.stop() == Some(stop))
            && self.trace.as_ref().is_none_or(|digits| run.trace().to_string().starts_with(digits))
            && self.since.is_none_or(|since| run.started() >= since)
            && self.min_cost.is_none_or(|least| run.cost().total.cost().is_some_and(|cost| cost >= least))
    }

    /// The same query for the store, with one more run, which shows whether there are more.
    fn for_store(&self) -> RunFilter {
        let mut filter = RunFilter::default().limit(u32::try_from(self.limit + 1).unwrap_or(u32::MAX));
        filter.account = self.owner.as_deref().map(str::to_owned);
        filter.agent.clone_from(&self.agent);
        filter.status = self.status;
        filter.outcome = self.stop.map(|stop| stop.name().to_owned());
        filter.trace.clone_from(&self.trace);
        filter.since_us = self.since.map(Timestamp::as_microsecond);
        filter.min_cost = self.min_cost;
        filter.session.clone_from(&self.session);
        filter.user.clone_from(&self.user);
        filter.before = self.before;
        filter
    }
}

impl UsageQuery {
    fn matches(&self, key: &UsageKey) -> bool {
        self.from.is_none_or(|from| key.day >= from)
            && self.to.is_none_or(|to| key.day <= to)
            && is_equal(self.key.as_deref(), Some(&key.key))
            && is_equal(self.agent.as_deref(), Some(&key.agent))
            && is_equal(self.model.as_deref(), Some(&key.model))
    }

    fn for_store(&self) -> UsageFilter {
        let mut filter = UsageFilter::default();
        filter.since_day = self.from;
        filter.until_day = self.to;
        filter.account = self.key.as_deref().map(str::to_owned);
        filter.agent.clone_from(&self.agent);
        filter.model.clone_from(&self.model);
        filter.offset = u32::try_from(self.offset).unwrap_or(u32::MAX);
        filter.limit = u32::try_from(self.limit + 1).unwrap_or(u32::MAX);
        filter
    }
}

/// True if there is no expected value.
fn is_equal(expected: Option<&str>, value: Option<&str>) -> bool {
    expected.is_none_or(|expected| Some(expected) == value)
}
