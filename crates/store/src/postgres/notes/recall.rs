//! The long-term memory in PostgreSQL.

use std::sync::Arc;

use async_trait::async_trait;
use brigade_core::{Embedder, MemoryError, Run, Scope};
use brigade_notes::{Note, Recall};

use super::notes;
use crate::{
    PostgresDatabase, RecallSettings, StoreError,
    postgres::values::{storable, us, values},
    sqlite::{
        notes::{
            notes::{StoredNote, scope_name, words},
            recall::{FUSED_LENGTH, embed},
        },
        vectors::fuse,
    },
};

/// Stores long-term notes in PostgreSQL, for any number of processes.
///
/// Notes are found by their words (case does not matter, accents and word forms do; a word that few notes have counts more) and,
/// with an [`Embedder`], by their embeddings, too. All embeddings of a scope are compared, without an extension of
/// PostgreSQL and without an approximate index.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use brigade_core::{Run, Scope};
/// use brigade_notes::{Note, NoteSource, Recall};
/// use brigade_store::{PostgresDatabase, PostgresRecall};
///
/// let recall = PostgresRecall::new(PostgresDatabase::open(&std::env::var("DATABASE_URL")?).await?);
/// let ada = Scope::default().tenant("acme").user("ada");
/// recall.remember(&ada, Note::new("Prefers trains to planes.", NoteSource::User), &Run::new()).await?;
/// let notes = recall.recall(&ada, "Which trains go to Basel?", 3, &Run::new()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PostgresRecall {
    database: PostgresDatabase,
    settings: RecallSettings,
    embedder: Option<Arc<dyn Embedder>>,
}

impl PostgresRecall {
    /// The notes in this database.
    pub fn new(database: PostgresDatabase) -> Self {
        Self::with_settings(database, RecallSettings::default())
    }

    /// Like [`PostgresRecall::new`], with settings.
    pub fn with_settings(database: PostgresDatabase, settings: RecallSettings) -> Self {
        Self { database, settings, embedder: None }
    }

    /// Finds notes by their embeddings, too. Notes that were stored without this model are found by their words only.
    #[must_use]
    pub fn embedder(self, embedder: Arc<dyn Embedder>) -> Self {
        Self { embedder: Some(embedder), ..self }
    }

    /// Deletes all notes of a scope. Returns their number.
    pub async fn forget_all(&self, scope: &Scope) -> Result<u64, StoreError> {
        let scope = scope_name(scope)?;
        self.database.execute("DELETE FROM brigade.notes WHERE scope = $1", values![scope]).await
    }

    /// Deletes expired notes, and returns their number. Expired notes are never found; call this now and then, in any of the
    /// processes, to free their space.
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        let delete = "DELETE FROM brigade.notes WHERE id IN (
             SELECT id FROM brigade.notes WHERE at_us < brigade.now_us() - $1
             ORDER BY at_us LIMIT 500 FOR UPDATE SKIP LOCKED)";
        let mut deleted = 0;
        loop {
            let some = self.database.execute(delete, values![self.keep_us()]).await?;
            deleted += some;
            if some == 0 {
                return Ok(deleted);
            }
        }
    }

    async fn insert(&self, scope: &Scope, note: Note, run: &Run) -> Result<(), StoreError> {
        let (size, limit) = (note.text.len(), self.settings.max_note_bytes);
        if size > limit {
            return Err(StoreError::TooLarge { what: "a note", limit, size });
        }
        let scope = scope_name(scope)?;
        let embedding = embed(self.embedder.as_ref(), &note.text, run).await;
        let stored = StoredNote { note, embedding };
        let session = self.database.session().await?;
        let inserted = notes::insert(&session, &scope, &stored, self.settings.max_notes).await;
        session.end(inserted).await
    }

    async fn find(&self, scope: &Scope, text: &str, limit: usize, run: &Run) -> Result<Vec<Note>, StoreError> {
        let (scope, words) = (scope_name(scope)?, words(text));
        let rows = |limit: usize| i64::try_from(limit).unwrap_or(i64::MAX);
        let embedding = if words.is_empty() { None } else { embed(self.embedder.as_ref(), text, run).await };
        let mut ids = if words.is_empty() {
            notes::newest(&self.database, &scope, rows(limit)).await?
        } else if let Some((model, vector)) = embedding {
            let depth = limit.max(FUSED_LENGTH);
            let by_words = notes::by_words(&self.database, &scope, &words, rows(depth)).await?;
            fuse(&[by_words, notes::by_embedding(&self.database, &scope, (&model, &vector), depth).await?])
        } else {
            notes::by_words(&self.database, &scope, &words, rows(limit)).await?
        };
        ids.truncate(limit);
        notes::read(&self.database, ids, self.keep_us()).await
    }

    async fn delete(&self, scope: &Scope, id: &str) -> Result<bool, StoreError> {
        let scope = scope_name(scope)?;
        let delete = "DELETE FROM brigade.notes WHERE scope = $1 AND name = $2";
        Ok(self.database.execute(delete, values![scope, storable(id)]).await? > 0)
    }

    /// How long notes are kept; absent means for ever.
    fn keep_us(&self) -> Option<i64> {
        self.settings.keep_for.map(us)
    }
}

#[async_trait]
impl Recall for PostgresRecall {
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
mod tests {
    use std::time::Duration;

    use brigade_notes::NoteSource;

    use super::*;
    use crate::testing::{postgres_database, recall_contract};

    async fn open(test: &str) -> Option<PostgresRecall> {
        let database = PostgresDatabase::open(&postgres_database(test).await?).await.unwrap();
        Some(PostgresRecall::new(database))
    }

    fn texts(notes: Vec<Note>) -> Vec<String> {
        notes.into_iter().map(|note| note.text).collect()
    }

    #[tokio::test]
    async fn the_postgres_notes_pass_the_contract() {
        let Some(recall) = open("the_postgres_notes_pass_the_contract").await else { return };
        recall_contract(&recall).await;
    }

    #[tokio::test]
    async fn a_rare_word_counts_more_and_old_or_many_notes_are_deleted() {
        let Some(recall) = open("a_rare_word_counts_more_and_old_notes_are_deleted").await else { return };
        let (scope, run) = (Scope::default().user("ada"), Run::new());
        let settings = RecallSettings::default().max_notes(5).keep_for(Duration::from_hours(1));
        let recall = PostgresRecall::with_settings(recall.database.clone(), settings);
        for text in ["zero", "the zeppelin", "the train", "the plane", "the boat", "the car is the train"] {
            recall.remember(&scope, Note::new(text.to_owned(), NoteSource::User), &run).await.unwrap();
        }
        let found = recall.recall(&scope, "the zeppelin", 2, &run).await.unwrap();
        assert_eq!(texts(found), ["the zeppelin", "the car is the train"]);
        assert!(recall.recall(&scope, "zero", 9, &run).await.unwrap().is_empty(), "the oldest of six was deleted");
        let again = Note::new("The  TRAIN".to_owned(), NoteSource::User);
        recall.remember(&scope, again, &run).await.unwrap();
        assert_eq!(recall.recall(&scope, "", 9, &run).await.unwrap().len(), 5, "the same words replace the older note");
        let old = "UPDATE brigade.notes SET at_us = at_us - 7200000000 WHERE text LIKE '%zeppelin'";
        recall.database.execute(old, &[]).await.unwrap();
        assert!(recall.recall(&scope, "zeppelin", 9, &run).await.unwrap().is_empty(), "it has expired");
        assert_eq!((recall.sweep().await.unwrap(), recall.forget_all(&scope).await.unwrap()), (1, 4));
    }
}
