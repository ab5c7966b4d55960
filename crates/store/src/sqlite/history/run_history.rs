//! Queries over runs, their events and their costs.

use std::path::Path;

use brigade_core::{EventRecord, Money, RunId, Spending, Usage, Window};
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};
use uuid::Uuid;

use super::{
    trace_history::{numbered_events, trace},
    usage::{first_day, usage},
};
use crate::{
    Database, StoreError, UsageBy, UsageFilter, UsageRow,
    sqlite::{
        conditions::{Conditions, MAX_ROWS},
        database::today,
        readers::Readers,
    },
};

/// Queries over stored runs, their events and their costs. Cheap to create; see
/// [`History::runs`](crate::History::runs). It can be used until its database is closed.
///
/// ```no_run
/// # async fn example() -> Result<(), brigade_store::StoreError> {
/// use brigade_store::{RunFilter, RunHistory, RunStatus};
///
/// // Another process may be writing the file.
/// let runs = RunHistory::open("brigade.db")?;
/// for run in runs.list(RunFilter::default().status(RunStatus::Failed)).await? {
///     println!("{} {}: {:?}", run.trace, run.agent, run.error);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct RunHistory {
    readers: Readers,
}

/// Selects runs. By default, the newest fifty at the top level.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunFilter {
    /// Only runs that this account pays for.
    pub account: Option<String>,
    /// Only runs of this agent, given by its path.
    pub agent: Option<String>,
    /// Only runs with this status.
    pub status: Option<RunStatus>,
    /// Only runs with this outcome, see [`RunInfo::outcome`].
    pub outcome: Option<String>,
    /// Only runs of requests whose trace id starts with these digits.
    pub trace: Option<String>,
    /// Only runs that cost at least this much.
    pub min_cost: Option<Money>,
    /// Only runs of this session.
    pub session: Option<String>,
    /// Only runs for this end user.
    pub user: Option<String>,
    /// Only runs that started at this time or later, in microseconds since 1970.
    pub since_us: Option<i64>,
    /// Whether to include the runs of workers.
    pub children: bool,
    /// Only runs that started before this one: the last one of the previous page.
    pub before: Option<RunId>,
    /// The most runs to return.
    pub limit: u32,
}

/// The status of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunStatus {
    /// It has not ended.
    Running,
    /// It has an outcome, complete or partial.
    Ended,
    /// It was cancelled.
    Cancelled,
    /// It ended with an error.
    Failed,
    /// Its process ended first.
    Interrupted,
    /// It waits, for example until a person allows a call, and goes on later.
    Waiting,
}

/// A stored run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunInfo {
    /// Its id.
    pub run: RunId,
    /// Its trace id, 32 hexadecimal digits.
    pub trace: String,
    /// The agent's path.
    pub agent: String,
    /// The account that pays for it; empty if there is none.
    pub account: String,
    /// The session that it continues.
    pub session: Option<String>,
    /// The end user that the run is for, see [`Scope`](brigade_core::Scope).
    pub user: Option<String>,
    /// The number of agents above this one.
    pub depth: u32,
    /// When it started, in microseconds since 1970.
    pub started_us: i64,
    /// The name of its [`StopReason`](brigade_core::StopReason), `failed`, `waiting`, or `interrupted` if its process ended
    /// first; absent while it runs.
    pub outcome: Option<String>,
    /// The kind of the model error that it failed with.
    pub error: Option<String>,
    /// Model turns of this agent.
    pub turns: Option<u32>,
    /// Its tokens, including workers, without any breakdown.
    pub usage: Option<Usage>,
    /// Its cost, including workers; absent if nothing had a price.
    pub cost: Option<Money>,
    /// Its duration in microseconds.
    pub elapsed_us: Option<u64>,
}

/// An event of a request.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct NumberedEvent {
    /// Its number within the request, from 1. Numbers increase, and lost events leave gaps.
    pub number: u64,
    /// The event.
    pub record: EventRecord,
}

/// The cost of an agent's calls of one model.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AgentModelCost {
    /// The agent's path.
    pub agent: String,
    /// The model's name.
    pub model: String,
    /// What the calls have used.
    pub spending: Spending,
}

