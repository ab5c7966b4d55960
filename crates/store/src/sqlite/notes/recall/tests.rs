use std::sync::atomic::{AtomicBool, Ordering};

use brigade_core::{Embeddings, ModelError, ModelErrorKind, ModelId};
use brigade_notes::{LocalRecall, NoteSource};

use super::*;
use crate::testing::recall_contract;

fn recall(settings: RecallSettings) -> (SqliteRecall, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path().join("test.db")).unwrap();
    (SqliteRecall::with_settings(database, settings), folder)
}

fn ada() -> Scope {
    Scope::default().user("ada")
}

fn note(text: &str) -> Note {
    Note::new(text, NoteSource::User)
}

async fn found(recall: &SqliteRecall, query: &str) -> Vec<String> {
    recall.recall(&ada(), query, 10, &Run::new()).await.unwrap().into_iter().map(|note| note.text).collect()
}

/// Embeds texts in two dimensions: transport, and everything else.
#[derive(Debug)]
struct Transport {
    id: ModelId,
    is_down: AtomicBool,
}

impl Default for Transport {
    fn default() -> Self {
        Self { id: ModelId::new("test", "transport"), is_down: AtomicBool::new(false) }
    }
}

#[async_trait]
impl Embedder for Transport {
    fn id(&self) -> &ModelId {
        &self.id
    }

    async fn embed(&self, texts: &[&str], _: &Run) -> Result<Embeddings, ModelError> {
        if self.is_down.load(Ordering::Relaxed) {
            return Err(ModelError::new(ModelErrorKind::Transient, "down"));
        }
        let moves = |text: &&str| ["train", "railway", "plane"].iter().any(|word| text.contains(word));
        let vectors = texts.iter().map(|text| if moves(text) { vec![2.0, 0.1] } else { vec![0.0, 3.0] }).collect();
        Ok(Embeddings::new(vectors))
    }
}

#[tokio::test]
async fn the_local_recall_passes_the_contract() {
    recall_contract(&LocalRecall::new()).await;
}

#[tokio::test]
async fn the_sqlite_recall_passes_the_contract() {
    let (recall, _folder) = recall(RecallSettings::default());
    recall_contract(&recall).await;
    recall.database.check().await.unwrap();
}

#[tokio::test]
async fn notes_are_found_by_embedding_and_by_words() {
    let (recall, _folder) = recall(RecallSettings::default());
    let recall = recall.embedder(Arc::new(Transport::default()));
    for text in ["Likes the railway.", "Has two cats.", "Took a train to see cats."] {
        recall.remember(&ada(), note(text), &Run::new()).await.unwrap();
    }
    assert_eq!(found(&recall, "plane").await[..2], ["Took a train to see cats.", "Likes the railway."]);
    assert_eq!(
        found(&recall, "train").await[0],
        "Took a train to see cats.",
        "the words and the embedding both find this note"
    );
}

#[tokio::test]
async fn notes_are_found_by_words_if_the_embedding_model_fails() {
    let (recall, _folder) = recall(RecallSettings::default());
    let embedder = Arc::new(Transport::default());
    let recall = recall.embedder(Arc::clone(&embedder) as Arc<dyn Embedder>);
    embedder.is_down.store(true, Ordering::Relaxed);
    recall.remember(&ada(), note("Likes the railway."), &Run::new()).await.unwrap();
    assert_eq!(found(&recall, "railway").await, ["Likes the railway."]);
    assert!(found(&recall, "train").await.is_empty());
    embedder.is_down.store(false, Ordering::Relaxed);
    assert_eq!(found(&recall, "railway").await, ["Likes the railway."], "a note without a vector is found by words");
}

#[tokio::test]
async fn equal_notes_of_one_source_are_stored_once() {
    let (recall, _folder) = recall(RecallSettings::default());
    let first = note("Prefers   TRAINS.");
    let planted = Note::new("prefers trains.", NoteSource::Tool);
    let last = note("Prefers trains.");
    for note in [&first, &planted, &last] {
        recall.remember(&ada(), note.clone(), &Run::new()).await.unwrap();
    }
    let kept = recall.recall(&ada(), "", 10, &Run::new()).await.unwrap();
    assert_eq!(kept, [last.clone(), planted], "what a tool says does not pass for what the user said");
    assert_eq!(found(&recall, "trains").await.len(), 2);
    assert!(!recall.forget(&ada(), &first.id).await.unwrap());
    assert!(recall.forget(&ada(), &last.id).await.unwrap());
}

