//! The rows of sessions, and their queries.

use std::collections::BTreeMap;

use brigade_core::{Message, Role};
use rusqlite::{Connection, OptionalExtension, params};

use super::stored_message::{self, Hash, StoredMessage, role_name};
use crate::{StoreError, sqlite::database::now_ms};

/// The newest part of a conversation.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Conversation {
    /// The messages, oldest first. They start with a user's message, and every tool call has its result.
    pub messages: Vec<Message>,
    /// The number of exchanges of the session.
    pub version: u64,
}

/// The messages that one request adds to a session.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Exchange<'a> {
    /// The messages, in order.
    pub messages: &'a [Message],
    /// The idempotency key of the request. An exchange with a known key is not stored again.
    pub key: Option<&'a str>,
    /// The version of the session that the exchange continues; `None` accepts any.
    pub after: Option<u64>,
}

/// Selects sessions. By default, the last used fifty.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionFilter {
    /// Only sessions whose name has this prefix, such as that of a tenant.
    pub prefix: String,
    /// Only sessions after this one: the last one of the previous page.
    pub after: Option<SessionInfo>,
    /// The most sessions to return.
    pub limit: u32,
}

/// A stored session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// Its name, as [`Task::session`](brigade_core::Task::session) sets it.
    pub name: String,
    /// The number of its messages.
    pub messages: u64,
    /// The size of its messages, by [`Message::size_bytes`].
    pub size_bytes: u64,
    /// When it was created, in milliseconds since 1970.
    pub created_ms: i64,
    /// When it was last continued, in milliseconds since 1970.
    pub updated_ms: i64,
}

/// An exchange as rows, made on the caller's thread.
#[derive(Debug)]
pub(crate) struct ExchangeRows {
    pub(crate) session: String,
    pub(crate) key: Option<String>,
    pub(crate) after: Option<u64>,
    pub(crate) messages: Vec<StoredMessage>,
}

/// The row of a session before an exchange.
struct SessionRow {
    id: i64,
    version: u64,
    messages: u64,
}

/// A statement that deletes many rows blocks other writers.
const MAX_SWEPT: u32 = 100;

impl<'a> Exchange<'a> {
    /// An exchange without a key that continues any version.
    pub fn new(messages: &'a [Message]) -> Self {
        Self { messages, ..Self::default() }
    }

    /// Sets the idempotency key.
    #[must_use]
    pub fn key(self, key: &'a str) -> Self {
        Self { key: Some(key), ..self }
    }

    /// Sets the version of the session that the exchange continues.
    #[must_use]
    pub fn after(self, version: u64) -> Self {
        Self { after: Some(version), ..self }
    }
}

impl SessionFilter {
    /// Selects sessions whose name has this prefix.
    #[must_use]
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..self }
    }

    /// Selects sessions after this one: the last one of the previous page.
    #[must_use]
    pub fn after(self, last: SessionInfo) -> Self {
        Self { after: Some(last), ..self }
    }

    /// Sets the most sessions to return.
    #[must_use]
    pub fn limit(self, limit: u32) -> Self {
        Self { limit, ..self }
    }
}

impl Default for SessionFilter {
    fn default() -> Self {
        Self { prefix: String::new(), after: None, limit: 50 }
    }
}

impl ExchangeRows {
    pub(crate) fn new(session: &str, exchange: Exchange<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            session: session.to_owned(),
            key: exchange.key.map(str::to_owned),
            after: exchange.after,
            messages: exchange.messages.iter().map(StoredMessage::new).collect::<Result<_, _>>()?,
        })
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.messages.iter().map(|message| message.size_bytes as u64).sum()
    }
}

