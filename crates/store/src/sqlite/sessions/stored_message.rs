//! Messages as rows, with large parts as blobs.

use std::collections::BTreeMap;

use brigade_core::{Message, Part, Role};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::StoreError;

/// The hash of a blob's content, which is its key.
pub(crate) type Hash = [u8; 32];

/// Parts of at least this size, such as images and tool output, are stored once as a blob, however often clients resend
/// them. For smaller parts, a row of their own costs more than it saves.
const MIN_BLOB_BYTES: usize = 8 * 1024;

/// A message to be written.
#[derive(Debug)]
pub(crate) struct StoredMessage {
    pub(crate) role: Role,
    pub(crate) size_bytes: usize,
    /// A JSON array.
    pub(crate) parts: String,
    /// The JSON of the large parts.
    pub(crate) blobs: BTreeMap<Hash, String>,
}

impl StoredMessage {
    pub(crate) fn new(message: &Message) -> Result<Self, StoreError> {
        let (mut parts, mut blobs) = (String::from("["), BTreeMap::new());
        for part in message.parts() {
            let json = serde_json::to_string(part).map_err(|error| StoreError::unreadable("message", error))?;
            if parts.len() > 1 {
                parts.push(',');
            }
            if json.len() < MIN_BLOB_BYTES {
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

/// Reads a message.
pub(crate) fn read(connection: &Connection, role: &str, parts: &str) -> Result<Message, StoreError> {
    read_with(role, parts, |hash| read_blob(connection, hash))
}

/// Reads a message whose large parts `blob` finds.
pub(crate) fn read_with(
    role: &str,
    parts: &str,
    blob: impl Fn(Hash) -> Result<String, StoreError>,
) -> Result<Message, StoreError> {
    let parts = raw_parts(parts)?.into_iter().map(|part| match hash_in(part.get()) {
        None => serde_json::from_str::<Part>(part.get()).map_err(unreadable),
        Some(hash) => serde_json::from_str(&blob(hash)?).map_err(unreadable),
    });
    Ok(Message::new(role_of(role), parts.collect::<Result<_, _>>()?))
}

/// The hashes of the large parts of a message.
#[cfg(feature = "postgres")]
pub(crate) fn hashes_in(parts: &str) -> Result<Vec<Hash>, StoreError> {
    Ok(raw_parts(parts)?.into_iter().filter_map(|part| hash_in(part.get())).collect())
}

fn raw_parts(parts: &str) -> Result<Vec<&RawValue>, StoreError> {
    serde_json::from_str(parts).map_err(unreadable)
}

fn unreadable(error: serde_json::Error) -> StoreError {
    StoreError::unreadable("message", error)
}

/// Inserts a blob, unless it exists.
pub(crate) fn insert_blob(connection: &Connection, hash: &Hash, content: &str) -> Result<(), StoreError> {
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

/// A reference to a blob is `{"blob":"<hash>"}`. No part has this form: parts are tagged with their kind.
const REFERENCE_START: &str = r#"{"blob":""#;
const REFERENCE_END: &str = r#""}"#;

fn reference(hash: &Hash) -> String {
    let digits = hash.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let digits: String = digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect();
    format!("{REFERENCE_START}{digits}{REFERENCE_END}")
}

fn hash_in(json: &str) -> Option<Hash> {
    let digits = json.strip_prefix(REFERENCE_START)?.strip_suffix(REFERENCE_END)?;
    let mut hash = Hash::default();
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(hash)
}

fn read_blob(connection: &Connection, hash: Hash) -> Result<String, StoreError> {
    let mut select = connection.prepare_cached("SELECT content FROM blobs WHERE hash = ?1")?;
    let content: Option<String> = select.query_row([hash], |row| row.get(0)).optional()?;
    content.ok_or_else(|| StoreError::damaged("a large part of a message is missing".to_owned()))
}