/// All runs of one request, with their costs and events.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TraceHistory {
    /// The runs, in the order in which they started.
    pub runs: Vec<RunInfo>,
    /// The cost of each agent's calls of each model, without workers, in the order of their names.
    pub costs: Vec<AgentModelCost>,
    /// The events, in order. Events that this version does not know are left out.
    pub events: Vec<EventRecord>,
}

pub(super) const RUN_COLUMNS: &str = "session, run, trace, agent, account, depth, started_us, outcome, error, turns, \
                           input_tokens, output_tokens, cost_nano, elapsed_us, user";

/// The outcomes with a status other than [`RunStatus::Ended`].
const CANCELLED: &str = "cancelled";
const FAILED: &str = "failed";
const INTERRUPTED: &str = "interrupted";
const WAITING: &str = "waiting";

impl Default for RunFilter {
    fn default() -> Self {
        Self {
            account: None,
            agent: None,
            status: None,
            outcome: None,
            trace: None,
            min_cost: None,
            session: None,
            user: None,
            since_us: None,
            children: false,
            before: None,
            limit: 50,
        }
    }
}

impl RunFilter {
    /// Selects runs that this account pays for.
    #[must_use]
    pub fn account(self, account: impl Into<String>) -> Self {
        Self { account: Some(account.into()), ..self }
    }

    /// Selects runs of the agent with this path.
    #[must_use]
    pub fn agent(self, agent: impl Into<String>) -> Self {
        Self { agent: Some(agent.into()), ..self }
    }

    /// Selects runs with this status.
    #[must_use]
    pub fn status(self, status: RunStatus) -> Self {
        Self { status: Some(status), ..self }
    }

    /// Selects runs of this session.
    #[must_use]
    pub fn session(self, session: impl Into<String>) -> Self {
        Self { session: Some(session.into()), ..self }
    }

    /// Selects runs for this end user.
    #[must_use]
    pub fn user(self, user: impl Into<String>) -> Self {
        Self { user: Some(user.into()), ..self }
    }

    /// Sets the most runs to return.
    #[must_use]
    pub fn limit(self, limit: u32) -> Self {
        Self { limit, ..self }
    }
}

impl RunHistory {
    /// The history in this database.
    pub fn new(database: &Database) -> Self {
        Self { readers: database.readers().clone() }
    }

    /// Opens the history in the file at `path` for reading only; another process may be writing the file. Blocks.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Ok(Self { readers: Readers::open(path.as_ref())? })
    }

    /// Lists runs, the newest first.
    pub async fn list(&self, filter: RunFilter) -> Result<Vec<RunInfo>, StoreError> {
        self.readers.read(move |connection| list(connection, &filter)).await
    }

    /// Finds the run with this id, if `account` pays for it. Without an account, any run.
    pub async fn find(&self, id: RunId, account: Option<&str>) -> Result<Option<RunInfo>, StoreError> {
        let account = account.map(str::to_owned);
        let read = move |connection: &Connection| {
            let sql = format!("SELECT {RUN_COLUMNS} FROM runs WHERE run = ?1 AND account = coalesce(?2, account)");
            let mut select = connection.prepare_cached(&sql)?;
            Ok(select.query_row(params![id.uuid().into_bytes(), account], run_info).optional()?)
        };
        self.readers.read(read).await
    }

    /// The events of a run at the top and of the runs below it after the event `after`, without other requests of the same
    /// trace. They have the numbers of their [`RequestRecorder`](crate::RequestRecorder).
    pub async fn events(&self, run: RunId, after: u64) -> Result<Vec<NumberedEvent>, StoreError> {
        self.readers.read(move |connection| numbered_events(connection, run, after)).await
    }

    /// Finds the request whose trace id starts with `id`, at least eight digits, or that has a run with this id. Of
    /// several requests, the newest.
    pub async fn trace(&self, id: &str) -> Result<Option<TraceHistory>, StoreError> {
        let id = id.to_ascii_lowercase();
        self.readers.read(move |connection| trace(connection, &id)).await
    }

    /// Sums the spending, grouped by day, account, agent or model, or several of them.
    pub async fn usage(&self, filter: UsageFilter, by: &[UsageBy]) -> Result<Vec<UsageRow>, StoreError> {
        let by = by.to_vec();
        self.readers.read(move |connection| usage(connection, &filter, &by)).await
    }

    /// Sums the spending of the current budget window, by `account` or by all.
    pub async fn spent_in_window(&self, window: Window, account: Option<&str>) -> Result<Spending, StoreError> {
        let filter = UsageFilter {
            since_day: first_day(window, today()),
            account: account.map(str::to_owned),
            ..UsageFilter::default()
        };
        let total = self.usage(filter, &[]).await?.into_iter().next();
        Ok(total.map(|row| row.spending).unwrap_or_default())
    }
}

