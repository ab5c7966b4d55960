use brigade_core::{
    Agent, LocalMemory, Part, Role, Task,
    testing::{ScriptedModel, Turn},
};

use super::*;
use crate::{DatabaseSettings, testing::memory_contract};

/// A memory in a temporary file, which exists as long as the folder.
fn memory(settings: MemorySettings) -> (SqliteMemory, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path().join("test.db")).unwrap();
    (SqliteMemory::with_settings(database, settings), folder)
}

fn exchange(number: u32) -> [Message; 2] {
    [Message::user(format!("question {number:04}")), Message::assistant(format!("answer {number:06}"))]
}

/// The store's error behind the error of the trait.
fn cause(error: &MemoryError) -> StoreError {
    std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<StoreError>()).unwrap().clone()
}

async fn rows(memory: &SqliteMemory, table: &'static str) -> i64 {
    let count = move |connection: &rusqlite::Connection| {
        Ok(connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?)
    };
    memory.database.read(count).await.unwrap()
}

#[tokio::test]
async fn the_local_memory_passes_the_contract() {
    memory_contract(Arc::new(LocalMemory::new())).await;
}

#[tokio::test]
async fn the_sqlite_memory_passes_the_contract() {
    let (memory, _folder) = memory(MemorySettings::default());
    memory_contract(Arc::new(memory.clone())).await;
    memory.database.check().await.unwrap();
}

#[tokio::test]
async fn a_session_continues_after_a_restart() {
    let (memory, folder) = memory(MemorySettings::default());
    memory.append("s", &exchange(1)).await.unwrap();
    drop(memory);
    let memory = SqliteMemory::new(Database::open(folder.path().join("test.db")).unwrap());
    memory.append("s", &exchange(2)).await.unwrap();
    assert_eq!(memory.load("s").await.unwrap(), [exchange(1), exchange(2)].concat());
}

#[tokio::test]
async fn the_window_has_the_newest_complete_exchanges() {
    // Each exchange has 26 bytes; 20 tokens are 80.
    let (memory, _folder) = memory(MemorySettings { window_tokens: 20, ..MemorySettings::default() });
    for number in 0..10 {
        memory.append("s", &exchange(number)).await.unwrap();
    }
    assert_eq!(memory.load("s").await.unwrap(), [exchange(7), exchange(8), exchange(9)].concat());
    assert_eq!(memory.read("s", 0, 3).await.unwrap()[2], exchange(1)[0], "the rest is still there");
}

#[tokio::test]
async fn the_window_never_splits_an_exchange_and_starts_with_the_user() {
    let (memory, _folder) = memory(MemorySettings { window_tokens: 1, ..MemorySettings::default() });
    memory.append("s", &exchange(1)).await.unwrap();
    let long: Vec<_> = (0..50).flat_map(exchange).collect();
    memory.append("s", &long).await.unwrap();
    assert_eq!(memory.load("s").await.unwrap(), long, "the last exchange is loaded whatever its size");
    let rest = [Message::assistant("And another thing.")];
    memory.append("s", &rest).await.unwrap();
    assert_eq!(
        memory.load("s").await.unwrap().len(),
        101,
        "an exchange that does not start with the user belongs to the one before"
    );
}

#[tokio::test]
async fn an_exchange_with_a_known_key_is_stored_once() {
    let (memory, _folder) = memory(MemorySettings::default());
    let messages = exchange(1);
    let request = Exchange::new(&messages).key("request-1");
    for _ in 0..3 {
        assert_eq!(memory.append_exchange("s", request).await.unwrap(), 1);
    }
    memory.append_exchange("other", request).await.unwrap();
    assert_eq!(memory.load("s").await.unwrap(), exchange(1));
    assert_eq!(memory.load("other").await.unwrap(), exchange(1), "keys belong to a session");
}

#[tokio::test]
async fn an_exchange_after_an_old_version_is_a_conflict() {
    let (memory, _folder) = memory(MemorySettings::default());
    memory.append("s", &exchange(1)).await.unwrap();
    let seen = memory.conversation("s").await.unwrap().version;
    memory.append("s", &exchange(2)).await.unwrap();
    let late = exchange(3);
    let error = memory.append_exchange("s", Exchange::new(&late).after(seen)).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { seen: 1, found: 2, .. }), "{error}");
    assert_eq!(memory.load("s").await.unwrap().len(), 4);
}

#[tokio::test]
async fn requests_of_one_session_wait_for_each_other() {
    let (memory, _folder) = memory(MemorySettings::default());
    let (first, second) = (memory.for_request(Some("1")), memory.for_request(Some("2")));
    first.load("s").await.unwrap();
    let goes_first = async {
        // The other request waits for the session meanwhile.
        tokio::task::yield_now().await;
        first.append("s", &exchange(1)).await.unwrap();
        drop(first);
    };
    let (seen, ()) = tokio::join!(second.load("s"), goes_first);
    assert_eq!(seen.unwrap(), exchange(1), "it sees what the first one added");
}

#[tokio::test]
async fn waiting_too_long_for_a_session_is_an_error() {
    let (memory, _folder) = memory(MemorySettings { wait: Duration::ZERO, ..MemorySettings::default() });
    let first = memory.for_request(None);
    first.load("s").await.unwrap();
    let error = memory.for_request(None).load("s").await.unwrap_err();
    assert_eq!(cause(&error).to_string(), "session s is in use by another request; wait for its answer and try again");
    memory.for_request(None).load("other").await.unwrap();
    drop(first);
    memory.for_request(None).load("s").await.unwrap();
    assert_eq!(memory.locks.len(), 1, "unused locks are removed");
}

