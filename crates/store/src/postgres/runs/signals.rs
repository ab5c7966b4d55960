//! Signals of durable runs.

use std::collections::HashMap;

use brigade_core::RunId;
use brigade_durable::{NewSignal, RunState, Signal, SignalKind, Signalled};
use serde_json::Value;
use tokio_postgres::Row;

use super::rows::{lock, raw_json, unreadable};
use crate::{
    StoreError,
    postgres::{
        database::PostgresDatabase,
        session::Session,
        values::{first, get, signed, unsigned, values},
    },
};

const OPEN: &str = "SELECT run, number, kind, payload FROM brigade.durable_signals
    WHERE run = ANY($1) AND NOT is_consumed ORDER BY run, number";

/// Stores a signal, and makes a waiting run ready.
pub(super) async fn send(database: &PostgresDatabase, run: RunId, new: &NewSignal) -> Result<Signalled, StoreError> {
    let session = database.session().await?;
    let sent = send_in(&session, run, new).await;
    session.end(sent).await
}

async fn send_in(session: &Session, run: RunId, new: &NewSignal) -> Result<Signalled, StoreError> {
    let Some((id, status)) = lock(session, run).await? else { return Ok(Signalled::Unknown) };
    if let Some(key) = new.key.as_deref() {
        let select = "SELECT number, kind, payload FROM brigade.durable_signals WHERE run = $1 AND key = $2";
        if let Some(known) = session.query(select, values![id, key]).await?.first() {
            let known = signal(known)?;
            let is_same = known.kind == new.kind && known.payload == new.payload;
            return Ok(if is_same { Signalled::Same(known.number) } else { Signalled::Clash(known.number) });
        }
    }
    // A run that was set aside or failed may be resumed, and then must know.
    if matches!(status, RunState::Finished | RunState::Cancelled) {
        return Ok(Signalled::Ended);
    }
    let number = wake(session, id).await?;
    let insert = "INSERT INTO brigade.durable_signals (run, number, kind, payload, key) VALUES ($1, $2, $3, $4, $5)";
    let (kind, payload, key) = (new.kind.name(), new.payload.get(), new.key.as_deref());
    session.execute(insert, values![id, signed(number), kind, payload, key]).await?;
    Ok(Signalled::Stored(number))
}

/// Raises the signal number of a locked run, and makes it ready if it waits. Returns the number.
pub(super) async fn wake(session: &Session, id: i64) -> Result<u64, StoreError> {
    let wake = "UPDATE brigade.durable_runs SET signal_number = signal_number + 1,
         waiting = CASE WHEN status = 'waiting' THEN NULL ELSE waiting END,
         due_us = CASE WHEN status = 'waiting' THEN brigade.now_us() ELSE due_us END,
         status = CASE WHEN status = 'waiting' THEN 'ready' ELSE status END
         WHERE id = $1 RETURNING signal_number";
    let number = first(&session.query(wake, values![id]).await?)?;
    Ok(unsigned(number.unwrap_or_default()))
}

/// The signals of runs that were not consumed yet, in order.
pub(super) async fn open(database: &PostgresDatabase, ids: Vec<i64>) -> Result<HashMap<i64, Vec<Signal>>, StoreError> {
    let mut signals = HashMap::<_, Vec<_>>::new();
    for row in &database.query(OPEN, values![ids]).await? {
        signals.entry(get(row, "run")?).or_default().push(signal(row)?);
    }
    Ok(signals)
}

fn signal(row: &Row) -> Result<Signal, StoreError> {
    let kind: SignalKind = serde_json::from_value(Value::String(get(row, "kind")?)).map_err(unreadable)?;
    Ok(Signal::new(unsigned(get(row, "number")?), kind, raw_json(get(row, "payload")?)?))
}