#[tokio::test]
async fn a_full_scope_deletes_its_oldest_notes() {
    let (recall, _folder) = recall(RecallSettings { max_notes: 3, ..RecallSettings::default() });
    recall.remember(&Scope::default(), note("of another scope"), &Run::new()).await.unwrap();
    for number in 0..5 {
        recall.remember(&ada(), note(&format!("number {number}")), &Run::new()).await.unwrap();
    }
    assert_eq!(found(&recall, "").await, ["number 4", "number 3", "number 2"]);
    assert_eq!(found(&recall, "number").await.len(), 3);
    assert_eq!(recall.recall(&Scope::default(), "", 9, &Run::new()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn common_words_find_notes_and_do_not_hide_rare_ones() {
    let (recall, _folder) = recall(RecallSettings::default());
    let many = |connection: &rusqlite::Connection| {
        for number in 0..2_500 {
            let stored = StoredNote { note: note(&format!("Ada said {number}")), embedding: None };
            notes::insert(connection, &notes::scope_name(&ada())?, &stored)?;
        }
        Ok(())
    };
    recall.database.write(many).await.unwrap();
    assert_eq!(found(&recall, "ada said").await.len(), 10);
    assert_eq!(found(&recall, "said").await[0], "Ada said 2499", "the newest of equals");
    assert_eq!(found(&recall, "What has Ada said about 7?").await, ["Ada said 7"]);
    assert!(found(&recall, "zeppelin").await.is_empty());
}

#[tokio::test]
async fn a_long_note_is_refused() {
    let (recall, _folder) = recall(RecallSettings::default());
    let error = recall.remember(&ada(), note(&"x".repeat(4_097)), &Run::new()).await.unwrap_err();
    assert_eq!(error.to_string(), "a note may have 4096 bytes, but this one has 4097; shorten it");
    recall.remember(&ada(), note(&"x".repeat(4_096)), &Run::new()).await.unwrap();
}

#[tokio::test]
async fn an_expired_note_is_not_found_and_is_deleted() {
    let day = Duration::from_hours(24);
    let (recall, _folder) = recall(RecallSettings { keep_for: Some(day), ..RecallSettings::default() });
    for text in ["old train", "new train"] {
        recall.remember(&ada(), note(text), &Run::new()).await.unwrap();
    }
    let long_ago = |connection: &rusqlite::Connection| {
        Ok(connection.execute("UPDATE notes SET at_ms = 1000 WHERE text = 'old train'", [])?)
    };
    recall.database.write(long_ago).await.unwrap();
    assert_eq!(found(&recall, "train").await, ["new train"]);
    assert_eq!(found(&recall, "").await, ["new train"]);
    assert_eq!(recall.sweep().await.unwrap(), 1);
    assert_eq!(recall.sweep().await.unwrap(), 0);
    assert_eq!(recall.forget_all(&ada()).await.unwrap(), 1);
}

#[tokio::test]
async fn a_forgotten_note_is_overwritten_in_the_file() {
    let (recall, folder) = recall(RecallSettings::default());
    let holds = |word: &str| {
        let files =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
        files.into_iter().any(|file| file.windows(word.len()).any(|bytes| bytes == word.as_bytes()))
    };
    let secret = note("opensesame");
    recall.remember(&ada(), secret.clone(), &Run::new()).await.unwrap();
    recall.remember(&ada(), note("opening hours"), &Run::new()).await.unwrap();
    assert!(holds("opensesame"), "the search finds existing text");
    assert!(recall.forget(&ada(), &secret.id).await.unwrap());
    assert!(!holds("opensesame"));
    assert!(!holds("sesame"), "the index of words does not hold a part of it either");
    assert_eq!(recall.forget_all(&ada()).await.unwrap(), 1);
    assert!(!holds("ada"), "the name of the empty scope is deleted too");
}
