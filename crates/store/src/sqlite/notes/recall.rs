//! The long-term memory in SQLite.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use brigade_core::{Embedder, MemoryError, Run, Scope};
use brigade_notes::{Note, Recall};

use super::notes::{self, StoredNote};
use crate::{
    Database, StoreError,
    sqlite::{
        database::now_ms,
        vectors::{QuantizedVector, fuse},
    },
};

/// Stores long-term notes in SQLite.
///
/// Notes are found by their words (FTS5 with BM25; accents and case do not matter, word forms do) and, with an
/// [`Embedder`], by their embeddings, too. Reciprocal rank fusion combines both rankings. If the embedding model fails,
/// notes are found by their words only.
///
/// ```
/// use brigade_core::{Run, Scope};
/// use brigade_notes::{Note, NoteSource, Recall};
/// use brigade_store::{Database, SqliteRecall};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("brigade.db");
/// let recall = SqliteRecall::new(Database::open(path)?);
/// let ada = Scope::default().tenant("acme").user("ada");
/// recall.remember(&ada, Note::new("Prefers trains to planes.", NoteSource::User), &Run::new()).await?;
///
/// let notes = recall.recall(&ada, "Which trains go to Basel?", 3, &Run::new()).await?;
/// assert_eq!(notes[0].text, "Prefers trains to planes.");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SqliteRecall {
    database: Database,
    settings: RecallSettings,
    embedder: Option<Arc<dyn Embedder>>,
}

/// Settings of [`SqliteRecall`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecallSettings {
    /// The longest note, in bytes. 4 KiB: a thousand tokens, more than a note of one fact needs.
    pub max_note_bytes: usize,
    /// The most notes of a scope; the oldest are deleted first. 10,000. A search by words takes a millisecond or two among
    /// a hundred thousand notes. A search by embedding compares the newest ten thousand, which takes about ten milliseconds
    /// with 512 dimensions, and twenty with 1,536.
    pub max_notes: u32,
    /// The retention of notes. For ever by default, as facts and preferences last.
    pub keep_for: Option<Duration>,
}

/// The length of each ranking before the fusion. A note that is further down in one ranking matters only if it is near
/// the top of the other, where it is found.
pub(crate) const FUSED_LENGTH: usize = 50;

impl Default for RecallSettings {
    fn default() -> Self {
        Self { max_note_bytes: 4 * 1024, max_notes: 10_000, keep_for: None }
    }
}

impl RecallSettings {
    /// Sets the longest note, in bytes.
    #[must_use]
    pub fn max_note_bytes(self, max_note_bytes: usize) -> Self {
        Self { max_note_bytes, ..self }
    }

    /// Sets the most notes of a scope.
    #[must_use]
    pub fn max_notes(self, max_notes: u32) -> Self {
        Self { max_notes, ..self }
    }

    /// Sets the retention of notes; `None` is for ever.
    #[must_use]
    pub fn keep_for(self, keep_for: impl Into<Option<Duration>>) -> Self {
        Self { keep_for: keep_for.into(), ..self }
    }
}

impl SqliteRecall {
    /// The notes in this database.
    pub fn new(database: Database) -> Self {
        Self::with_settings(database, RecallSettings::default())
    }

    /// Like [`SqliteRecall::new`], with settings.
    pub fn with_settings(database: Database, settings: RecallSettings) -> Self {
        Self { database, settings, embedder: None }
    }

    /// Finds notes by their embeddings, too. Notes that were stored without this model are found by their words only.
    #[must_use]
    pub fn embedder(self, embedder: Arc<dyn Embedder>) -> Self {
        Self { embedder: Some(embedder), ..self }
    }

    /// Deletes all notes of a scope and overwrites their data in the file. Returns their number.
    pub async fn forget_all(&self, scope: &Scope) -> Result<u64, StoreError> {
        let scope = notes::scope_name(scope)?;
        let forgotten = self.database.write(move |connection| notes::forget_all(connection, &scope)).await?;
        if forgotten > 0 {
            let _ = self.database.erase_deleted().await?;
        }
        Ok(forgotten)
    }