#[tokio::test]
async fn a_session_that_was_continued_without_the_lock_is_a_conflict() {
    let (memory, _folder) = memory(MemorySettings::default());
    let request = memory.for_request(None);
    request.load("s").await.unwrap();
    memory.append("s", &exchange(1)).await.unwrap();
    let error = request.append("s", &exchange(2)).await.unwrap_err();
    let error = cause(&error);
    assert!(matches!(error, StoreError::Conflict { seen: 0, found: 1, .. }), "{error}");
}

#[tokio::test]
async fn a_large_part_is_stored_once_and_deleted_with_its_last_session() {
    let (memory, _folder) = memory(MemorySettings::default());
    let picture = || Message::new(Role::User, vec![Part::text("See:"), Part::text("p".repeat(50_000))]);
    for session in ["a", "a", "b"] {
        memory.append(session, &[picture(), Message::assistant("Nice.")]).await.unwrap();
    }
    assert_eq!(rows(&memory, "blobs").await, 1);
    assert_eq!(memory.delete("a").await.unwrap(), Erasure::Complete);
    assert_eq!(memory.load("b").await.unwrap()[0], picture());
    assert_eq!(memory.delete("b").await.unwrap(), Erasure::Complete);
    assert_eq!(rows(&memory, "blobs").await, 0);
}

#[tokio::test]
async fn a_deleted_session_is_overwritten_in_the_file() {
    let (memory, folder) = memory(MemorySettings::default());
    let secret = "sesame-".repeat(4);
    let messages = [Message::user(secret.clone()), Message::assistant(secret.repeat(1_000))];
    let exchange = Exchange::new(&messages).key(&secret);
    memory.append_exchange(&format!("session {secret}"), exchange).await.unwrap();
    memory.append("other", &[Message::user("stay")]).await.unwrap();
    assert_eq!(memory.delete(&format!("session {secret}")).await.unwrap(), Erasure::Complete);
    assert_eq!(memory.delete(&format!("session {secret}")).await.unwrap(), Erasure::Nothing);

    let holds_secret = || {
        let files =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
        files.into_iter().any(|file| file.windows(secret.len()).any(|bytes| bytes == secret.as_bytes()))
    };
    assert!(!holds_secret());
    memory.append("other", &[Message::assistant(secret.clone())]).await.unwrap();
    assert!(holds_secret(), "the search finds existing text");
}

#[tokio::test]
async fn sessions_are_listed_by_last_use_in_pages() {
    let (memory, _folder) = memory(MemorySettings::default());
    for session in ["acme/1", "acme/2", "other/1", "acme/3", "acme%"] {
        memory.append(session, &exchange(1)).await.unwrap();
    }
    let mut filter = SessionFilter { prefix: "acme/".to_owned(), limit: 2, ..SessionFilter::default() };
    let mut names = Vec::new();
    loop {
        let page = memory.list(filter.clone()).await.unwrap();
        names.extend(page.iter().map(|session| session.name.clone()));
        filter.after = page.last().cloned();
        if filter.after.is_none() {
            break;
        }
    }
    names.sort();
    assert_eq!(names, ["acme/1", "acme/2", "acme/3"]);
    let all = memory.list(SessionFilter::default()).await.unwrap();
    assert_eq!(all.len(), 5);
    assert_eq!((all[0].messages, all[0].size_bytes), (2, 26));
    assert!(all.is_sorted_by(|one, next| one.updated_ms >= next.updated_ms));
}

#[tokio::test]
async fn an_expired_session_starts_empty_and_is_deleted() {
    let (memory, folder) = memory(MemorySettings::default());
    for session in ["a", "b", "c"] {
        memory.append(session, &exchange(1)).await.unwrap();
    }
    let long_ago = |connection: &rusqlite::Connection| {
        Ok(connection.execute("UPDATE sessions SET updated_ms = 1000 WHERE name <> 'c'", [])?)
    };
    memory.database.write(long_ago).await.unwrap();
    drop(memory);
    let database = Database::open_with(folder.path().join("test.db"), &DatabaseSettings::default()).unwrap();
    let day = Duration::from_hours(24);
    let memory =
        SqliteMemory::with_settings(database, MemorySettings { keep_for: Some(day), ..MemorySettings::default() });
    assert!(memory.load("a").await.unwrap().is_empty());
    memory.append("a", &exchange(2)).await.unwrap();
    assert_eq!(memory.load("a").await.unwrap(), exchange(2));
    assert_eq!(memory.sweep().await.unwrap(), 1);
    assert_eq!(rows(&memory, "sessions").await, 2);
    assert_eq!(rows(&memory, "messages").await, 4);
}

#[tokio::test]
async fn an_agent_continues_its_conversation() {
    let (memory, _folder) = memory(MemorySettings::default());
    for (number, said) in [(1, "Hello, Ada."), (2, "You are Ada.")] {
        let request = memory.for_request(Some(&number.to_string()));
        let agent = Agent::new("clerk", ScriptedModel::new([Turn::text(said)])).memory(request);
        agent.run(Task::from("Who am I?").session("s")).await.unwrap();
    }
    assert_eq!(memory.load("s").await.unwrap().len(), 4);
}
