//! The rows of notes.

use std::collections::BTreeSet;

use brigade_core::{Note, NoteSource, RunId, Scope};
use rusqlite::{Connection, OptionalExtension, ToSql, params};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    StoreError,
    sqlite::{database::now_ms, vectors::Direction},
};

/// A note with what it means, if a model told.
#[derive(Debug)]
pub(crate) struct StoredNote {
    pub(crate) note: Note,
    pub(crate) direction: Option<(String, Direction)>,
}

/// A question of more words than this is a document, and its first words tell what it is about.
const MOST_WORDS: usize = 64;

/// A word in as many notes of a scope as this does not tell them apart.
const COMMON: u32 = 2_000;

/// So many notes are scored by their words at the most, the newest ones.
const MOST_SCORED: u32 = 5_000;

/// Only the newest notes of a scope are compared by meaning: each of them is read, which takes about a microsecond.
const MOST_COMPARED: u32 = 10_000;

/// A statement that deletes many rows keeps others from writing.
const MOST_SWEPT: u32 = 500;

pub(crate) fn scope_name(scope: &Scope) -> Result<String, StoreError> {
    serde_json::to_string(scope).map_err(|error| StoreError::unreadable("scope", error))
}

/// What is searched for: each word of a question once.
pub(crate) fn words(query: &str) -> BTreeSet<String> {
    split(query).map(str::to_lowercase).take(MOST_WORDS).collect()
}

fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty())
}

pub(crate) fn scope_id(connection: &Connection, scope: &str) -> Result<Option<i64>, StoreError> {
    let mut select = connection.prepare_cached("SELECT id FROM scopes WHERE name = ?1")?;
    Ok(select.query_row([scope], |row| row.get(0)).optional()?)
}

/// Keeps a note in place of one with its id and of one that says the same.
pub(crate) fn keep(connection: &Connection, scope: &str, stored: &StoredNote) -> Result<(), StoreError> {
    let StoredNote { note, direction } = stored;
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
    if let Some((model, direction)) = direction {
        connection
            .prepare_cached("INSERT INTO note_directions (note, model, direction) VALUES (?1, ?2, ?3)")?
            .execute(params![id, model, direction.as_bytes()])?;
    }
    Ok(())
}

/// Forgets the oldest notes of a scope until `max_notes` are left.
pub(crate) fn forget_oldest(connection: &Connection, scope: &str, max_notes: u32) -> Result<(), StoreError> {
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
    forget_empty_scopes(connection, forgotten)?;
    Ok(forgotten > 0)
}

pub(crate) fn forget_all(connection: &Connection, scope: &str) -> Result<u64, StoreError> {
    let Some(scope) = scope_id(connection, scope)? else { return Ok(0) };
    let forgotten = delete_where(connection, "scope = ?1", params![scope])?;
    forget_empty_scopes(connection, forgotten)?;
    Ok(forgotten)
}

/// Deletes some of the notes from before `oldest_ms`, and answers how many.
pub(crate) fn sweep(connection: &Connection, oldest_ms: i64) -> Result<u64, StoreError> {
    let expired = "id IN (SELECT id FROM notes WHERE at_ms < ?1 ORDER BY at_ms LIMIT ?2)";
    let deleted = delete_where(connection, expired, params![oldest_ms, MOST_SWEPT])?;
    forget_empty_scopes(connection, deleted)?;
    Ok(deleted)
}

