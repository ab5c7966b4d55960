//! Notes in the database.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use brigade_core::{Embedder, Note, Recall, RecallError, RecallQuery, Run, Scope};

use super::notes::{self, StoredNote};
use crate::{
    Database, StoreError,
    sqlite::{
        database::now_ms,
        vectors::{Direction, fuse},
    },
};

/// Long-term memory that outlives the process.
///
/// Notes are found by their words (FTS5 with BM25; accents and capitals do not matter, word forms do) and, with an
/// [`Embedder`], also by what they mean; reciprocal rank fusion makes one ranking of both. Where the embedding model
/// does not answer, words alone have to do.
///
/// ```
/// use brigade_core::{Note, NoteSource, Recall, RecallQuery, Run, Scope};
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
/// let notes = recall.recall(&RecallQuery::new(&ada, "Which trains go to Basel?", 3), &Run::new()).await?;
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

/// How notes are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecallSettings {
    /// The longest note, in bytes. 4 KiB are a thousand tokens, more than a note of one fact needs.
    pub max_note_bytes: usize,
    /// The most notes of a scope; the oldest are forgotten first. Finding notes by their words takes a millisecond or two
    /// among a hundred thousand. By meaning, the newest ten thousand are compared, which takes some ten milliseconds with
    /// 512 dimensions, and some twenty with 1,536.
    pub max_notes: u32,
    /// For how long a note is kept; for ever if absent, as facts and preferences last.
    pub keep_for: Option<Duration>,
}

/// Each ranking is read this deep before the two are made one: what is further down in one of them needs to be near the
/// top of the other, and then it is found there.
const MOST_FUSED: usize = 50;

impl Default for RecallSettings {
    fn default() -> Self {
        Self { max_note_bytes: 4 * 1024, max_notes: 10_000, keep_for: None }
    }
}

impl SqliteRecall {
    /// The notes in this database.
    pub fn new(database: Database) -> Self {
        Self::with_settings(database, RecallSettings::default())
    }

    /// The same with other settings.
    pub fn with_settings(database: Database, settings: RecallSettings) -> Self {
        Self { database, settings, embedder: None }
    }

    /// Finds notes by meaning, too. Notes that were written without this model are found by their words only.
    #[must_use]
    pub fn embedder(self, embedder: Arc<dyn Embedder>) -> Self {
        Self { embedder: Some(embedder), ..self }
    }

    /// Deletes all notes of a scope for good, and answers how many there were.
    pub async fn forget_all(&self, scope: &Scope) -> Result<u64, StoreError> {
        let scope = notes::scope_name(scope)?;
        let forgotten = self.database.write(move |connection| notes::forget_all(connection, &scope)).await?;
        self.database.empty_log().await?;
        Ok(forgotten)
    }

    /// Deletes the notes that are older than they are kept, and answers how many. They are not found any more in any
    /// case; this makes room, so call it now and then.
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
            self.database.empty_log().await?;
        }
        Ok(deleted)
    }

    /// Where a text points, if there is a model that knows and answers.
    async fn direction(&self, text: &str, run: &Run) -> Option<(String, Direction)> {
        let embedder = self.embedder.as_ref()?;
        let vector = match embedder.embed(&[text], run).await {
            Ok(found) => found.vectors.into_iter().next(),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the embedding model did not answer: notes are found by their words only");
                None
            }
        };
        Some((embedder.id().to_string(), Direction::of(&vector?)?))
    }

    fn oldest_ms(&self) -> i64 {
        let Some(keep_for) = self.settings.keep_for else { return i64::MIN };
        now_ms().saturating_sub(i64::try_from(keep_for.as_millis()).unwrap_or(i64::MAX))
    }
}

#[async_trait]
impl Recall for SqliteRecall {
    async fn remember(&self, scope: &Scope, note: Note, run: &Run) -> Result<(), RecallError> {
        let (size, limit) = (note.text.len(), self.settings.max_note_bytes);
        if size > limit {
            return Err(StoreError::TooLarge { what: "a note", limit, size }.into());
        }
        let scope = notes::scope_name(scope)?;
        let direction = self.direction(&note.text, run).await;
        let max_notes = self.settings.max_notes;
        let write = self.database.write(move |connection| {
            notes::keep(connection, &scope, &StoredNote { note, direction })?;
            notes::forget_oldest(connection, &scope, max_notes)
        });
        Ok(write.await?)
    }

    async fn recall(&self, query: &RecallQuery<'_>, run: &Run) -> Result<Vec<Note>, RecallError> {
        let RecallQuery { scope, text, limit, .. } = *query;
        let scope = notes::scope_name(scope)?;
        let (words, oldest_ms) = (notes::words(text), self.oldest_ms());
        let direction = if words.is_empty() { None } else { self.direction(text, run).await };
        let read = self.database.read(move |connection| {
            let Some(scope) = notes::scope_id(connection, &scope)? else { return Ok(Vec::new()) };
            let ids = if words.is_empty() {
                notes::newest(connection, scope, limit)?
            } else if let Some((model, direction)) = direction {
                let depth = limit.max(MOST_FUSED);
                let by_words = notes::by_words(connection, scope, &words, depth)?;
                fuse(&[by_words, notes::by_meaning(connection, (scope, &model), &direction, depth)?])
            } else {
                notes::by_words(connection, scope, &words, limit)?
            };
            notes::read(connection, ids.into_iter().take(limit), oldest_ms)
        });
        Ok(read.await?)
    }

    async fn forget(&self, scope: &Scope, id: &str) -> Result<bool, RecallError> {
        let (scope, id) = (notes::scope_name(scope)?, id.to_owned());
        let forgotten = self.database.write(move |connection| notes::forget(connection, &scope, &id)).await?;
        if forgotten {
            self.database.empty_log().await?;
        }
        Ok(forgotten)
    }
}

#[cfg(test)]
mod tests;
