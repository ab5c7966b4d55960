//! The contract of [`Recall`].

use brigade_core::{Run, RunId, Scope};
use brigade_notes::{Note, NoteSource, Recall};

use super::ok;

/// Checks that a [`Recall`] keeps its contract. It writes to scopes of the tenant `contract`, which must be new.
///
/// # Panics
///
/// If a rule is broken; the message names the rule.
pub async fn recall_contract(recall: &dyn Recall) {
    let tenant = Scope::default().tenant("contract");
    let ada = tenant.clone().user("ada");
    notes_are_found_by_their_words(recall, &ada).await;
    scopes_are_kept_apart(recall, &tenant).await;
    notes_are_replaced_and_forgotten(recall, &tenant.user("eve")).await;
}

async fn notes_are_found_by_their_words(recall: &dyn Recall, ada: &Scope) {
    let trains = Note::new("Prefers trains to planes.", NoteSource::User).run(Some(RunId::new()));
    let basel = Note::new("Lives in Basel, near the station of the trains to Bern.", NoteSource::Agent);
    let cats = Note::new("Keeps two cats: Miró and Ünal.", NoteSource::Tool);
    for note in [&trains, &basel, &cats] {
        remember(recall, ada, note.clone()).await;
    }
    assert_eq!(texts(&find(recall, ada, "PLANES?", 5).await), [&trains.text], "case does not matter");
    assert_eq!(find(recall, ada, "planes", 5).await, std::slice::from_ref(&trains), "a note is found unchanged");
    assert_eq!(
        find(recall, ada, "ÜNAL", 5).await,
        std::slice::from_ref(&cats),
        "case does not matter in other alphabets"
    );
    assert_eq!(find(recall, ada, "Basel trains", 5).await.first(), Some(&basel), "the best fit comes first");
    assert_eq!(find(recall, ada, "Basel trains", 1).await.len(), 1, "the limit is kept");
    assert!(find(recall, ada, "zeppelin", 5).await.is_empty(), "notes without a common word are not found");
    let newest = find(recall, ada, " ?! ", 2).await;
    assert_eq!(texts(&newest), [&cats.text, &basel.text], "without words, the newest notes are found");
    for hostile in
        ["\"", "trains\" OR \"x", "NEAR(a b)", "text:trains*", "^-+(){}", "s1x", "'; DROP TABLE notes; --", "कि \u{0}"]
    {
        find(recall, ada, hostile, 5).await;
    }
}

async fn scopes_are_kept_apart(recall: &dyn Recall, tenant: &Scope) {
    let scopes = [
        tenant.clone(),
        tenant.clone().user("x"),
        tenant.clone().agent("x"),
        tenant.clone().user("x").agent("x"),
        tenant.clone().user(""),
        Scope::default().tenant("contract\",\"user\":\"x"),
    ];
    for (number, scope) in scopes.iter().enumerate() {
        remember(recall, scope, Note::new(format!("secret कि {number}"), NoteSource::User)).await;
    }
    for (number, scope) in scopes.iter().enumerate() {
        for query in ["secret", "कि", ""] {
            let found = find(recall, scope, query, 10).await;
            assert_eq!(texts(&found), [&format!("secret कि {number}")], "a scope sees its own notes only");
        }
    }
}

async fn notes_are_replaced_and_forgotten(recall: &dyn Recall, eve: &Scope) {
    let coffee = Note::new("Drinks coffee.", NoteSource::User);
    remember(recall, eve, coffee.clone()).await;
    let note = coffee.text("Drinks tea.".to_owned());
    remember(recall, eve, note.clone()).await;
    assert!(find(recall, eve, "coffee", 5).await.is_empty(), "a note with the same id replaces the older one");
    assert_eq!(find(recall, eve, "tea", 5).await, std::slice::from_ref(&note), "the newer note is found");

    let elsewhere = eve.clone().agent("other");
    assert!(!ok(recall.forget(&elsewhere, &note.id).await, "forget"), "notes of another scope are not forgotten");
    assert!(ok(recall.forget(eve, &note.id).await, "forget"), "there was such a note");
    assert!(!ok(recall.forget(eve, &note.id).await, "forget"), "it is forgotten only once");
    assert!(find(recall, eve, "tea", 5).await.is_empty(), "a forgotten note is not found");
    assert!(find(recall, eve, "", 5).await.is_empty(), "a forgotten note is not found without words");
}

async fn remember(recall: &dyn Recall, scope: &Scope, note: Note) {
    ok(recall.remember(scope, note, &Run::new()).await, "a note must be stored");
}

async fn find(recall: &dyn Recall, scope: &Scope, query: &str, limit: usize) -> Vec<Note> {
    ok(recall.recall(scope, query, limit, &Run::new()).await, "notes must be found")
}

fn texts(notes: &[Note]) -> Vec<&String> {
    notes.iter().map(|note| &note.text).collect()
}