/// Best first by Okapi BM25, newer ones first among equals.
pub(crate) fn by_words(
    connection: &Connection,
    scope: i64,
    words: &BTreeSet<String>,
    limit: usize,
) -> Result<Vec<i64>, StoreError> {
    let wanted = telling(connection, scope, words)?;
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mut select = connection.prepare_cached(
        "SELECT rowid FROM (SELECT rowid, bm25(notes_words) AS score FROM notes_words WHERE notes_words MATCH ?1
                            ORDER BY rowid DESC LIMIT ?2)
         ORDER BY score, rowid DESC LIMIT ?3",
    )?;
    let found = select.query_map(params![wanted.join(" OR "), MOST_SCORED, limit], |row| row.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// The words that tell notes apart, as the index has them. A word that very many notes share adds next to nothing to
/// their scores, and scoring them all is what takes time; it counts only if there is no rarer one.
fn telling(connection: &Connection, scope: i64, words: &BTreeSet<String>) -> Result<Vec<String>, StoreError> {
    let mut count = connection
        .prepare_cached("SELECT count(*) FROM (SELECT 1 FROM notes_words WHERE notes_words MATCH ?1 LIMIT ?2)")?;
    let (mut rare, mut common) = (Vec::new(), Vec::new());
    for word in words {
        let word = format!("\"{}\"", in_scope(scope, word));
        let notes: u32 = count.query_row(params![word, COMMON], |row| row.get(0))?;
        match notes {
            0 => {}
            1..COMMON => rare.push(word),
            _ => common.push(word),
        }
    }
    Ok(if rare.is_empty() { common } else { rare })
}

/// The closest first. `among` is a scope and the model whose directions can be compared.
pub(crate) fn by_meaning(
    connection: &Connection,
    among: (i64, &str),
    wanted: &Direction,
    limit: usize,
) -> Result<Vec<i64>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT note, direction FROM notes JOIN note_directions ON note = notes.id AND model = ?2
         WHERE scope = ?1 ORDER BY notes.id DESC LIMIT ?3",
    )?;
    let mut rows = select.query(params![among.0, among.1, MOST_COMPARED])?;
    let mut found: Vec<(i64, f64)> = Vec::new();
    while let Some(row) = rows.next()? {
        let direction = row.get_ref(1)?.as_blob().map_err(|error| StoreError::unreadable("direction", error))?;
        // At a right angle and beyond, texts have nothing to do with each other.
        if let Some(cosine) = wanted.cosine(direction).filter(|cosine| *cosine > 0.0) {
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

/// The notes with these ids, in their order, without expired ones.
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
            Ok(Note { id: row.get(0)?, text: row.get(1)?, source: source_of(&source), run })
        });
        notes.extend(note.optional()?);
    }
    Ok(notes)
}

fn delete_where(connection: &Connection, which: &str, values: &[&dyn ToSql]) -> Result<u64, StoreError> {
    let mut select = connection.prepare_cached(&format!("SELECT id, scope, text FROM notes WHERE {which}"))?;
    let mut rows = select.query(values)?;
    let mut deleted = 0;
    while let Some(row) = rows.next()? {
        let (id, scope, text): (i64, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        // A table without content is told what to take out: https://sqlite.org/fts5.html, section 6.3.
        connection
            .prepare_cached("INSERT INTO notes_words (notes_words, rowid, words) VALUES ('delete', ?1, ?2)")?
            .execute(params![id, indexed(scope, &text)])?;
        connection.prepare_cached("DELETE FROM notes WHERE id = ?1")?.execute([id])?;
        connection.prepare_cached("UPDATE scopes SET notes = notes - 1 WHERE id = ?1")?.execute([scope])?;
        deleted += 1;
    }
    Ok(deleted)
}

/// Who had notes is nobody's business once the notes are gone.
fn forget_empty_scopes(connection: &Connection, deleted: u64) -> Result<(), StoreError> {
    if deleted > 0 {
        connection.execute("DELETE FROM scopes WHERE notes = 0", [])?;
    }
    Ok(())
}

/// The words of a note as the index has them.
fn indexed(scope: i64, text: &str) -> String {
    split(text).map(|word| in_scope(scope, &word.to_lowercase())).collect::<Vec<_>>().join(" ")
}

fn in_scope(scope: i64, word: &str) -> String {
    format!("s{scope}x{word}")
}

/// The same for notes from the same source with the same words.
fn digest(note: &Note) -> [u8; 32] {
    let words: Vec<_> = note.text.split_whitespace().map(str::to_lowercase).collect();
    Sha256::digest(format!("{}\n{}", source_name(note.source), words.join(" "))).into()
}

const fn source_name(source: NoteSource) -> &'static str {
    match source {
        NoteSource::User => "user",
        NoteSource::Tool => "tool",
        NoteSource::Agent => "agent",
    }
}

/// What is unknown is trusted least.
fn source_of(name: &str) -> NoteSource {
    match name {
        "user" => NoteSource::User,
        "agent" => NoteSource::Agent,
        _ => NoteSource::Tool,
    }
}
