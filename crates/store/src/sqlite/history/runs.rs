//! What history tells.

use std::{collections::BTreeMap, fs::File, path::Path, sync::Arc};

use brigade_core::{Money, RunId, Spending, Window};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params_from_iter};
use uuid::Uuid;

use super::{
    books::today,
    spending,
    usage::{first_day, usage},
};
use crate::{
    Database, DatabaseSettings, StoreError, UsageBy, UsageFilter, UsageLine,
    sqlite::{
        conditions::{Conditions, MOST_LINES},
        readers::Readers,
        schema,
    },
};

/// Runs, what happened in them, and what they cost. Cheap to make: see [`History::runs`](crate::History::runs).
#[derive(Debug, Clone)]
pub struct Runs {
    readers: Readers,
}

/// Which runs to list. Absent means any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFilter {
    /// Billed to this account.
    pub account: Option<String>,
    /// Of this agent, by its path.
    pub agent: Option<String>,
    /// That stand so.
    pub status: Option<RunStatus>,
    /// Of this session.
    pub session: Option<String>,
    /// That began at this time or later, in microseconds since 1970.
    pub since_us: Option<i64>,
    /// Also the runs of workers.
    pub children: bool,
    /// Only runs that began before this one: the last one of the page before.
    pub before: Option<RunId>,
    /// How many at the most.
    pub limit: u32,
}

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunStatus {
    /// It goes on.
    Running,
    /// It has an outcome, whole or partial.
    Ended,
    /// Somebody cancelled it.
    Cancelled,
    /// It ended with an error.
    Failed,
    /// Its process ended first.
    Interrupted,
}

/// What a list says of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunInfo {
    /// Its id.
    pub run: RunId,
    /// The id on its log lines, 32 hexadecimal digits.
    pub trace: String,
    /// The agent's path.
    pub agent: String,
    /// The account it is billed to; empty for nobody's.
    pub account: String,
    /// The session that it continued, if it was one.
    pub session: Option<String>,
    /// How many agents are above this one.
    pub depth: u32,
    /// When it began, in microseconds since 1970.
    pub started_us: i64,
    /// How it ended: the name of a [`StopReason`](brigade_core::StopReason), `failed`, or `interrupted` if its process
    /// ended first; absent while it goes on.
    pub outcome: Option<String>,
    /// The kind of the model error that it failed with, if it was one.
    pub error: Option<String>,
    /// Model turns of this agent.
    pub turns: Option<u32>,
    /// Input and output tokens, with workers.
    pub tokens: Option<(u64, u64)>,
    /// What it cost, with workers; absent if nothing had a price.
    pub cost: Option<Money>,
    /// From start to end, in microseconds.
    pub elapsed_us: Option<u64>,
}

/// A request as a whole: its runs, what they cost, and what happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceHistory {
    /// The runs, in the order in which they began.
    pub runs: Vec<RunInfo>,
    /// What each agent cost with each model, by the agent's path and the model's name; workers on their own.
    pub costs: BTreeMap<(String, String), Spending>,
    /// What happened, in order.
    pub events: Vec<EventInfo>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventInfo {
    /// When, in microseconds since 1970.
    pub at_us: i64,
    /// In which run.
    pub run: RunId,
    /// The agent's path.
    pub agent: String,
    /// What, as [`Describe`](crate::Describe) wrote it.
    pub entry: String,
}

/// More than any run within the default limits has; what comes after is left out.
const MOST_EVENTS: u32 = 200_000;

/// Digits.
const SHORTEST_TRACE: usize = 8;

const RUN_COLUMNS: &str = "session, run, trace, agent, account, depth, started_us, outcome, error, turns, \
                           input_tokens, output_tokens, cost_nano, elapsed_us";

/// The outcomes that are no [`RunStatus::Ended`].
const CANCELLED: &str = "cancelled";
const FAILED: &str = "failed";
const INTERRUPTED: &str = "interrupted";

