use brigade_core::{Memory, Message};

use super::*;
use crate::{Exchange, SqliteMemory};

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    (folder, path)
}

async fn fill(path: &Path) {
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
    fill(&path).await;
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100..4_096].fill(0xAA);
    std::fs::write(&path, bytes).unwrap();
    assert_refused(&path, |error| matches!(error, StoreError::Corrupt(_)));
}

#[tokio::test]
async fn damaged_data_is_reported_by_reads_and_by_a_check() {
    let (_folder, path) = folder();
    fill(&path).await;
    let mut bytes = std::fs::read(&path).unwrap();
    let length = bytes.len();
    // Damages the header of the first page with messages.
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
    assert_eq!(memory.delete("s").await.unwrap(), Erasure::Pending, "the log still has the data");
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

#[tokio::test]
async fn a_database_that_is_closed_while_it_is_read_leaves_no_log_behind() {
    for round in 0..50 {
        let (folder, path) = folder();
        let memory = SqliteMemory::new(Database::open(&path).unwrap());
        memory.append("s", &[Message::user("hello")]).await.unwrap();
        let read = |_| {
            let memory = memory.clone();
            async move { memory.load("s").await }
        };
        let reading: tokio::task::JoinSet<_> = (0..8).map(read).collect();
        for _ in 0..round % 4 {
            tokio::task::yield_now().await;
        }
        // Some reads continue on their threads after their callers were dropped.
        drop(reading);
        memory.database().close().await.unwrap();
        assert_eq!(files(folder.path()), ["test.db", "test.db.lock"], "round {round}");
        let error = memory.conversation("s").await.unwrap_err();
        assert!(matches!(error, StoreError::Closed), "{error:?}");
        assert!(matches!(memory.database().check_writable().await, Err(StoreError::Closed)));
        memory.database().close().await.unwrap();
    }
}

fn files(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// Copies the files of a database, as a crash would leave them.
fn copy_to(folder: &Path, path: &Path) -> PathBuf {
    let copy = folder.join("test.db");
    for suffix in ["", "-wal", ".lock"] {
        let _ = std::fs::copy(format!("{}{suffix}", path.display()), format!("{}{suffix}", copy.display()));
    }
    copy
}

fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    std::fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, offset).unwrap();
}

fn truncate(path: &Path, size: u64) {
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(size).unwrap();
}

/// Damages the database at the first path without replacing the file. The second path is a folder for other files.
type Damage = fn(&Path, &Path);