fn list(connection: &Connection, filter: &RunFilter) -> Result<Vec<RunInfo>, StoreError> {
    let mut conditions = Conditions::default();
    conditions.and("depth =", (!filter.children).then_some(0));
    conditions.and("account =", filter.account.clone());
    conditions.and("agent =", filter.agent.clone());
    conditions.and("outcome =", filter.outcome.clone());
    conditions.and("trace >=", filter.trace.clone());
    // `g` comes after all hexadecimal digits.
    conditions.and("trace <", filter.trace.as_ref().map(|digits| format!("{digits}g")));
    conditions.and("cost_nano >=", filter.min_cost.map(Money::nano));
    conditions.and("session =", filter.session.clone());
    conditions.and("user =", filter.user.clone());
    conditions.and("started_us >=", filter.since_us);
    conditions.and("run <", filter.before.map(|run| run.uuid().as_bytes().to_vec()));
    conditions.extend(filter.status.map(RunStatus::condition));
    let sql = format!(
        "SELECT {RUN_COLUMNS} FROM runs WHERE {} ORDER BY run DESC LIMIT {}",
        conditions.sql(),
        filter.limit.min(MAX_ROWS),
    );
    let mut select = connection.prepare_cached(&sql)?;
    Ok(select.query_map(params_from_iter(conditions.values), run_info)?.collect::<Result<_, _>>()?)
}

pub(super) fn run_info(row: &Row<'_>) -> rusqlite::Result<RunInfo> {
    Ok(RunInfo {
        session: row.get(0)?,
        run: run_id(row.get(1)?),
        trace: row.get(2)?,
        agent: row.get(3)?,
        account: row.get(4)?,
        depth: row.get(5)?,
        started_us: row.get(6)?,
        outcome: row.get(7)?,
        error: row.get(8)?,
        turns: row.get(9)?,
        usage: row.get::<_, Option<u64>>(10)?.zip(row.get(11)?).map(|(input, output)| Usage::new(input, output)),
        cost: row.get::<_, Option<i64>>(12)?.map(Money::from_nano),
        elapsed_us: row.get(13)?,
        user: row.get(14)?,
    })
}

pub(super) fn run_id(bytes: [u8; 16]) -> RunId {
    RunId::from(Uuid::from_bytes(bytes))
}

impl RunInfo {
    /// The status that follows from the outcome.
    pub fn status(&self) -> RunStatus {
        match self.outcome.as_deref() {
            None => RunStatus::Running,
            Some(CANCELLED) => RunStatus::Cancelled,
            Some(FAILED) => RunStatus::Failed,
            Some(INTERRUPTED) => RunStatus::Interrupted,
            Some(WAITING) => RunStatus::Waiting,
            Some(_) => RunStatus::Ended,
        }
    }
}

impl RunStatus {
    /// All statuses.
    pub const ALL: [Self; 6] =
        [Self::Running, Self::Ended, Self::Cancelled, Self::Failed, Self::Interrupted, Self::Waiting];

    /// A stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Ended => "ended",
            Self::Cancelled => CANCELLED,
            Self::Failed => FAILED,
            Self::Interrupted => INTERRUPTED,
            Self::Waiting => WAITING,
        }
    }

    fn condition(self) -> String {
        match self {
            Self::Running => "outcome IS NULL".to_owned(),
            Self::Ended => format!("outcome NOT IN ('{CANCELLED}', '{FAILED}', '{INTERRUPTED}', '{WAITING}')"),
            Self::Cancelled | Self::Failed | Self::Interrupted | Self::Waiting => {
                format!("outcome = '{}'", self.name())
            }
        }
    }
}

#[cfg(test)]
mod tests;
