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
    assert_eq!(memory.delete("s").await.unwrap(), Erasure::Complete, "sessions can still be deleted");
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

/// A connection of another program that reads, and so keeps the log from being truncated.
fn reader(path: &Path) -> Connection {
    let reader = Connection::open(path).unwrap();
    reader.execute_batch("BEGIN; SELECT * FROM sessions").unwrap();
    reader
}

/// True if a file of the database has this text.
fn is_on_disk(path: &Path, text: &str) -> bool {
    ["", "-wal"].into_iter().any(|suffix| {
        let bytes = std::fs::read(format!("{}{suffix}", path.display())).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

#[tokio::test]
async fn a_delete_says_whether_the_data_is_gone_from_the_log() {
    let (_folder, path) = folder();
    let settings = DatabaseSettings::default().busy_timeout(Duration::from_millis(200));
    let database = Database::open_with(&path, &settings).unwrap();
    let memory = SqliteMemory::new(database.clone());
    memory.append("s", &[Message::user("a very secret word")]).await.unwrap();
    let reader = reader(&path);
    assert_eq!(memory.delete("s").await.unwrap(), Erasure::Pending);
    assert!(is_on_disk(&path, "a very secret word"));
    assert_eq!(memory.delete("s").await.unwrap(), Erasure::Pending, "it is asked for again");
    drop(reader);
    assert_eq!(database.erase().await.unwrap(), Erasure::Complete);
    assert!(!is_on_disk(&path, "a very secret word"));
    assert_eq!(memory.delete("s").await.unwrap(), Erasure::Nothing);
}

#[tokio::test]
async fn a_delete_that_waits_for_a_reader_holds_no_other_writer() {
    let (_folder, path) = folder();
    let database = Database::open(&path).unwrap();
    let memory = SqliteMemory::new(database.clone());
    memory.append("s", &[Message::user("a very secret word")]).await.unwrap();
    let _reader = reader(&path);
    let others = async {
        for number in 0..20 {
            memory.append(&format!("other {number}"), &[Message::user("hello")]).await.unwrap();
        }
    };
    tokio::select! {
        biased;
        erasure = memory.delete("s") => panic!("it did not wait for the reader: {erasure:?}"),
        () = others => {}
    }
}

#[tokio::test]
async fn an_operation_that_panics_is_reported_and_the_database_stays_open() {
    let (_folder, path) = folder();
    let database = Database::open(&path).unwrap();
    let read = database.read(|_| -> Result<(), StoreError> { panic!("a bug") }).await;
    assert!(matches!(read, Err(StoreError::Panicked)), "{read:?}");
    let write = database.write(|connection| -> Result<(), StoreError> {
        connection.execute("INSERT INTO epochs (started_us) VALUES (1)", [])?;
        panic!("a bug")
    });
    assert!(matches!(write.await, Err(StoreError::Panicked)));
    let epochs = |connection: &Connection| {
        Ok(connection.query_row("SELECT count(*) FROM epochs", [], |row| row.get::<_, i64>(0))?)
    };
    assert_eq!(database.write(epochs).await.unwrap(), 0, "its changes are rolled back");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_second_writer_is_refused_even_if_the_lock_file_was_removed() {
    let (folder, path) = folder();
    let first = Database::open(&path).unwrap();
    for _ in 0..2 {
        std::fs::remove_file(folder.path().join("test.db.lock")).unwrap();
        let error = Database::open(&path).unwrap_err();
        assert!(matches!(error, StoreError::InUse(_)), "{error:?}");
        first.check_writable().await.unwrap();
        assert!(folder.path().join("test.db.lock").exists());
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_writer_that_lost_its_lock_file_to_another_process_stops_writing() {
    let (folder, path) = folder();
    let database = Database::open(&path).unwrap();
    std::fs::remove_file(folder.path().join("test.db.lock")).unwrap();
    let other = std::fs::File::create(folder.path().join("test.db.lock")).unwrap();
    other.lock().unwrap();
    let error = database.check_writable().await.unwrap_err();
    assert!(matches!(error, StoreError::InUse(_)), "{error:?}");
    other.unlock().unwrap();
    database.check_writable().await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_was_removed_is_noticed_and_one_at_its_place_is_used() {
    let (folder, path) = folder();
    let memory = SqliteMemory::new(Database::open(&path).unwrap());
    let hello = [Message::user("hello")];
    memory.append("before", &hello).await.unwrap();
    let away = folder.path().join("away");
    for suffix in ["", "-wal", "-shm"] {
        std::fs::rename(format!("{}{suffix}", path.display()), format!("{}{suffix}", away.display())).unwrap();
    }
    let error = memory.append_exchange("lost", Exchange::new(&hello)).await.unwrap_err();
    assert!(matches!(error, StoreError::Missing(_)), "{error:?}");
    assert!(!path.exists(), "no file is created behind the operator's back");

    // The same file is put back.
    for suffix in ["", "-wal", "-shm"] {
        std::fs::rename(format!("{}{suffix}", away.display()), format!("{}{suffix}", path.display())).unwrap();
    }
    memory.append("back", &hello).await.unwrap();

    // Another file takes its place, beside the log of the first one.
    drop(Database::open(&away).unwrap());
    std::fs::rename(&away, &path).unwrap();
    memory.append("new", &hello).await.unwrap();
    assert_eq!(memory.load("back").await.unwrap(), [], "reads use the new file too");
    let error = Database::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::InUse(_)), "{error:?}");
    drop(memory);
    let database = Database::open(&path).unwrap();
    database.check().await.unwrap();
    assert_eq!(SqliteMemory::new(database).load("new").await.unwrap(), hello);
}

#[cfg(unix)]
#[tokio::test]
async fn a_log_that_was_removed_loses_nothing() {
    let (folder, path) = folder();
    let memory = SqliteMemory::new(Database::open(&path).unwrap());
    let hello = [Message::user("hello")];
    memory.append("before", &hello).await.unwrap();
    std::fs::remove_file(folder.path().join("test.db-wal")).unwrap();
    memory.append("after", &hello).await.unwrap();
    let other = Connection::open(&path).unwrap();
    let stored = other.query_row("SELECT count(*) FROM sessions", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(stored, 2, "another process sees them");
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_of_another_program_at_the_place_of_the_database_is_not_changed() {
    let (_folder, path) = folder();
    let database = Database::open(&path).unwrap();
    database.check_writable().await.unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "my diary, not a database").unwrap();
    for _ in 0..2 {
        let error = database.check_writable().await.unwrap_err();
        assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "my diary, not a database");
    std::fs::remove_file(&path).unwrap();
    std::fs::File::create(&path).unwrap();
    database.check_writable().await.unwrap();
}

#[tokio::test]
async fn a_database_that_is_closed_leaves_no_log_behind() {
    let (folder, path) = folder();
    let memory = SqliteMemory::new(Database::open(&path).unwrap());
    memory.append("s", &[Message::user("hello")]).await.unwrap();
    memory.load("s").await.unwrap();
    drop(memory);
    assert!(!folder.path().join("test.db-wal").exists());
}
