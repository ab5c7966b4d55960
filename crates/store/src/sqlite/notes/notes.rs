//! The rows of notes, and their queries.

use std::collections::BTreeSet;

use brigade_core::{RunId, Scope};
use brigade_notes::{Note, NoteSource};
use rusqlite::{Connection, OptionalExtension, ToSql, params};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    StoreError,
    sqlite::{database::now_ms, vectors::QuantizedVector},
};

/// A note to be written.
#[derive(Debug)]
pub(crate) struct StoredNote {
    pub(crate) note: Note,
    /// The embedding model, and the embedding.
    pub(crate) embedding: Option<(String, QuantizedVector)>,
}

/// A query with more words than this is a document, and its first words say enough about it.
const MAX_QUERY_WORDS: usize = 64;

/// A word in this many notes of a scope is common.
const COMMON_WORD_NOTES: u32 = 2_000;

/// The most notes to score by their words, the newest ones.
const MAX_SCORED: u32 = 5_000;

/// The most notes to compare by embedding, the newest ones. Each takes about a microsecond to read.
const MAX_COMPARED: u32 = 10_000;

/// A statement that deletes many rows blocks other writers.
const MAX_SWEPT: u32 = 500;

pub(crate) fn scope_name(scope: &Scope) -> Result<String, StoreError> {
    serde_json::to_string(scope).map_err(|error| StoreError::unreadable("scope", error))
}

/// The distinct words of a query.
pub(crate) fn words(query: &str) -> BTreeSet<String> {
    split(query).map(str::to_lowercase).take(MAX_QUERY_WORDS).collect()
}

pub(crate) fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty())
}

pub(crate) fn scope_id(connection: &Connection, scope: &str) -> Result<Option<i64>, StoreError> {
    let mut select = connection.prepare_cached("SELECT id FROM scopes WHERE name = ?1")?;
    Ok(select.query_row([scope], |row| row.get(0)).optional()?)
}