/// Adds an exchange, inside the caller's transaction. Returns the new version.
pub(crate) fn append(connection: &Connection, exchange: &ExchangeRows, oldest_ms: i64) -> Result<u64, StoreError> {
    delete_where(connection, "name = ?1 AND updated_ms < ?2", params![exchange.session, oldest_ms])?;
    let state = state(connection, &exchange.session)?;
    if let Some((state, key)) = state.as_ref().zip(exchange.key.as_ref()) {
        let mut known = connection.prepare_cached("SELECT 1 FROM exchanges WHERE session = ?1 AND key = ?2")?;
        if known.exists(params![state.id, key])? {
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
        None => create(connection, &exchange.session)?,
    };
    insert(connection, &state, exchange)?;
    Ok(state.version + 1)
}

fn state(connection: &Connection, session: &str) -> Result<Option<SessionRow>, StoreError> {
    let mut select = connection.prepare_cached("SELECT id, version, messages FROM sessions WHERE name = ?1")?;
    let state =
        |row: &rusqlite::Row<'_>| Ok(SessionRow { id: row.get(0)?, version: row.get(1)?, messages: row.get(2)? });
    Ok(select.query_row([session], state).optional()?)
}

fn create(connection: &Connection, session: &str) -> Result<SessionRow, StoreError> {
    let now = now_ms();
    let mut insert = connection.prepare_cached(
        "INSERT INTO sessions (name, version, messages, size_bytes, created_ms, updated_ms) VALUES (?1, 0, 0, 0, ?2, ?2)",
    )?;
    Ok(SessionRow { id: insert.insert(params![session, now])?, version: 0, messages: 0 })
}

fn insert(connection: &Connection, session: &SessionRow, exchange: &ExchangeRows) -> Result<(), StoreError> {
    let (now, size) = (now_ms(), exchange.size_bytes());
    let is_start = exchange.messages.first().is_some_and(|message| message.role == Role::User);
    let mut row = connection.prepare_cached(
        "INSERT INTO exchanges (session, number, key, first_message, size_bytes, is_start, at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    row.execute(params![session.id, session.version, exchange.key, session.messages, size, is_start, now])?;

    let mut row =
        connection.prepare_cached("INSERT INTO messages (session, number, role, parts) VALUES (?1, ?2, ?3, ?4)")?;
    for (number, message) in (session.messages..).zip(&exchange.messages) {
        row.execute(params![session.id, number, role_name(message.role), message.parts])?;
        insert_blobs(connection, session.id, &message.blobs)?;
    }

    let mut update = connection.prepare_cached(
        "UPDATE sessions SET version = version + 1, messages = messages + ?2, size_bytes = size_bytes + ?3,
         updated_ms = max(updated_ms, ?4) WHERE id = ?1",
    )?;
    update.execute(params![session.id, exchange.messages.len(), size, now])?;
    Ok(())
}

fn insert_blobs(connection: &Connection, session: i64, blobs: &BTreeMap<Hash, String>) -> Result<(), StoreError> {
    let mut link = connection
        .prepare_cached("INSERT INTO message_blobs (session, hash) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
    for (hash, content) in blobs {
        stored_message::insert_blob(connection, hash, content)?;
        link.execute(params![session, hash])?;
    }
    Ok(())
}

/// The newest exchanges that fit in `window_bytes`. Exchanges are not split: the newest one is always loaded, and a tool
/// call always has its result.
pub(crate) fn load(
    connection: &Connection,
    session: &str,
    window_bytes: u64,
    oldest_ms: i64,
) -> Result<Conversation, StoreError> {
    let mut select =
        connection.prepare_cached("SELECT id, version FROM sessions WHERE name = ?1 AND updated_ms >= ?2")?;
    let found = select.query_row(params![session, oldest_ms], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let Some((id, version)) = found else { return Ok(Conversation::default()) };
    let first = first_in_window(connection, id, window_bytes)?;
    Ok(Conversation { messages: messages(connection, id, first, u32::MAX)?, version })
}

/// The number of the first message to load, which must be a user's. An exchange that starts otherwise belongs to the one
/// before it.
fn first_in_window(connection: &Connection, session: i64, window_bytes: u64) -> Result<u64, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT first_message, size_bytes, is_start FROM exchanges WHERE session = ?1 ORDER BY number DESC",
    )?;
    let mut rows = select.query([session])?;
    let (mut size, mut first) = (0_u64, None);
    while let Some(row) = rows.next()? {
        size = size.saturating_add(row.get(1)?);
        if size > window_bytes && first.is_some() {
            break;
        }
        if row.get(2)? {
            first = Some(row.get(0)?);
        }
    }
    Ok(first.unwrap_or(0))
}

fn messages(connection: &Connection, session: i64, first: u64, limit: u32) -> Result<Vec<Message>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT role, parts FROM messages WHERE session = ?1 AND number >= ?2 ORDER BY number LIMIT ?3",
    )?;
    let mut rows = select.query(params![session, first, limit])?;
    let mut messages = Vec::new();
    while let Some(row) = rows.next()? {
        let role = row.get_ref(0)?.as_str().map_err(|error| StoreError::unreadable("message", error))?;
        let stored = row.get_ref(1)?.as_str().map_err(|error| StoreError::unreadable("message", error))?;
        messages.push(stored_message::read(connection, role, stored)?);
    }
    Ok(messages)
}

