use super::*;
use crate::NoteSource;

fn ada() -> Scope {
    Scope::default().tenant("acme").user("ada")
}

async fn remembering(texts: &[&str]) -> LocalRecall {
    let recall = LocalRecall::new();
    for text in texts {
        recall.remember(&ada(), Note::new(*text, NoteSource::User), &Run::new()).await.unwrap();
    }
    recall
}

async fn found(recall: &LocalRecall, query: &str) -> Vec<String> {
    let notes = recall.recall(&ada(), query, 10, &Run::new()).await.unwrap();
    notes.into_iter().map(|note| note.text).collect()
}

#[tokio::test]
async fn notes_that_share_more_words_with_the_query_come_first() {
    let recall = remembering(&["The cat likes fish.", "The dog likes the cat."]).await;
    assert_eq!(found(&recall, "FISH, cat?").await, ["The cat likes fish.", "The dog likes the cat."]);
}

#[tokio::test]
async fn one_rare_word_counts_more_than_two_common_ones() {
    let recall = remembering(&["big red apple", "small blue kiwi", "big red pear", "big red plum"]).await;
    assert_eq!(found(&recall, "big red kiwi").await[0], "small blue kiwi");
}

#[tokio::test]
async fn a_short_note_beats_a_long_one_with_the_same_words() {
    let long = "The train to Basel, which is often late and never clean, goes at nine.";
    let recall = remembering(&["Train to Basel: nine.", long]).await;
    assert_eq!(found(&recall, "train Basel").await, ["Train to Basel: nine.", long]);
}

#[tokio::test]
async fn notes_that_share_no_word_with_the_query_are_not_found() {
    let recall = remembering(&["The cat likes fish."]).await;
    assert!(found(&recall, "bicycle").await.is_empty());
}

#[tokio::test]
async fn a_query_without_words_finds_the_newest_notes() {
    let recall = remembering(&["one", "two", "three"]).await;
    assert_eq!(found(&recall, " ?! ").await, ["three", "two", "one"]);
    assert_eq!(recall.recall(&ada(), "", 2, &Run::new()).await.unwrap().len(), 2);
}

#[tokio::test]
async fn newer_notes_come_first_among_equals() {
    let recall = remembering(&["tea in May", "tea in June"]).await;
    assert_eq!(found(&recall, "tea").await, ["tea in June", "tea in May"]);
}

#[tokio::test]
async fn scopes_are_separate() {
    let recall = remembering(&["Ada likes tea."]).await;
    let others = [Scope::default(), Scope::default().tenant("acme"), Scope::default().tenant("other").user("ada")];
    for scope in others.into_iter().chain([ada().agent("desk")]) {
        assert!(recall.recall(&scope, "tea", 10, &Run::new()).await.unwrap().is_empty(), "{scope:?}");
    }
}

#[tokio::test]
async fn a_note_replaces_one_with_the_same_id() {
    let recall = LocalRecall::new();
    let note = Note::new("Lives in Bern.", NoteSource::User);
    recall.remember(&ada(), note.clone(), &Run::new()).await.unwrap();
    recall.remember(&ada(), note.text("Lives in Basel.".into()), &Run::new()).await.unwrap();
    assert_eq!(found(&recall, "lives").await, ["Lives in Basel."]);
}

#[tokio::test]
async fn a_forgotten_note_is_deleted() {
    let recall = remembering(&["secret"]).await;
    let note = recall.recall(&ada(), "secret", 1, &Run::new()).await.unwrap().remove(0);
    assert!(!recall.forget(&ada().agent("desk"), &note.id).await.unwrap());
    assert!(recall.forget(&ada(), &note.id).await.unwrap());
    assert!(!recall.forget(&ada(), &note.id).await.unwrap());
    assert!(found(&recall, "secret").await.is_empty());
}

#[tokio::test]
async fn the_number_of_notes_and_scopes_is_bounded() {
    let recall = LocalRecall::new();
    for number in 0..=LocalRecall::MAX_NOTES {
        recall.remember(&ada(), Note::new(format!("number {number}"), NoteSource::Tool), &Run::new()).await.unwrap();
    }
    let all = recall.recall(&ada(), "", usize::MAX, &Run::new()).await.unwrap();
    assert_eq!(all.len(), LocalRecall::MAX_NOTES);
    assert_eq!(all.last().unwrap().text, "number 1");
    let long = Note::new("x".repeat(LocalRecall::MAX_NOTE_BYTES + 1), NoteSource::Agent);
    let refused = recall.remember(&ada(), long, &Run::new()).await.unwrap_err();
    assert_eq!(refused.to_string(), "a note may have 4096 bytes, this one has 4097; shorten it");
}

#[tokio::test]
async fn a_long_task_is_matched_outside_the_async_task_that_asks() {
    let recall = remembering(&["The cat likes fish.", "The dog likes bones."]).await;
    let words: Vec<_> = (0..9_000).map(|number| format!("word{number}")).collect();
    let task = words.join(" ") + " bones";
    let (scope, run) = (ada(), Run::new());
    let mut matching = recall.recall(&scope, &task, 10, &run);
    assert!(futures::poll!(&mut matching).is_pending());
    assert_eq!(matching.await.unwrap()[0].text, "The dog likes bones.");
}
