//! The rows of notes, and their queries.

use std::collections::BTreeSet;

use brigade_core::RunId;
use brigade_notes::Note;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::{
    StoreError,
    postgres::{
        database::PostgresDatabase,
        session::Session,
        values::{get, storable, values},
    },
    sqlite::{
        notes::notes::{StoredNote, digest, source_name, source_of, split},
        vectors::QuantizedVector,
    },
};

/// The most notes to compare by embedding, the newest ones. Their directions are compared in this process, because PostgreSQL
/// takes thirty times as long without an extension: 3.6 s for as many with 512 dimensions, against 0.1 s.
const MAX_COMPARED: i64 = 10_000;

/// A word is equal to another one if so many of its first letters are.
const MAX_WORD: usize = 500;

/// Inserts a note in a transaction, which begins here, in place of one with the same id and one with the same text. Deletes the
/// oldest notes of the scope until `max_notes` are left.
pub(super) async fn insert(
    session: &Session,
    scope: &str,
    stored: &StoredNote,
    max_notes: u32,
) -> Result<(), StoreError> {
    let StoredNote { note, embedding } = stored;
    let (digest, source) = (digest(note), source_name(note.source));
    let (name, digest) = (storable(&note.id), digest.as_slice());
    // Two processes that store the same note would otherwise wait for each other.
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended('brigade.notes ' || $1, 0))";
    session.begin_with(lock, values![scope]).await?;
    let delete = "DELETE FROM brigade.notes WHERE scope = $1 AND (name = $2 OR digest = $3)";
    session.execute(delete, values![scope, name, digest]).await?;
    let insert = "INSERT INTO brigade.notes
         (scope, name, text, source, run, digest, at_us, words, model, direction)
         VALUES ($1, $2, $3, $4, $5, $6, brigade.now_us(), array_to_tsvector($7), $8, $9)";
    let (text, run) = (storable(&note.text), note.run.map(RunId::uuid));
    let words: BTreeSet<_> = split(&note.text).map(|word| lexeme(&word.to_lowercase())).collect();
    let words: Vec<_> = words.into_iter().collect();
    let model = embedding.as_ref().map(|(model, _)| model.as_str());
    let direction = embedding.as_ref().map(|(_, vector)| vector.as_bytes());
    let values = values![scope, name, text, source, run, digest, words, model, direction];
    session.execute(insert, values).await?;
    let oldest = "DELETE FROM brigade.notes WHERE id IN (
         SELECT id FROM brigade.notes WHERE scope = $1 ORDER BY id DESC OFFSET $2)";
    session.execute(oldest, values![scope, i64::from(max_notes)]).await?;
    Ok(())
}

/// Finds notes by their words. A word counts more the fewer notes of the scope have it. Newer notes come first among equals.
pub(super) async fn by_words(
    database: &PostgresDatabase,
    scope: &str,
    words: &BTreeSet<String>,
    limit: i64,
) -> Result<Vec<i64>, StoreError> {
    let words: Vec<_> = words.iter().map(|word| lexeme(word)).collect();
    let select = "WITH all_notes AS (
             SELECT count(*)::float8 AS number FROM brigade.notes WHERE scope = $1
         ), wanted AS (
             SELECT DISTINCT quote_literal(word)::tsquery AS query FROM unnest($2) AS word
         ), found AS (
             SELECT note.id, wanted.query FROM wanted
             JOIN brigade.notes AS note ON note.scope = $1 AND note.words @@ wanted.query
         ), weights AS (
             SELECT query, count(*)::float8 AS number FROM found GROUP BY query
         )
         SELECT found.id FROM found JOIN weights ON weights.query = found.query, all_notes
         GROUP BY found.id
         ORDER BY sum(ln(1 + (all_notes.number - weights.number + 0.5) / (weights.number + 0.5))) DESC, found.id DESC
         LIMIT $3";
    ids(&database.query(select, values![scope, words, limit]).await?)
}

/// Finds notes by their embeddings, the closest first. Only embeddings of the model `model` are compared.
pub(super) async fn by_embedding(
    database: &PostgresDatabase,
    scope: &str,
    (model, wanted): (&str, &QuantizedVector),
    limit: usize,
) -> Result<Vec<i64>, StoreError> {
    let select = "SELECT id, direction FROM brigade.notes WHERE scope = $1 AND model = $2 ORDER BY id DESC LIMIT $3";
    let mut found: Vec<(i64, f64)> = Vec::new();
    for row in &database.query(select, values![scope, model, MAX_COMPARED]).await? {
        // Texts with embeddings at a right angle or more are unrelated.
        if let Some(cosine) = wanted.cosine(get(row, "direction")?).filter(|cosine| *cosine > 0.0) {
            found.push((get(row, "id")?, cosine));
        }
    }
    found.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    Ok(found.into_iter().take(limit).map(|(id, _)| id).collect())
}

pub(super) async fn newest(database: &PostgresDatabase, scope: &str, limit: i64) -> Result<Vec<i64>, StoreError> {
    let select = "SELECT id FROM brigade.notes WHERE scope = $1 ORDER BY id DESC LIMIT $2";
    ids(&database.query(select, values![scope, limit]).await?)
}

/// Reads the notes with these ids, in this order, without expired ones.
pub(super) async fn read(
    database: &PostgresDatabase,
    ids: Vec<i64>,
    keep_us: Option<i64>,
) -> Result<Vec<Note>, StoreError> {
    let select = "SELECT note.name, note.text, note.source, note.run
         FROM unnest($1) WITH ORDINALITY AS wanted (id, place) JOIN brigade.notes AS note ON note.id = wanted.id
         WHERE $2::bigint IS NULL OR note.at_us >= brigade.now_us() - $2 ORDER BY wanted.place";
    let note = |row: &Row| {
        let run = get::<Option<Uuid>>(row, "run")?.map(RunId::from);
        let note = Note::new(get::<String>(row, "text")?, source_of(get(row, "source")?));
        Ok(note.id(get::<String>(row, "name")?).run(run))
    };
    database.query(select, values![ids, keep_us]).await?.iter().map(note).collect()
}

/// The word in the form of the index, which has no words of 2 KiB or more.
fn lexeme(word: &str) -> String {
    word.chars().take(MAX_WORD).collect()
}

fn ids(rows: &[Row]) -> Result<Vec<i64>, StoreError> {
    rows.iter().map(|row| get(row, "id")).collect()
}