impl Default for RunFilter {
    /// The last fifty requests.
    fn default() -> Self {
        let (account, agent, status, session) = (None, None, None, None);
        Self { account, agent, status, session, since_us: None, children: false, before: None, limit: 50 }
    }
}

impl Runs {
    /// The history in this database.
    pub fn new(database: &Database) -> Self {
        Self { readers: database.readers().clone() }
    }

    /// The history in the file at `path`, for programs that only look: another process may be writing it. Blocks.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let failed = |error| StoreError::Open { path: path.to_owned(), source: Arc::new(error) };
        File::open(path).map_err(failed)?;
        let readers = Readers::new(path, &DatabaseSettings::default());
        schema::check_current(&readers.connect(OpenFlags::SQLITE_OPEN_READ_ONLY)?, path)?;
        Ok(Self { readers })
    }

    /// Runs, the latest first.
    pub async fn list(&self, filter: RunFilter) -> Result<Vec<RunInfo>, StoreError> {
        self.readers.read(move |connection| list(connection, &filter)).await
    }

    /// The run with this id.
    pub async fn find(&self, id: RunId) -> Result<Option<RunInfo>, StoreError> {
        let read = move |connection: &Connection| {
            let mut select = connection.prepare_cached(&format!("SELECT {RUN_COLUMNS} FROM runs WHERE run = ?1"))?;
            Ok(select.query_row([id.uuid().into_bytes()], run_info).optional()?)
        };
        self.readers.read(read).await
    }

    /// The request whose trace id begins with `id`, the latest of several, or of which `id` is a run's. Fewer than the
    /// eight digits that people read are no trace id.
    pub async fn trace(&self, id: &str) -> Result<Option<TraceHistory>, StoreError> {
        let id = id.to_ascii_lowercase();
        self.readers.read(move |connection| trace(connection, &id)).await
    }

    /// What was spent, by day, account, agent and model, or by some of them.
    pub async fn usage(&self, filter: UsageFilter, by: &[UsageBy]) -> Result<Vec<UsageLine>, StoreError> {
        let by = by.to_vec();
        self.readers.read(move |connection| usage(connection, &filter, &by)).await
    }

    /// What was spent in the budget window that is now, by `account`, or by all.
    pub async fn spent_in_window(&self, window: Window, account: Option<&str>) -> Result<Spending, StoreError> {
        let account = account.map(str::to_owned);
        self.readers
            .read(move |connection| {
                let since_day = Some(first_day(connection, window, today())?);
                let filter = UsageFilter { since_day, account, ..UsageFilter::default() };
                let sum = usage(connection, &filter, &[])?.into_iter().next();
                Ok(sum.map(|line| line.spending).unwrap_or_default())
            })
            .await
    }
}

fn list(connection: &Connection, filter: &RunFilter) -> Result<Vec<RunInfo>, StoreError> {
    let mut conditions = Conditions::default();
    conditions.and("depth =", (!filter.children).then_some(0));
    conditions.and("account =", filter.account.clone());
    conditions.and("agent =", filter.agent.clone());
    conditions.and("session =", filter.session.clone());
    conditions.and("started_us >=", filter.since_us);
    conditions.and("run <", filter.before.map(|run| run.uuid().as_bytes().to_vec()));
    conditions.extend(filter.status.map(RunStatus::condition));
    let sql = format!(
        "SELECT {RUN_COLUMNS} FROM runs WHERE {} ORDER BY run DESC LIMIT {}",
        conditions.sql(),
        filter.limit.min(MOST_LINES),
    );
    let mut select = connection.prepare_cached(&sql)?;
    Ok(select.query_map(params_from_iter(conditions.values), run_info)?.collect::<Result<_, _>>()?)
}

