//! Signals of durable runs.

use brigade_core::RunId;
use brigade_durable::{NewSignal, RunState, Signal, SignalKind, Signalled};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::Value;

use super::rows::{id_of, raw_json, read, unreadable};
use crate::{StoreError, sqlite::database::now_us};

/// Stores a signal, and makes a waiting run ready.
pub(super) fn send(connection: &Connection, run: RunId, new: &NewSignal) -> Result<Signalled, StoreError> {
    let Some(id) = id_of(connection, run)? else { return Ok(Signalled::Unknown) };
    if let Some(known) = with_key(connection, id, new.key.as_deref())? {
        let is_same = known.kind == new.kind && known.payload == new.payload;
        return Ok(if is_same { Signalled::Same(known.number) } else { Signalled::Clash(known.number) });
    }
    let run = read(connection, id)?.run;
    // A run that was set aside or failed may be resumed, and then must know.
    if matches!(run.status, RunState::Finished | RunState::Cancelled) {
        return Ok(Signalled::Ended);
    }
    let number = wake(connection, id, run.status)?;
    let insert = "INSERT INTO durable_signals (run, number, kind, payload, key) VALUES (?1, ?2, ?3, ?4, ?5)";
    let values = params![id, number, new.kind.name(), new.payload.get(), new.key];
    connection.prepare_cached(insert)?.execute(values)?;
    Ok(Signalled::Stored(number))
}

/// Raises the signal number of a run, and makes it ready if it waits. Returns the number.
pub(super) fn wake(connection: &Connection, id: i64, status: RunState) -> Result<u64, StoreError> {
    let raise = "UPDATE durable_runs SET signal_number = signal_number + 1 WHERE id = ?1 RETURNING signal_number";
    let number = connection.prepare_cached(raise)?.query_row([id], |row| row.get(0))?;
    if status == RunState::Waiting {
        let wake = "UPDATE durable_runs SET status = 'ready', waiting = NULL, due_us = ?2 WHERE id = ?1";
        connection.prepare_cached(wake)?.execute(params![id, now_us()])?;
    }
    Ok(number)
}

/// The signals that were not consumed yet, in order.
pub(super) fn open(connection: &Connection, id: i64) -> Result<Vec<Signal>, StoreError> {
    let sql = "SELECT number, kind, payload FROM durable_signals WHERE run = ?1 AND NOT is_consumed ORDER BY number";
    connection.prepare_cached(sql)?.query_and_then([id], signal)?.collect()
}

fn with_key(connection: &Connection, id: i64, key: Option<&str>) -> Result<Option<Signal>, StoreError> {
    let sql = "SELECT number, kind, payload FROM durable_signals WHERE run = ?1 AND key = ?2";
    let mut select = connection.prepare_cached(sql)?;
    select.query_row(params![id, key], |row| Ok(signal(row))).optional()?.transpose()
}

fn signal(row: &Row<'_>) -> Result<Signal, StoreError> {
    let kind: SignalKind = serde_json::from_value(Value::String(row.get(1)?)).map_err(unreadable)?;
    Ok(Signal::new(row.get(0)?, kind, raw_json(row.get(2)?)?))
}
