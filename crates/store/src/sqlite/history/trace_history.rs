//! Queries over the events of one request.

use std::collections::{BTreeMap, HashSet};

use brigade_core::{EventRecord, ParseError, RunId, Spending};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params, types::Value};
use uuid::Uuid;

use super::{
    run_history::{AgentModelCost, NumberedEvent, RUN_COLUMNS, run_id, run_info},
    spending_columns as columns,
};
use crate::{StoreError, TraceHistory};

/// More events than a run within the default limits has. Later ones are left out.
const MAX_EVENTS: u32 = 200_000;

/// The digits of a short trace id.
const MIN_TRACE_DIGITS: usize = 8;

/// Selects events.
#[derive(Debug, Clone, Copy)]
pub(super) enum EventsOf<'a> {
    /// Events of all requests with this trace.
    Trace(&'a str),
    /// Events of this run and the runs below it.
    Run(RunId),
}

pub(super) fn trace(connection: &Connection, id: &str) -> Result<Option<TraceHistory>, StoreError> {
    let Some(trace) = full_trace(connection, id)? else { return Ok(None) };
    let sql = format!("SELECT {RUN_COLUMNS} FROM runs WHERE trace = ?1 ORDER BY runs.id");
    let runs = connection.prepare_cached(&sql)?.query_map([&trace], run_info)?.collect::<Result<_, _>>()?;

    let sql = format!(
        "SELECT agent, model, {} FROM run_costs JOIN runs ON runs.id = run_costs.run WHERE trace = ?1",
        columns::columns("run_costs"),
    );
    let mut select = connection.prepare_cached(&sql)?;
    let mut rows = select.query([&trace])?;
    let mut costs: BTreeMap<_, Spending> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        *costs.entry((row.get(0)?, row.get(1)?)).or_default() += columns::read(row, 2)?;
    }
    Ok(Some(TraceHistory {
        runs,
        costs: costs.into_iter().map(|((agent, model), spending)| AgentModelCost { agent, model, spending }).collect(),
        events: events(connection, EventsOf::Trace(&trace))?.into_iter().map(|event| event.record).collect(),
    }))
}

pub(super) fn numbered_events(
    connection: &Connection,
    run: RunId,
    after: u64,
) -> Result<Vec<NumberedEvent>, StoreError> {
    let mut events = events(connection, EventsOf::Run(run))?;
    let mut numbers = HashSet::new();
    if events.iter().all(|event| numbers.insert(event.number)) {
        events.sort_by_key(|event| event.number);
    } else {
        // An earlier version numbered the events of each run on their own.
        (1..).zip(&mut events).for_each(|(number, event)| event.number = number);
    }
    events.retain(|event| event.number > after);
    Ok(events)
}

fn events(connection: &Connection, of: EventsOf<'_>) -> Result<Vec<NumberedEvent>, StoreError> {
    let (condition, id) = match of {
        EventsOf::Trace(trace) => ("trace = ?1", Value::Text(trace.to_owned())),
        EventsOf::Run(run) => ("(runs.run = ?1 OR root = ?1)", Value::Blob(run.uuid().as_bytes().to_vec())),
    };
    let mut select = connection.prepare_cached(&format!(
        "SELECT at_us, runs.run, agent, entry, trace, number FROM events JOIN runs ON runs.id = events.run
         WHERE {condition} ORDER BY at_us, events.run, number LIMIT ?2"
    ))?;
    let mut rows = select.query(params![id, MAX_EVENTS])?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        let json = row.get_ref(3)?.as_str().map_err(|error| StoreError::unreadable("event", error))?;
        // Another version may have written it.
        let Ok(event) = serde_json::from_str(json) else { continue };
        let at = Timestamp::from_microsecond(row.get(0)?).unwrap_or_default();
        let (agent, trace): (String, String) = (row.get(2)?, row.get(4)?);
        let trace = trace.parse().map_err(|error: ParseError| StoreError::unreadable("trace id", error))?;
        let record = EventRecord::stored(at, trace, run_id(row.get(1)?), agent.into(), event);
        events.push(NumberedEvent { number: row.get(5)?, record });
    }
    Ok(events)
}

/// The trace id that starts with `id`, or that of the run with this id.
fn full_trace(connection: &Connection, id: &str) -> Result<Option<String>, StoreError> {
    let found = match Uuid::try_parse(id) {
        // A UUID without hyphens is as long as a trace id.
        Ok(run) if id.contains('-') => connection
            .prepare_cached("SELECT trace FROM runs WHERE run = ?1")?
            .query_row([run.into_bytes()], |row| row.get(0)),
        _ if id.len() < MIN_TRACE_DIGITS => return Ok(None),
        _ => connection
            .prepare_cached(
                "SELECT trace FROM runs WHERE trace >= ?1 AND trace < ?1 || 'g' ORDER BY runs.id DESC LIMIT 1",
            )?
            .query_row([id], |row| row.get(0)),
    };
    Ok(found.optional()?)
}