/// A page of the messages of a session.
pub(crate) fn read(connection: &Connection, session: &str, from: u64, limit: u32) -> Result<Vec<Message>, StoreError> {
    match state(connection, session)? {
        Some(state) => messages(connection, state.id, from, limit),
        None => Ok(Vec::new()),
    }
}

/// A page of sessions.
pub(crate) fn list(
    connection: &Connection,
    filter: &SessionFilter,
    oldest_ms: i64,
) -> Result<Vec<SessionInfo>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT name, messages, size_bytes, created_ms, updated_ms FROM sessions
         WHERE updated_ms >= ?1 AND substr(name, 1, length(?2)) = ?2 AND (updated_ms, name) < (?3, ?4)
         ORDER BY updated_ms DESC, name DESC LIMIT ?5",
    )?;
    let (before_ms, before) = match &filter.after {
        Some(last) => (last.updated_ms, last.name.as_str()),
        None => (i64::MAX, ""),
    };
    let sessions = select.query_map(params![oldest_ms, filter.prefix, before_ms, before, filter.limit], |row| {
        Ok(SessionInfo {
            name: row.get(0)?,
            messages: row.get(1)?,
            size_bytes: row.get(2)?,
            created_ms: row.get(3)?,
            updated_ms: row.get(4)?,
        })
    })?;
    Ok(sessions.collect::<Result<_, _>>()?)
}

/// Deletes one session.
pub(crate) fn delete(connection: &Connection, session: &str) -> Result<bool, StoreError> {
    Ok(delete_where(connection, "name = ?1", params![session])? > 0)
}

/// Deletes some of the sessions last used before `oldest_ms`. Returns their number.
pub(crate) fn sweep(connection: &Connection, oldest_ms: i64) -> Result<u64, StoreError> {
    let expired = "id IN (SELECT id FROM sessions WHERE updated_ms < ?1 ORDER BY updated_ms LIMIT ?2)";
    delete_where(connection, expired, params![oldest_ms, MAX_SWEPT])
}

/// Deletes sessions, and blobs that no other session refers to.
fn delete_where(connection: &Connection, which: &str, values: &[&dyn rusqlite::ToSql]) -> Result<u64, StoreError> {
    let mut select = connection.prepare_cached(&format!("SELECT id FROM sessions WHERE {which}"))?;
    let ids = select.query_map(values, |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
    for id in &ids {
        let mut linked = connection.prepare_cached("SELECT hash FROM message_blobs WHERE session = ?1")?;
        let hashes = linked.query_map([id], |row| row.get(0))?.collect::<Result<Vec<Hash>, _>>()?;
        connection.prepare_cached("DELETE FROM sessions WHERE id = ?1")?.execute([id])?;
        let mut unlinked = connection.prepare_cached(
            "DELETE FROM blobs WHERE hash = ?1 AND NOT EXISTS (SELECT 1 FROM message_blobs WHERE hash = ?1)",
        )?;
        for hash in hashes {
            unlinked.execute([hash])?;
        }
    }
    Ok(ids.len() as u64)
}
