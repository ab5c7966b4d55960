//! Reads runs and their journals.

use std::{sync::Arc, time::Duration};

use brigade_core::{RawJson, RunId, StepRecord};
use brigade_durable::{QueuedRun, RunQuery, RunState, StoredRun, cost_of};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Params, Row, params_from_iter};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    StoreError,
    sqlite::{conditions::Conditions, database::now_us},
};

/// A stored run, and the key of its row.
#[derive(Debug)]
pub(super) struct RunRow {
    pub(super) id: i64,
    pub(super) run: StoredRun,
}

/// The tables are read in this order, because an input is found by the id of its run.
const SELECT: &str =
    "SELECT id, run, queue, account, parent, submitted_us, input, status, waiting, output, error, attempt,
     epoch, signal_number, commit_number, cost FROM durable_runs CROSS JOIN durable_inputs USING (id)";

/// The time after this duration, in microseconds since 1970.
pub(super) fn us_from_now(duration: Duration) -> i64 {
    now_us().saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX))
}

/// The key of the row of a run.
pub(super) fn id_of(connection: &Connection, run: RunId) -> Result<Option<i64>, StoreError> {
    let mut select = connection.prepare_cached("SELECT id FROM durable_runs WHERE run = ?1")?;
    Ok(select.query_row([run.uuid().into_bytes()], |row| row.get(0)).optional()?)
}

/// A run, without its cost if it is running.
pub(super) fn read(connection: &Connection, id: i64) -> Result<RunRow, StoreError> {
    let found = select(connection, "id = ?1", [id])?.pop();
    found.ok_or_else(|| StoreError::from(rusqlite::Error::QueryReturnedNoRows))
}

/// A run with its cost.
pub(super) fn find(connection: &Connection, run: RunId) -> Result<Option<StoredRun>, StoreError> {
    let found = select(connection, "run = ?1", [run.uuid().into_bytes()])?.pop();
    found.map(|row| with_cost(connection, row)).transpose()
}

/// Runs with their costs, newest first.
pub(super) fn list(connection: &Connection, query: &RunQuery) -> Result<Vec<StoredRun>, StoreError> {
    let mut conditions = Conditions::default();
    conditions.and("status =", query.status.map(|status| status.name().to_owned()));
    conditions.and("account =", query.account.as_ref().map(ToString::to_string));
    // A negative limit is none.
    let limit = query.limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
    let condition = format!("{} ORDER BY id DESC LIMIT {limit}", conditions.sql());
    let rows = select(connection, &condition, params_from_iter(conditions.values))?;
    rows.into_iter().map(|row| with_cost(connection, row)).collect()
}

/// The records of the steps of a run, by path.
pub(super) fn journal(connection: &Connection, id: i64) -> Result<Vec<StepRecord>, StoreError> {
    let mut select = connection.prepare_cached("SELECT record FROM durable_steps WHERE run = ?1 ORDER BY path")?;
    let records = select.query_and_then([id], |row| {
        serde_json::from_str(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?).map_err(unreadable)
    })?;
    records.collect()
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

fn select(connection: &Connection, condition: &str, values: impl Params) -> Result<Vec<RunRow>, StoreError> {
    let mut select = connection.prepare_cached(&format!("{SELECT} WHERE {condition}"))?;
    select.query_and_then(values, run_row)?.collect()
}

fn run_row(row: &Row<'_>) -> Result<RunRow, StoreError> {
    let [queue, account] = [row.get::<_, Arc<str>>("queue")?, row.get("account")?];
    let parent = row.get::<_, Option<[u8; 16]>>("parent")?.map(run_id);
    let submitted_at = Timestamp::from_microsecond(row.get("submitted_us")?)
        .map_err(|error| StoreError::unreadable("durable run", error))?;
    let queued = QueuedRun::new(queue, raw_json(row.get("input")?)?).id(run_id(row.get("run")?)).key(account, None, 0);
    let mut run = queued.into_stored(submitted_at);
    run.parent = parent;
    run.status = status(row.get_ref("status")?.as_str().map_err(rusqlite::Error::from)?)?;
    let waiting: Option<String> = row.get("waiting")?;
    run.waiting = waiting.map(|waiting| serde_json::from_str(&waiting).map_err(unreadable)).transpose()?;
    run.output = row.get::<_, Option<String>>("output")?.map(raw_json).transpose()?;
    run.error = row.get("error")?;
    run.attempt = row.get("attempt")?;
    run.epoch = row.get("epoch")?;
    run.signal_number = row.get("signal_number")?;
    run.commit_number = row.get("commit_number")?;
    if let Some(cost) = row.get::<_, Option<String>>("cost")? {
        run.cost = serde_json::from_str(&cost).map_err(unreadable)?;
    }
    Ok(RunRow { id: row.get("id")?, run })
}

fn with_cost(connection: &Connection, RunRow { id, mut run }: RunRow) -> Result<StoredRun, StoreError> {
    if run.status == RunState::Running {
        run.cost = cost_of(journal(connection, id)?.iter());
    }
    Ok(run)
}

fn run_id(bytes: [u8; 16]) -> RunId {
    RunId::from(Uuid::from_bytes(bytes))
}