const DAMAGES: [(&str, Damage); 7] = [
    ("truncated to nothing", |path, _| truncate(path, 0)),
    ("truncated to one page", |path, _| truncate(path, 4_096)),
    ("truncated by one byte", |path, _| truncate(path, std::fs::metadata(path).unwrap().len() - 1)),
    ("overwritten by another database", |path, folder| {
        let other = folder.join("other.db");
        drop(Database::open(&other).unwrap());
        std::fs::copy(other, path).map(drop).unwrap();
    }),
    ("overwritten by text", |path, _| std::fs::write(path, "Dear diary, ".repeat(50_000)).unwrap()),
    ("a damaged header", |path, _| overwrite(path, 0, &[0xAA; 100])),
    ("a damaged page", |path, _| {
        let bytes = std::fs::read(path).unwrap();
        let has_text = |page: &[u8]| page.windows(400).any(|bytes| bytes == [b'x'; 400]);
        let page = bytes.chunks(4_096).position(has_text).unwrap() as u64;
        overwrite(path, page * 4_096, &[0xAA; 4_096]);
    }),
];

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_is_damaged_while_it_is_open_is_not_used_before_it_is_replaced() {
    for (damage, apply) in DAMAGES {
        let (folder, path) = folder();
        fill(&path).await;
        let backup = folder.path().join("backup.db");
        std::fs::copy(&path, &backup).unwrap();
        let memory = SqliteMemory::new(Database::open(&path).unwrap());
        let hello = [Message::user("hello")];
        memory.append("new", &hello).await.unwrap();
        apply(&path, folder.path());
        let damaged = std::fs::read(&path).unwrap();
        let is_damaged = |error: &StoreError| matches!(error, StoreError::Damaged { .. });
        for _ in 0..2 {
            let error = memory.database().check_writable().await.unwrap_err();
            assert!(is_damaged(&error), "{damage}: {error:?}");
        }
        let error = memory.append_exchange("new", Exchange::new(&hello)).await.unwrap_err();
        assert!(is_damaged(&error), "{damage}: {error:?}");
        let error = memory.conversation("new").await.unwrap_err();
        assert!(is_damaged(&error), "{damage}: reads are refused, too: {error:?}");

        let after_kill = tempfile::tempdir().unwrap();
        let copy = copy_to(after_kill.path(), &path);
        for _ in 0..2 {
            let error = Database::open(&copy).unwrap_err();
            assert!(is_damaged(&error), "{damage}, after a kill: {error:?}");
        }

        std::fs::rename(&backup, &path).unwrap();
        memory.database().check_writable().await.unwrap();
        assert_eq!(memory.load("session 1").await.unwrap().len(), 20, "{damage}: the backup is used");
        drop(memory);
        Database::open(&path).unwrap().check().await.unwrap();
        assert!(std::fs::read(&copy).unwrap() == damaged, "{damage}: nothing is written to a damaged file");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_damaged_file_is_left_with_its_log_as_it_is_when_it_is_closed() {
    let (folder, path) = folder();
    fill(&path).await;
    let memory = SqliteMemory::new(Database::open(&path).unwrap());
    memory.append("new", &[Message::user("hello")]).await.unwrap();
    let log = std::fs::read(folder.path().join("test.db-wal")).unwrap();
    truncate(&path, 8_192);
    let damaged = std::fs::read(&path).unwrap();
    memory.database().close().await.unwrap();
    assert!(std::fs::read(&path).unwrap() == damaged);
    assert!(std::fs::read(folder.path().join("test.db-wal")).unwrap() == log);
    let error = Database::open(&path).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("was damaged while it was in use") && message.contains("put a backup there"), "{message}");
    for suffix in ["-wal", ".lock"] {
        std::fs::remove_file(folder.path().join(format!("test.db{suffix}"))).unwrap();
    }
    assert!(matches!(Database::open(&path), Err(StoreError::Corrupt(_))));
}

#[cfg(unix)]
#[tokio::test]
async fn a_log_that_is_truncated_while_it_is_open_is_noticed() {
    let (folder, path) = folder();
    let memory = SqliteMemory::new(Database::open(&path).unwrap());
    memory.append("s", &[Message::user("hello")]).await.unwrap();
    truncate(&folder.path().join("test.db-wal"), 0);
    let error = memory.append_exchange("s", Exchange::new(&[Message::user("hello")])).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_does_not_fit_its_log_is_refused_and_not_changed() {
    let (_folder, path) = folder();
    fill(&path).await;
    let memory = SqliteMemory::new(Database::open(&path).unwrap());
    memory.append("new", &[Message::user("hello")]).await.unwrap();
    for (case, pages) in [("missing", None), ("empty", Some(0)), ("short", Some(20))] {
        let after_kill = tempfile::tempdir().unwrap();
        let copy = copy_to(after_kill.path(), &path);
        match pages {
            Some(pages) => truncate(&copy, pages * 4_096),
            None => std::fs::remove_file(&copy).unwrap(),
        }
        let before = ["", "-wal"].map(|suffix| std::fs::read(format!("{}{suffix}", copy.display())).ok());
        for _ in 0..2 {
            match Database::open(&copy).unwrap_err() {
                StoreError::LogWithoutData(_) => assert_ne!(case, "short"),
                StoreError::Corrupt(_) => assert_eq!(case, "short"),
                error => panic!("{case}: {error:?}"),
            }
        }
        let after = ["", "-wal"].map(|suffix| std::fs::read(format!("{}{suffix}", copy.display())).ok());
        assert!(before == after, "{case}: the files were changed");
    }
}

#[tokio::test]
async fn changes_of_another_program_through_sqlite_are_not_damage() {
    let (_folder, path) = folder();
    let memory = SqliteMemory::new(Database::open(&path).unwrap());
    let other = Connection::open(&path).unwrap();
    for statement in [
        "PRAGMA wal_checkpoint(PASSIVE)",
        "PRAGMA wal_checkpoint(RESTART)",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "CREATE TABLE notes_of_an_operator (x); PRAGMA wal_checkpoint(TRUNCATE)",
        "DELETE FROM sessions; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)",
        "PRAGMA user_version",
    ] {
        for number in 0..20 {
            memory.append(&format!("session {number}"), &[Message::user("x".repeat(9_000))]).await.unwrap();
        }
        other.execute_batch(statement).unwrap();
        memory.database().check_writable().await.unwrap();
        memory.append("after", &[Message::user("hello")]).await.unwrap();
        assert!(!memory.load("after").await.unwrap().is_empty(), "{statement}");
    }
}

#[tokio::test]
async fn the_log_is_copied_into_the_file_while_the_database_is_open() {
    let (folder, path) = folder();
    let memory = SqliteMemory::new(Database::open(&path).unwrap());
    for number in 0..60 {
        let text = format!("{number} ").repeat(70_000);
        memory.append("s", &[Message::user(text)]).await.unwrap();
        let log = std::fs::metadata(folder.path().join("test.db-wal")).unwrap().len();
        assert!(log < 6 << 20, "{log} after session {number}");
    }
    assert!(std::fs::metadata(&path).unwrap().len() > 6 << 20);
}

/// A connection of another program that locks the database for writing.
fn locker(path: &Path) -> Connection {
    let locker = Connection::open(path).unwrap();
    locker.execute_batch("BEGIN IMMEDIATE").unwrap();
    locker
}

#[tokio::test]
async fn a_lock_of_another_program_holds_no_read_and_each_write_only_for_the_busy_timeout() {
    let (_folder, path) = folder();
    let settings = DatabaseSettings::default().busy_timeout(Duration::from_secs(1));
    let database = Database::open_with(&path, &settings).unwrap();
    let memory = SqliteMemory::new(database.clone());
    let hello = [Message::user("hello")];
    memory.append("s", &hello).await.unwrap();
    let locker = locker(&path);
    let began = Instant::now();
    let (first, read, second) = tokio::join!(
        memory.append_exchange("one", Exchange::new(&hello)),
        async {
            assert_eq!(memory.load("s").await.unwrap().len(), 1);
            began.elapsed()
        },
        memory.append_exchange("two", Exchange::new(&hello)),
    );
    assert!(read < Duration::from_millis(800), "a read took {read:?}");
    assert!(began.elapsed() < Duration::from_secs(4), "a write took {:?}", began.elapsed());
    for write in [first, second] {
        assert!(matches!(write, Err(StoreError::Locked { is_queued: true })), "{write:?}");
    }
    assert!(database.is_locked());
    let began = Instant::now();
    for _ in 0..1_000 {
        let checked = database.check_writable().await;
        assert!(matches!(checked, Err(StoreError::Locked { .. })), "{checked:?}");
    }
    let writes = (0..500).map(|number| {
        let (memory, hello) = (memory.clone(), hello.clone());
        async move { memory.append_exchange(&format!("queued {number}"), Exchange::new(&hello)).await }
    });
    let (mut stored, mut dropped) = (0, 0);
    for write in writes {
        match write.await {
            Err(StoreError::Locked { is_queued: true }) => stored += 1,
            Err(StoreError::Locked { is_queued: false }) => dropped += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(began.elapsed() < Duration::from_secs(3), "later writes do not wait: {:?}", began.elapsed());
    assert!(stored > 100 && dropped > 0 && database.dropped_writes() == dropped, "{stored} {dropped}");

    drop(locker);
    while let Err(StoreError::Locked { .. }) = database.flush().await {
        tokio::task::yield_now().await;
    }
    database.check_writable().await.unwrap();
    let sessions = database
        .read(|connection| Ok(connection.query_row("SELECT count(*) FROM sessions", [], |row| row.get::<_, u64>(0))?));
    assert_eq!(sessions.await.unwrap(), 3 + stored, "the queued writes are stored now");
}

#[tokio::test]
async fn a_database_that_another_program_locks_can_be_closed() {
    let (_folder, path) = folder();
    let settings = DatabaseSettings::default().busy_timeout(Duration::from_millis(200));
    let database = Database::open_with(&path, &settings).unwrap();
    let _locker = locker(&path);
    let both = async { tokio::join!(database.check_writable(), database.close()) };
    let (written, closed) = tokio::time::timeout(Duration::from_secs(10), both).await.unwrap();
    assert!(written.is_err() && closed.is_ok());
}
