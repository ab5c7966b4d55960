//! Reads runs and their journals.

use std::{collections::HashMap, sync::Arc};

use brigade_core::{RawJson, RunId, StepRecord};
use brigade_durable::{QueuedRun, RunQuery, RunState, StoredRun, cost_of};
use jiff::Timestamp;
use serde_json::Value;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::{
    StoreError,
    postgres::{
        database::PostgresDatabase,
        session::Session,
        values::{first, get, unsigned, values},
    },
};

/// The columns of a run, with the table of runs as `r` and that of inputs as `i`.
pub(super) const COLUMNS: &str =
    "r.id, r.run, r.queue, r.account, r.parent, r.submitted_us, i.input, r.status, r.waiting,
     r.output, r.error, r.attempt, r.epoch, r.signal_number, r.commit_number, r.cost";

const FROM: &str = "FROM brigade.durable_runs AS r JOIN brigade.durable_inputs AS i ON i.id = r.id";

const JOURNALS: &str = "SELECT run, record FROM brigade.durable_steps WHERE run = ANY($1) ORDER BY run, path";

/// A stored run, and the key of its row.
#[derive(Debug)]
pub(super) struct RunRow {
    pub(super) id: i64,
    pub(super) run: StoredRun,
}

/// Locks a run until the end of the transaction, and returns the key of its row and its state.
pub(super) async fn lock(session: &Session, run: RunId) -> Result<Option<(i64, RunState)>, StoreError> {
    let select = "SELECT id, status FROM brigade.durable_runs WHERE run = $1 FOR UPDATE";
    let rows = session.begin_with(select, values![run.uuid()]).await?;
    rows.first().map(|row| Ok((get(row, "id")?, status(get(row, "status")?)?))).transpose()
}

/// The key of the row of a run.
pub(super) async fn id_of(database: &PostgresDatabase, run: RunId) -> Result<Option<i64>, StoreError> {
    first(&database.query("SELECT id FROM brigade.durable_runs WHERE run = $1", values![run.uuid()]).await?)
}

/// A run with its cost.
pub(super) async fn find(database: &PostgresDatabase, run: RunId) -> Result<Option<StoredRun>, StoreError> {
    let select = format!("SELECT {COLUMNS} {FROM} WHERE r.run = $1");
    let rows = database.query(&select, values![run.uuid()]).await?;
    Ok(with_costs(database, &rows).await?.pop())
}

/// Runs with their costs, newest first.
pub(super) async fn list(database: &PostgresDatabase, query: &RunQuery) -> Result<Vec<StoredRun>, StoreError> {
    let status = query.status.map(RunState::name);
    let account = query.account.as_deref();
    let limit = query.limit.map(|limit| i64::try_from(limit).unwrap_or(i64::MAX));
    let select = format!(
        "SELECT {COLUMNS} {FROM} WHERE {} AND {} ORDER BY r.id DESC LIMIT $3",
        // A condition that may be absent would keep PostgreSQL from using an index.
        if status.is_some() { "r.status = $1" } else { "$1::text IS NULL" },
        if account.is_some() { "r.account = $2" } else { "$2::text IS NULL" },
    );
    let rows = database.query(&select, values![status, account, limit]).await?;
    with_costs(database, &rows).await
}

/// The records of the steps of a run, by path.
pub(super) async fn journal(session: &Session, id: i64) -> Result<Vec<StepRecord>, StoreError> {
    let rows = session.query(JOURNALS, values![vec![id]]).await?;
    rows.iter().map(record).collect()
}

/// The records of the steps of runs, by path.
pub(super) async fn journals(
    database: &PostgresDatabase,
    ids: Vec<i64>,
) -> Result<HashMap<i64, Vec<StepRecord>>, StoreError> {
    let mut journals = HashMap::<_, Vec<_>>::new();
    for row in &database.query(JOURNALS, values![ids]).await? {
        journals.entry(get(row, "run")?).or_default().push(record(row)?);
    }
    Ok(journals)
}

fn record(row: &Row) -> Result<StepRecord, StoreError> {
    serde_json::from_str(get(row, "record")?).map_err(unreadable)
}

/// The JSON of a value.
pub(super) fn json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(unreadable)
}

pub(super) fn raw_json(text: String) -> Result<RawJson, StoreError> {
    RawJson::parse(text).map_err(unreadable)
}

pub(super) fn unreadable(error: serde_json::Error) -> StoreError {
    StoreError::unreadable("durable run", error)
}

pub(super) fn status(name: &str) -> Result<RunState, StoreError> {
    serde_json::from_value(Value::from(name)).map_err(unreadable)
}

/// A time in microseconds since 1970.
pub(super) fn time(us: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(us).map_err(|error| StoreError::unreadable("time", error))
}

/// A run, without its cost if it is running.
pub(super) fn run_row(row: &Row) -> Result<RunRow, StoreError> {
    let [queue, account] = [get::<&str>(row, "queue")?, get(row, "account")?].map(Arc::from);
    let queued = QueuedRun::new(queue, raw_json(get(row, "input")?)?);
    let queued = queued.id(RunId::from(get::<Uuid>(row, "run")?)).key(account, None, 0);
    let mut run = queued.into_stored(time(get(row, "submitted_us")?)?);
    run.parent = get::<Option<Uuid>>(row, "parent")?.map(RunId::from);
    run.status = status(get(row, "status")?)?;
    let waiting = get::<Option<&str>>(row, "waiting")?;
    run.waiting = waiting.map(|waiting| serde_json::from_str(waiting).map_err(unreadable)).transpose()?;
    run.output = get::<Option<String>>(row, "output")?.map(raw_json).transpose()?;
    run.error = get(row, "error")?;
    run.attempt = u32::try_from(get::<i64>(row, "attempt")?).unwrap_or(u32::MAX);
    run.epoch = unsigned(get(row, "epoch")?);
    run.signal_number = unsigned(get(row, "signal_number")?);
    run.commit_number = unsigned(get(row, "commit_number")?);
    if let Some(cost) = get::<Option<&str>>(row, "cost")? {
        run.cost = serde_json::from_str(cost).map_err(unreadable)?;
    }
    Ok(RunRow { id: get(row, "id")?, run })
}

async fn with_costs(database: &PostgresDatabase, rows: &[Row]) -> Result<Vec<StoredRun>, StoreError> {
    let mut runs = rows.iter().map(run_row).collect::<Result<Vec<_>, _>>()?;
    let running = |row: &&mut RunRow| row.run.status == RunState::Running;
    let ids: Vec<_> = runs.iter_mut().filter(running).map(|row| row.id).collect();
    if !ids.is_empty() {
        let journals = journals(database, ids).await?;
        for row in runs.iter_mut().filter(running) {
            row.run.cost = journals.get(&row.id).map(|journal| cost_of(journal.iter())).unwrap_or_default();
        }
    }
    Ok(runs.into_iter().map(|row| row.run).collect())
}