fn run_info(row: &Row<'_>) -> rusqlite::Result<RunInfo> {
    let tokens = row.get::<_, Option<u64>>(10)?.zip(row.get(11)?);
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
        tokens,
        cost: row.get::<_, Option<i64>>(12)?.map(Money::from_nano),
        elapsed_us: row.get(13)?,
    })
}

fn run_id(bytes: [u8; 16]) -> RunId {
    RunId::from(Uuid::from_bytes(bytes))
}

fn trace(connection: &Connection, id: &str) -> Result<Option<TraceHistory>, StoreError> {
    let Some(trace) = full_trace(connection, id)? else { return Ok(None) };
    let sql = format!("SELECT {RUN_COLUMNS} FROM runs WHERE trace = ?1 ORDER BY runs.id");
    let runs = connection.prepare_cached(&sql)?.query_map([&trace], run_info)?.collect::<Result<_, _>>()?;

    let sql = format!(
        "SELECT agent, model, {} FROM run_costs JOIN runs ON runs.id = run_costs.run WHERE trace = ?1",
        spending::columns("run_costs"),
    );
    let mut select = connection.prepare_cached(&sql)?;
    let mut rows = select.query([&trace])?;
    let mut costs: BTreeMap<_, Spending> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        *costs.entry((row.get(0)?, row.get(1)?)).or_default() += spending::read(row, 2)?;
    }

    let mut select = connection.prepare_cached(
        "SELECT at_us, runs.run, agent, entry FROM events JOIN runs ON runs.id = events.run
         WHERE trace = ?1 ORDER BY at_us, events.run, number LIMIT ?2",
    )?;
    let events = select.query_map(rusqlite::params![trace, MOST_EVENTS], |row| {
        Ok(EventInfo { at_us: row.get(0)?, run: run_id(row.get(1)?), agent: row.get(2)?, entry: row.get(3)? })
    })?;
    let events = events.collect::<Result<_, _>>()?;
    Ok(Some(TraceHistory { runs, costs, events }))
}

/// The trace id that begins with `id`, or that of the run with this id.
fn full_trace(connection: &Connection, id: &str) -> Result<Option<String>, StoreError> {
    let found = match Uuid::try_parse(id) {
        // A UUID without hyphens is as long as a trace id.
        Ok(run) if id.contains('-') => connection
            .prepare_cached("SELECT trace FROM runs WHERE run = ?1")?
            .query_row([run.into_bytes()], |row| row.get(0)),
        _ if id.len() < SHORTEST_TRACE => return Ok(None),
        _ => connection
            .prepare_cached(
                "SELECT trace FROM runs WHERE trace >= ?1 AND trace < ?1 || 'g' ORDER BY runs.id DESC LIMIT 1",
            )?
            .query_row([id], |row| row.get(0)),
    };
    Ok(found.optional()?)
}

impl RunInfo {
    /// How it stands.
    pub fn status(&self) -> RunStatus {
        match self.outcome.as_deref() {
            None => RunStatus::Running,
            Some(CANCELLED) => RunStatus::Cancelled,
            Some(FAILED) => RunStatus::Failed,
            Some(INTERRUPTED) => RunStatus::Interrupted,
            Some(_) => RunStatus::Ended,
        }
    }
}

impl RunStatus {
    /// All there are.
    pub const ALL: [Self; 5] = [Self::Running, Self::Ended, Self::Cancelled, Self::Failed, Self::Interrupted];

    /// A stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Ended => "ended",
            Self::Cancelled => CANCELLED,
            Self::Failed => FAILED,
            Self::Interrupted => INTERRUPTED,
        }
    }

    fn condition(self) -> String {
        match self {
            Self::Running => "outcome IS NULL".to_owned(),
            Self::Ended => format!("outcome NOT IN ('{CANCELLED}', '{FAILED}', '{INTERRUPTED}')"),
            Self::Cancelled | Self::Failed | Self::Interrupted => format!("outcome = '{}'", self.name()),
        }
    }
}

#[cfg(test)]
mod tests;
