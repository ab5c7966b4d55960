use brigade_core::{Memory, Message};

use super::*;
use crate::{Exchange, SqliteMemory};

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    (folder, path)
}

async fn filled(path: &Path) {
    let memory = SqliteMemory::new(Database::open(path).unwrap());
    for number in 0..200 {
        let session = format!("session {}", number % 20);
        memory.append(&session, &[Message::user("x".repeat(500)), Message::assistant("y")]).await.unwrap();
    }
}

/// Opening fails in this way, twice, and leaves the file as it is.
fn is_refused(path: &Path, is_expected: impl Fn(&StoreError) -> bool) -> String {
    let before = std::fs::read(path).unwrap();
    let messages = [(); 2].map(|()| {
        let error = Database::open(path).unwrap_err();
        assert!(is_expected(&error), "{error:?}");
        error.to_string()
    });
    assert!(std::fs::read(path).unwrap() == before, "the file was changed");
    messages[0].clone()
}

#[test]
fn a_file_that_is_no_data_base_is_refused_and_left_alone() {
    let (_folder, path) = folder();
    std::fs::write(&path, "Dear diary, ".repeat(1_000)).unwrap();
    let message = is_refused(&path, |error| matches!(error, StoreError::Corrupt(_)));
    assert!(message.contains("it was left as it is, restore it from a copy"), "{message}");
}

#[tokio::test]
async fn a_file_whose_schema_is_damaged_is_refused_and_left_alone() {
    let (_folder, path) = folder();
    filled(&path).await;
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100..4_096].fill(0xAA);
    std::fs::write(&path, bytes).unwrap();
    is_refused(&path, |error| matches!(error, StoreError::Corrupt(_)));
}

#[tokio::test]
async fn damage_further_down_is_told_by_who_meets_it_and_by_a_check() {
    let (_folder, path) = folder();
    filled(&path).await;
    let mut bytes = std::fs::read(&path).unwrap();
    let length = bytes.len();
    // The head of the first page that holds messages.
    let page = bytes.chunks(4_096).position(|page| page.windows(400).any(|bytes| bytes == [b'x'; 400])).unwrap();
    bytes[page * 4_096..][..8].fill(0xAA);
    std::fs::write(&path, &bytes).unwrap();
    let database = Database::open(&path).unwrap();
    let error = database.check().await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
    let memory = SqliteMemory::new(database);
    let mut damaged = 0;
    for number in 0..20 {
        if let Err(error) = memory.conversation(&format!("session {number}")).await {
            assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
            damaged += 1;
        }
    }
    assert!(damaged > 0);
    drop(memory);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), length as u64);
}

#[test]
fn another_programs_data_base_is_refused_and_left_alone() {
    let (_folder, path) = folder();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE recipes (name TEXT)").unwrap();
    let message = is_refused(&path, |error| matches!(error, StoreError::Foreign(_)));
    assert!(message.ends_with("holds the data of another program; name another file"), "{message}");
}

#[test]
fn a_file_from_a_newer_version_is_refused_and_left_alone() {
    let (_folder, path) = folder();
    drop(Database::open(&path).unwrap());
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let message = is_refused(&path, |error| matches!(error, StoreError::Newer { found: 99, .. }));
    assert!(message.contains("has schema 99, this program knows"), "{message}");
}

#[test]
fn a_second_owner_is_refused_until_the_first_is_gone() {
    let (_folder, path) = folder();
    let first = Database::open(&path).unwrap();
    let error = Database::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::InUse(_)), "{error:?}");
    drop(first);
    Database::open(&path).unwrap();
}

#[test]
fn a_folder_that_is_missing_is_named() {
    let (folder, _) = folder();
    let error = Database::open(folder.path().join("missing/test.db")).unwrap_err();
    assert!(
        error.to_string().ends_with("test.db cannot be opened; check that the folder exists and may be written to")
    );
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, path) = folder();
    let memory = SqliteMemory::new(Database::open(&path).unwrap());
    memory.append("s", &[Message::user("psst")]).await.unwrap();
    for name in ["test.db", "test.db-wal"] {
        let mode = std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name}");
    }
}

#[tokio::test]
async fn a_full_data_base_keeps_what_it_has_and_says_that_it_is_full() {
    let (_folder, path) = folder();
    let settings = DatabaseSettings { max_bytes: Some(400 * 1_024), ..DatabaseSettings::default() };
    let memory = SqliteMemory::new(Database::open_with(&path, &settings).unwrap());
    let exchange = [Message::user("x".repeat(5_000)), Message::assistant("y".repeat(5_000))];
    let mut kept = 0;
    let error = loop {
        match memory.append_exchange("s", Exchange::of(&exchange)).await {
            Ok(_) => kept += 2,
            Err(error) => break error,
        }
    };
    let message = "the disk or the database's size cap is full and nothing of this was kept; make room and try again";
    assert_eq!(error.to_string(), message);
    assert!(kept > 0);
    assert_eq!(memory.load("s").await.unwrap().len(), kept);
    assert!(memory.delete("s").await.unwrap(), "there is a way out");
    memory.append("s", &exchange).await.unwrap();
}

#[tokio::test]
async fn readiness_is_a_write() {
    let (_folder, path) = folder();
    let database = Database::open(&path).unwrap();
    database.check_writable().await.unwrap();
    database.check().await.unwrap();
    assert_eq!(database.path(), path);
}