/// Inserts a note, and deletes one with the same id and one with the same text.
pub(crate) fn insert(connection: &Connection, scope: &str, stored: &StoredNote) -> Result<(), StoreError> {
    let StoredNote { note, embedding } = stored;
    connection.prepare_cached("INSERT INTO scopes (name) VALUES (?1) ON CONFLICT DO NOTHING")?.execute([scope])?;
    let scope: i64 =
        connection.prepare_cached("SELECT id FROM scopes WHERE name = ?1")?.query_row([scope], |row| row.get(0))?;
    let digest = digest(note);
    delete_where(connection, "scope = ?1 AND name = ?2", params![scope, note.id])?;
    delete_where(connection, "scope = ?1 AND digest = ?2", params![scope, digest])?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO notes (scope, name, text, source, run, digest, at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    let run = note.run.map(|run| run.uuid().into_bytes());
    let source = source_name(note.source);
    let id = insert.insert(params![scope, note.id, note.text, source, run, digest, now_ms()])?;
    connection
        .prepare_cached("INSERT INTO notes_words (rowid, words) VALUES (?1, ?2)")?
        .execute(params![id, indexed(scope, &note.text)])?;
    connection.prepare_cached("UPDATE scopes SET notes = notes + 1 WHERE id = ?1")?.execute([scope])?;
    if let Some((model, vector)) = embedding {
        connection
            .prepare_cached("INSERT INTO note_directions (note, model, direction) VALUES (?1, ?2, ?3)")?
            .execute(params![id, model, vector.as_bytes()])?;
    }
    Ok(())
}

/// Deletes the oldest notes of a scope until `max_notes` are left.
pub(crate) fn delete_oldest(connection: &Connection, scope: &str, max_notes: u32) -> Result<(), StoreError> {
    let mut select = connection.prepare_cached("SELECT id, notes - ?2 FROM scopes WHERE name = ?1 AND notes > ?2")?;
    let excess = select.query_row(params![scope, max_notes], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    if let Some::<(i64, i64)>((scope, excess)) = excess {
        let oldest = "id IN (SELECT id FROM notes WHERE scope = ?1 ORDER BY id LIMIT ?2)";
        delete_where(connection, oldest, params![scope, excess])?;
    }
    Ok(())
}

pub(crate) fn forget(connection: &Connection, scope: &str, id: &str) -> Result<bool, StoreError> {
    let Some(scope) = scope_id(connection, scope)? else { return Ok(false) };
    let forgotten = delete_where(connection, "scope = ?1 AND name = ?2", params![scope, id])?;
    delete_empty_scopes(connection, forgotten)?;
    Ok(forgotten > 0)
}

pub(crate) fn forget_all(connection: &Connection, scope: &str) -> Result<u64, StoreError> {
    let Some(scope) = scope_id(connection, scope)? else { return Ok(0) };
    let forgotten = delete_where(connection, "scope = ?1", params![scope])?;
    delete_empty_scopes(connection, forgotten)?;
    Ok(forgotten)
}

/// Deletes at most [`MAX_SWEPT`] notes from before `oldest_ms`. Returns the number of deleted notes.
pub(crate) fn sweep(connection: &Connection, oldest_ms: i64) -> Result<u64, StoreError> {
    let expired = "id IN (SELECT id FROM notes WHERE at_ms < ?1 ORDER BY at_ms LIMIT ?2)";
    let deleted = delete_where(connection, expired, params![oldest_ms, MAX_SWEPT])?;
    delete_empty_scopes(connection, deleted)?;
    Ok(deleted)
}

/// Finds notes by their words, ranked by Okapi BM25. Newer notes come first among equals.
pub(crate) fn by_words(
    connection: &Connection,
    scope: i64,
    words: &BTreeSet<String>,
    limit: usize,
) -> Result<Vec<i64>, StoreError> {
    let wanted = selective_words(connection, scope, words)?;
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mut select = connection.prepare_cached(
        "SELECT rowid FROM (SELECT rowid, bm25(notes_words) AS score FROM notes_words WHERE notes_words MATCH ?1
                            ORDER BY rowid DESC LIMIT ?2)
         ORDER BY score, rowid DESC LIMIT ?3",
    )?;
    let found = select.query_map(params![wanted.join(" OR "), MAX_SCORED, limit], |row| row.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// The words to search for, in the form of the index. A common word adds little to a score and takes the most time, so it
/// is used only without a rarer one.
fn selective_words(connection: &Connection, scope: i64, words: &BTreeSet<String>) -> Result<Vec<String>, StoreError> {
    let mut count = connection
        .prepare_cached("SELECT count(*) FROM (SELECT 1 FROM notes_words WHERE notes_words MATCH ?1 LIMIT ?2)")?;
    let (mut rare, mut common) = (Vec::new(), Vec::new());
    for word in words {
        let word = format!("\"{}\"", in_scope(scope, word));
        let notes: u32 = count.query_row(params![word, COMMON_WORD_NOTES], |row| row.get(0))?;
        match notes {
            0 => {}
            1..COMMON_WORD_NOTES => rare.push(word),
            _ => common.push(word),
        }
    }
    Ok(if rare.is_empty() { common } else { rare })
}

/// Finds notes by their embeddings, the closest first. Only embeddings of the model `model` are compared.
pub(crate) fn by_embedding(
    connection: &Connection,
    scope: i64,
    model: &str,
    wanted: &QuantizedVector,
    limit: usize,
) -> Result<Vec<i64>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT note, direction FROM notes JOIN note_directions ON note = notes.id AND model = ?2
         WHERE scope = ?1 ORDER BY notes.id DESC LIMIT ?3",
    )?;
    let mut rows = select.query(params![scope, model, MAX_COMPARED])?;
    let mut found: Vec<(i64, f64)> = Vec::new();
    while let Some(row) = rows.next()? {
        let vector = row.get_ref(1)?.as_blob().map_err(|error| StoreError::unreadable("embedding", error))?;
        // Texts with embeddings at a right angle or more are unrelated.
        if let Some(cosine) = wanted.cosine(vector).filter(|cosine| *cosine > 0.0) {
            found.push((row.get(0)?, cosine));
        }
    }
    found.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    Ok(found.into_iter().take(limit).map(|(id, _)| id).collect())
}

pub(crate) fn newest(connection: &Connection, scope: i64, limit: usize) -> Result<Vec<i64>, StoreError> {
    let mut select = connection.prepare_cached("SELECT id FROM notes WHERE scope = ?1 ORDER BY id DESC LIMIT ?2")?;
    Ok(select.query_map(params![scope, limit], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// Reads the notes with these ids, in this order, without expired ones.
pub(crate) fn read(
    connection: &Connection,
    ids: impl Iterator<Item = i64>,
    oldest_ms: i64,
) -> Result<Vec<Note>, StoreError> {
    let mut select =
        connection.prepare_cached("SELECT name, text, source, run FROM notes WHERE id = ?1 AND at_ms >= ?2")?;
    let mut notes = Vec::new();
    for id in ids {
        let note = select.query_row(params![id, oldest_ms], |row| {
            let (source, run): (String, Option<[u8; 16]>) = (row.get(2)?, row.get(3)?);
            let run = run.map(|bytes| RunId::from(Uuid::from_bytes(bytes)));
            let text: String = row.get(1)?;
            Ok(Note::new(text, source_of(&source)).id(row.get(0)?).run(run))
        });
        notes.extend(note.optional()?);
    }
    Ok(notes)
}

fn delete_where(connection: &Connection, condition: &str, values: &[&dyn ToSql]) -> Result<u64, StoreError> {
    let mut select = connection.prepare_cached(&format!("SELECT id, scope, text FROM notes WHERE {condition}"))?;
    let mut rows = select.query(values)?;
    let mut deleted = 0;
    while let Some(row) = rows.next()? {
        let (id, scope, text): (i64, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        // The index does not store the text, so a deletion has to pass it: https://sqlite.org/fts5.html, section 6.3.
        connection
            .prepare_cached("INSERT INTO notes_words (notes_words, rowid, words) VALUES ('delete', ?1, ?2)")?
            .execute(params![id, indexed(scope, &text)])?;
        connection.prepare_cached("DELETE FROM notes WHERE id = ?1")?.execute([id])?;
        connection.prepare_cached("UPDATE scopes SET notes = notes - 1 WHERE id = ?1")?.execute([scope])?;
        deleted += 1;
    }
    Ok(deleted)
}

/// Deletes the names of scopes without notes, which may be personal data.
fn delete_empty_scopes(connection: &Connection, deleted: u64) -> Result<(), StoreError> {
    if deleted > 0 {
        connection.execute("DELETE FROM scopes WHERE notes = 0", [])?;
    }
    Ok(())
}

/// The words of a note in the form of the index, each with the scope in front.
fn indexed(scope: i64, text: &str) -> String {
    split(text).map(|word| in_scope(scope, &word.to_lowercase())).collect::<Vec<_>>().join(" ")
}

fn in_scope(scope: i64, word: &str) -> String {
    format!("s{scope}x{word}")
}

/// A digest of a note's source and words. Notes with the same digest count as equal.
pub(crate) fn digest(note: &Note) -> [u8; 32] {
    let words: Vec<_> = note.text.split_whitespace().map(str::to_lowercase).collect();
    Sha256::digest(format!("{}\n{}", source_name(note.source), words.join(" "))).into()
}

pub(crate) const fn source_name(source: NoteSource) -> &'static str {
    match source {
        NoteSource::User => "user",
        NoteSource::Tool => "tool",
        NoteSource::Agent => "agent",
    }
}

/// An unknown source is trusted the least.
pub(crate) fn source_of(name: &str) -> NoteSource {
    match name {
        "user" => NoteSource::User,
        "agent" => NoteSource::Agent,
        _ => NoteSource::Tool,
    }
}
