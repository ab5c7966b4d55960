//! Messages as rows, and large parts as blobs.

use std::collections::BTreeMap;

use brigade_core::{Message, Part, Role};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::StoreError;

/// A hash of content, which is its name.
pub(crate) type Hash = [u8; 32];

/// Parts from this size on are kept once, however often a conversation carries them: pictures and tool output, which
/// clients resend. Smaller ones cost more as a row of their own than they save.
const LARGE_BYTES: usize = 8 * 1024;

/// A message as it is written.
#[derive(Debug)]
pub(crate) struct StoredMessage {
    pub(crate) role: Role,
    pub(crate) size_bytes: usize,
    /// A JSON array.
    pub(crate) parts: String,
    /// The JSON of large parts.
    pub(crate) blobs: BTreeMap<Hash, String>,
}

impl StoredMessage {
    pub(crate) fn of(message: &Message) -> Result<Self, StoreError> {
        let (mut parts, mut blobs) = (String::from("["), BTreeMap::new());
        for part in message.parts() {
            let json = serde_json::to_string(part).map_err(|error| StoreError::unreadable("message", error))?;
            if parts.len() > 1 {
                parts.push(',');
            }
            if json.len() < LARGE_BYTES {
                parts.push_str(&json);
            } else {
                let hash: Hash = Sha256::digest(&json).into();
                parts.push_str(&reference(&hash));
                blobs.insert(hash, json);
            }
        }
        parts.push(']');
        Ok(Self { role: message.role(), size_bytes: message.size_bytes(), parts, blobs })
    }
}

/// Reads a message back.
pub(crate) fn message(connection: &Connection, role: &str, parts: &str) -> Result<Message, StoreError> {
    let unreadable = |error| StoreError::unreadable("message", error);
    let parts: Vec<&RawValue> = serde_json::from_str(parts).map_err(unreadable)?;
    let parts = parts.into_iter().map(|part| match hash_in(part.get()) {
        None => serde_json::from_str::<Part>(part.get()).map_err(unreadable),
        Some(hash) => serde_json::from_str(&content(connection, hash)?).map_err(unreadable),
    });
    Ok(Message::new(role_of(role), parts.collect::<Result<_, _>>()?))
}

/// Keeps a blob, unless it is kept already.
pub(crate) fn keep(connection: &Connection, hash: &Hash, content: &str) -> Result<(), StoreError> {
    let mut insert =
        connection.prepare_cached("INSERT INTO blobs (hash, content) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
    insert.execute(params![hash, content])?;
    Ok(())
}

pub(crate) const fn role_name(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    }
}

fn role_of(name: &str) -> Role {
    match name {
        "system" => Role::System,
        "user" => Role::User,
        "tool" => Role::Tool,
        _ => Role::Assistant,
    }
}

/// No part is written like this: parts are tagged with what they are.
const BEFORE_HASH: &str = r#"{"blob":""#;
const AFTER_HASH: &str = r#""}"#;

fn reference(hash: &Hash) -> String {
    let digits = hash.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let digits: String = digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect();
    format!("{BEFORE_HASH}{digits}{AFTER_HASH}")
}

fn hash_in(json: &str) -> Option<Hash> {
    let digits = json.strip_prefix(BEFORE_HASH)?.strip_suffix(AFTER_HASH)?;
    let mut hash = Hash::default();
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(hash)
}

fn content(connection: &Connection, hash: Hash) -> Result<String, StoreError> {
    let mut select = connection.prepare_cached("SELECT content FROM blobs WHERE hash = ?1")?;
    let content: Option<String> = select.query_row([hash], |row| row.get(0)).optional()?;
    content.ok_or_else(|| StoreError::damaged("a large part of a message is missing".to_owned()))
}
