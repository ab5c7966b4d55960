//! The rows of sessions, and their queries.

use std::collections::HashMap;

use brigade_core::{Message, Role};
use tokio_postgres::Row;

use crate::{
    Conversation, SessionFilter, SessionInfo, StoreError,
    postgres::{
        session::Session,
        values::{first, get, signed, unsigned, values},
    },
    sqlite::sessions::{
        session::ExchangeRows,
        stored_message::{self, Hash, role_name},
    },
};

/// The row of a session before an exchange.
struct SessionRow {
    id: i64,
    version: u64,
    messages: i64,
}

/// The messages of an exchange as columns.
#[derive(Default)]
struct Columns<'a> {
    numbers: Vec<i64>,
    roles: Vec<&'a str>,
    parts: Vec<&'a str>,
    hashes: Vec<&'a [u8]>,
    contents: Vec<&'a str>,
}

/// Adds an exchange in a transaction, which begins here. Returns the new version.
pub(super) async fn append(
    session: &Session,
    exchange: &ExchangeRows,
    keep_us: Option<i64>,
) -> Result<u64, StoreError> {
    let name = exchange.session.as_str();
    let expired = "DELETE FROM brigade.sessions WHERE name = $1 AND updated_us < brigade.now_us() - $2";
    session.begin_with(expired, values![name, keep_us]).await?;
    let state = lock(session, name).await?;
    if let Some((state, key)) = state.as_ref().zip(exchange.key.as_deref()) {
        let known = "SELECT 1 FROM brigade.exchanges WHERE session = $1 AND key = $2";
        if !session.query(known, values![state.id, key]).await?.is_empty() {
            return Ok(state.version);
        }
    }
    let found = state.as_ref().map_or(0, |state| state.version);
    match exchange.after {
        Some(seen) if seen != found => {
            return Err(StoreError::Conflict { session: exchange.session.clone(), seen, found });
        }
        _ if exchange.messages.is_empty() => return Ok(found),
        _ => {}
    }
    let state = match state {
        Some(state) => state,
        None => create(session, exchange).await?,
    };
    insert(session, &state, exchange).await?;
    Ok(state.version + 1)
}

/// Locks a session until the end of the transaction.
async fn lock(session: &Session, name: &str) -> Result<Option<SessionRow>, StoreError> {
    let select = "SELECT id, version, messages FROM brigade.sessions WHERE name = $1 FOR UPDATE";
    let rows = session.query(select, values![name]).await?;
    rows.first().map(session_row).transpose()
}

fn session_row(row: &Row) -> Result<SessionRow, StoreError> {
    Ok(SessionRow { id: get(row, "id")?, version: unsigned(get(row, "version")?), messages: get(row, "messages")? })
}

/// Creates a session. If another process does so at the same time, its exchange comes first.
async fn create(session: &Session, exchange: &ExchangeRows) -> Result<SessionRow, StoreError> {
    let insert = "INSERT INTO brigade.sessions (name, created_us, updated_us)
         VALUES ($1, brigade.now_us(), brigade.now_us())
         ON CONFLICT (name) DO UPDATE SET updated_us = greatest(sessions.updated_us, excluded.updated_us)
         RETURNING id, version, messages";
    let rows = session.query(insert, values![exchange.session.as_str()]).await?;
    let state = rows.first().map(session_row).transpose()?;
    let state = state.ok_or_else(|| StoreError::unavailable("a session that was created is not there"))?;
    match exchange.after {
        Some(seen) if seen != state.version => {
            Err(StoreError::Conflict { session: exchange.session.clone(), seen, found: state.version })
        }
        _ => Ok(state),
    }
}

async fn insert(session: &Session, state: &SessionRow, exchange: &ExchangeRows) -> Result<(), StoreError> {
    let size = signed(exchange.size_bytes());
    let is_start = exchange.messages.first().is_some_and(|message| message.role == Role::User);
    let row = "INSERT INTO brigade.exchanges (session, number, key, first_message, size_bytes, is_start, at_us)
         VALUES ($1, $2, $3, $4, $5, $6, brigade.now_us())";
    let key = exchange.key.as_deref();
    session.execute(row, values![state.id, signed(state.version), key, state.messages, size, is_start]).await?;
    let mut columns = Columns::default();
    for (number, message) in (state.messages..).zip(&exchange.messages) {
        columns.numbers.push(number);
        columns.roles.push(role_name(message.role));
        columns.parts.push(&message.parts);
        for (hash, content) in &message.blobs {
            columns.hashes.push(hash);
            columns.contents.push(content);
        }
    }
    let Columns { numbers, roles, parts, hashes, contents } = columns;
    let messages = "INSERT INTO brigade.messages (session, number, role, parts)
         SELECT $1, message.* FROM unnest($2, $3, $4) AS message";
    session.execute(messages, values![state.id, numbers, roles, parts]).await?;
    if !hashes.is_empty() {
        let blobs = "INSERT INTO brigade.message_blobs (session, hash, content)
             SELECT $1, blob.* FROM unnest($2, $3) AS blob ON CONFLICT DO NOTHING";
        session.execute(blobs, values![state.id, hashes, contents]).await?;
    }
    let update = "UPDATE brigade.sessions SET version = version + 1, messages = messages + $2,
         size_bytes = size_bytes + $3, updated_us = greatest(updated_us, brigade.now_us()) WHERE id = $1";
    session.execute(update, values![state.id, signed(exchange.messages.len() as u64), size]).await?;
    Ok(())
}