    /// Deletes expired notes, and returns their number. Expired notes are never found; call this now and then to free their
    /// space.
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        let oldest_ms = self.oldest_ms();
        let mut deleted = 0;
        loop {
            let some = self.database.write(move |connection| notes::sweep(connection, oldest_ms)).await?;
            deleted += some;
            if some == 0 {
                break;
            }
        }
        if deleted > 0 {
            let _ = self.database.erase_deleted().await?;
        }
        Ok(deleted)
    }

    fn oldest_ms(&self) -> i64 {
        let Some(keep_for) = self.settings.keep_for else { return i64::MIN };
        now_ms().saturating_sub(i64::try_from(keep_for.as_millis()).unwrap_or(i64::MAX))
    }
}

/// The model and the embedding of a text; `None` without an embedder, or if it fails.
pub(crate) async fn embed(
    embedder: Option<&Arc<dyn Embedder>>,
    text: &str,
    run: &Run,
) -> Option<(String, QuantizedVector)> {
    let embedder = embedder?;
    let vector = match embedder.embed(&[text], run).await {
        Ok(found) => found.vectors.into_iter().next(),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the embedding model failed: notes are found by their words only");
            None
        }
    };
    Some((embedder.id().to_string(), QuantizedVector::new(&vector?)?))
}

impl SqliteRecall {
    async fn insert(&self, scope: &Scope, note: Note, run: &Run) -> Result<(), StoreError> {
        let (size, limit) = (note.text.len(), self.settings.max_note_bytes);
        if size > limit {
            return Err(StoreError::TooLarge { what: "a note", limit, size });
        }
        let scope = notes::scope_name(scope)?;
        let embedding = embed(self.embedder.as_ref(), &note.text, run).await;
        let max_notes = self.settings.max_notes;
        let write = self.database.write(move |connection| {
            notes::insert(connection, &scope, &StoredNote { note, embedding })?;
            notes::delete_oldest(connection, &scope, max_notes)
        });
        write.await
    }

    async fn find(&self, scope: &Scope, text: &str, limit: usize, run: &Run) -> Result<Vec<Note>, StoreError> {
        let scope = notes::scope_name(scope)?;
        let (words, oldest_ms) = (notes::words(text), self.oldest_ms());
        let embedding = if words.is_empty() { None } else { embed(self.embedder.as_ref(), text, run).await };
        let read = self.database.read(move |connection| {
            let Some(scope) = notes::scope_id(connection, &scope)? else { return Ok(Vec::new()) };
            let ids = if words.is_empty() {
                notes::newest(connection, scope, limit)?
            } else if let Some((model, vector)) = embedding {
                let depth = limit.max(FUSED_LENGTH);
                let by_words = notes::by_words(connection, scope, &words, depth)?;
                fuse(&[by_words, notes::by_embedding(connection, scope, &model, &vector, depth)?])
            } else {
                notes::by_words(connection, scope, &words, limit)?
            };
            notes::read(connection, ids.into_iter().take(limit), oldest_ms)
        });
        read.await
    }

    async fn delete(&self, scope: &Scope, id: &str) -> Result<bool, StoreError> {
        let (scope, id) = (notes::scope_name(scope)?, id.to_owned());
        let forgotten = self.database.write(move |connection| notes::forget(connection, &scope, &id)).await?;
        if forgotten {
            let _ = self.database.erase_deleted().await?;
        }
        Ok(forgotten)
    }
}

#[async_trait]
impl Recall for SqliteRecall {
    async fn remember(&self, scope: &Scope, note: Note, run: &Run) -> Result<(), MemoryError> {
        self.insert(scope, note, run).await.map_err(StoreError::for_models)
    }

    async fn recall(&self, scope: &Scope, text: &str, limit: usize, run: &Run) -> Result<Vec<Note>, MemoryError> {
        self.find(scope, text, limit, run).await.map_err(StoreError::for_models)
    }

    async fn forget(&self, scope: &Scope, id: &str) -> Result<bool, MemoryError> {
        self.delete(scope, id).await.map_err(StoreError::for_models)
    }
}

#[cfg(test)]
mod tests;
