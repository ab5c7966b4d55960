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

/// Checks that the file cannot be opened, twice, and is not changed. Returns the error message.
fn assert_refused(path: &Path, is_expected: impl Fn(&StoreError) -> bool) -> String {
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
fn a_file_that_is_not_a_database_is_refused_and_not_changed() {
    let (_folder, path) = folder();
    std::fs::write(&path, "Dear diary, ".repeat(1_000)).unwrap();
    let message = assert_refused(&path, |error| matches!(error, StoreError::Corrupt(_)));
    assert!(message.contains("it was not changed, restore it from a backup"), "{message}");
}

#[tokio::test]
async fn a_file_with_a_damaged_schema_is_refused_and_not_changed() {
    let (_folder, path) = folder();
    filled(&path).await;
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100..4_096].fill(0xAA);
    std::fs::write(&path, bytes).unwrap();
    assert_refused(&path, |error| matches!(error, StoreError::Corrupt(_)));
}

#[tokio::test]
async fn damaged_data_is_reported_by_reads_and_by_a_check() {
    let (_folder, path) = folder();
    filled(&path).await;
    let mut bytes = std::fs::read(&path).unwrap();
    let length = bytes.len();
    // The header of the first page with messages.
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
fn a_database_of_another_program_is_refused_and_not_changed() {
    let (_folder, path) = folder();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE recipes (name TEXT)").unwrap();
    let message = assert_refused(&path, |error| matches!(error, StoreError::Foreign(_)));
    assert!(message.ends_with("holds the data of another program; choose another file"), "{message}");
}

#[test]
fn a_file_of_a_newer_version_is_refused_and_not_changed() {
    let (_folder, path) = folder();
    drop(Database::open(&path).unwrap());
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let message = assert_refused(&path, |error| matches!(error, StoreError::Newer { found: 99, .. }));
    assert!(message.contains("has schema 99, this program supports"), "{message}");
}

#[test]
fn a_second_writer_is_refused_until_the_first_is_dropped() {
    let (_folder, path) = folder();
    let first = Database::open(&path).unwrap();
    let error = Database::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::InUse(_)), "{error:?}");
    drop(first);
    Database::open(&path).unwrap();
}

#[test]
fn a_missing_folder_is_named_in_the_error() {
    let (folder, _) = folder();
    let error = Database::open(folder.path().join("missing/test.db")).unwrap_err();
    assert!(error.to_string().ends_with("test.db cannot be opened; check that the folder exists and is writable"));
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_may_read_the_file() {
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
async fn a_full_database_keeps_its_data_and_reports_that_it_is_full() {
    let (_folder, path) = folder();
    let settings = DatabaseSettings { max_bytes: Some(400 * 1_024), ..DatabaseSettings::default() };
    let memory = SqliteMemory::new(Database::open_with(&path, &settings).unwrap());
    let exchange = [Message::user("x".repeat(5_000)), Message::assistant("y".repeat(5_000))];
    let mut stored = 0;
    let error = loop {
        match memory.append_exchange("s", Exchange::new(&exchange)).await {
            Ok(_) => stored += 2,
            Err(error) => break error,
        }
    };
    let message =
        "the disk is full or the size limit of the database is reached; nothing was stored, make room and try again";
    assert_eq!(error.to_string(), message);
    assert!(stored > 0);
    assert_eq!(memory.load("s").await.unwrap().len(), stored);
    assert!(memory.delete("s").await.unwrap(), "sessions can still be deleted");
    memory.append("s", &exchange).await.unwrap();
}

#[tokio::test]
async fn the_readiness_check_writes() {
    let (_folder, path) = folder();
    let database = Database::open(&path).unwrap();
    database.check_writable().await.unwrap();
    database.check().await.unwrap();
    assert_eq!(database.path(), path);
}