/// The newest exchanges that fit in `window_bytes`, at one moment: begins a transaction. Exchanges are not split: the newest
/// one is always loaded, and a tool call always has its result.
pub(super) async fn load(
    session: &Session,
    name: &str,
    window_bytes: u64,
    keep_us: Option<i64>,
) -> Result<Conversation, StoreError> {
    session.begin_snapshot().await?;
    let found = "SELECT id, version, messages FROM brigade.sessions
         WHERE name = $1 AND ($2::bigint IS NULL OR updated_us >= brigade.now_us() - $2)";
    let rows = session.query(found, values![name, keep_us]).await?;
    let Some(state) = rows.first().map(session_row).transpose()? else { return Ok(Conversation::default()) };
    // The first message must be a user's. An exchange that starts otherwise belongs to the one before it.
    let start = "SELECT coalesce(min(first_message) FILTER (WHERE size <= $2), max(first_message), 0) FROM (
             SELECT first_message, is_start, sum(size_bytes) OVER (ORDER BY number DESC) AS size
             FROM brigade.exchanges WHERE session = $1
         ) AS newest WHERE is_start";
    let start = first(&session.query(start, values![state.id, signed(window_bytes)]).await?)?.unwrap_or(0);
    Ok(Conversation { messages: messages(session, state.id, start, i64::MAX).await?, version: state.version })
}

async fn messages(session: &Session, id: i64, from: i64, limit: i64) -> Result<Vec<Message>, StoreError> {
    let select =
        "SELECT role, parts FROM brigade.messages WHERE session = $1 AND number >= $2 ORDER BY number LIMIT $3";
    let rows = session.query(select, values![id, from, limit]).await?;
    let stored = rows.iter().map(|row| Ok((get::<&str>(row, "role")?, get::<&str>(row, "parts")?)));
    let stored = stored.collect::<Result<Vec<_>, StoreError>>()?;
    let mut hashes = Vec::new();
    for (_, parts) in &stored {
        hashes.extend(stored_message::hashes_in(parts)?);
    }
    let blobs = if hashes.is_empty() { HashMap::new() } else { blobs(session, id, &hashes).await? };
    let read = |hash: Hash| {
        let missing = || StoreError::damaged("a large part of a message is missing".to_owned());
        blobs.get(hash.as_slice()).cloned().ok_or_else(missing)
    };
    stored.into_iter().map(|(role, parts)| stored_message::read_with(role, parts, read)).collect()
}

async fn blobs(session: &Session, id: i64, hashes: &[Hash]) -> Result<HashMap<Vec<u8>, String>, StoreError> {
    let hashes: Vec<&[u8]> = hashes.iter().map(Hash::as_slice).collect();
    let select = "SELECT hash, content FROM brigade.message_blobs WHERE session = $1 AND hash = ANY($2)";
    let rows = session.query(select, values![id, hashes]).await?;
    rows.iter().map(|row| Ok((get(row, "hash")?, get(row, "content")?))).collect()
}

/// A page of the messages of a session.
pub(super) async fn read(session: &Session, name: &str, from: u64, limit: u32) -> Result<Vec<Message>, StoreError> {
    session.begin_snapshot().await?;
    let id = session.query("SELECT id FROM brigade.sessions WHERE name = $1", values![name]).await?;
    match first(&id)? {
        Some(id) => messages(session, id, signed(from), limit.into()).await,
        None => Ok(Vec::new()),
    }
}

/// A page of sessions, the last used first.
pub(super) async fn list(
    session: &Session,
    filter: &SessionFilter,
    keep_us: Option<i64>,
) -> Result<Vec<SessionInfo>, StoreError> {
    let select = "SELECT name, messages, size_bytes, created_us / 1000 AS created_ms, updated_us / 1000 AS updated_ms
         FROM brigade.sessions WHERE ($1::bigint IS NULL OR updated_us >= brigade.now_us() - $1)
         AND starts_with(name, $2) AND (updated_us / 1000, name) < ($3, $4)
         ORDER BY updated_us / 1000 DESC, name DESC LIMIT $5";
    let (before_ms, before) = match &filter.after {
        Some(last) => (last.updated_ms, last.name.as_str()),
        None => (i64::MAX, ""),
    };
    let (prefix, limit) = (filter.prefix.as_str(), i64::from(filter.limit));
    let rows = session.query(select, values![keep_us, prefix, before_ms, before, limit]).await?;
    let info = |row: &Row| {
        Ok(SessionInfo {
            name: get(row, "name")?,
            messages: unsigned(get(row, "messages")?),
            size_bytes: unsigned(get(row, "size_bytes")?),
            created_ms: get(row, "created_ms")?,
            updated_ms: get(row, "updated_ms")?,
        })
    };
    rows.iter().map(info).collect()
}
