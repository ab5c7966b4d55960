use brigade_core::{Memory, Message, Run, Scope};
use brigade_notes::{Note, NoteSource, Recall};

use super::*;
use crate::{Database, Exchange, RunFilter, RunHistory, SqliteMemory, SqliteRecall, sqlite::notes::notes};

/// Creates a file as the first version wrote it, with data.
fn first_version(path: &Path) {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(MIGRATIONS[0]).unwrap();
    connection.execute_batch(include_str!("version_1.sql")).unwrap();
}

#[tokio::test]
async fn a_file_of_the_first_version_is_migrated_with_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    first_version(&path);
    let database = Database::open(&path).unwrap();
    database.check().await.unwrap();

    let memory = SqliteMemory::new(database.clone());
    let old = [Message::user("I am Ada."), Message::assistant("Hello, Ada.")];
    assert_eq!(memory.load("session-1").await.unwrap(), old);
    let again = Exchange::new(&old).key("request-1");
    assert_eq!(memory.append_exchange("session-1", again).await.unwrap(), 1, "idempotency keys are still known");
    memory.append("session-1", &[Message::user("Who am I?")]).await.unwrap();

    let recall = SqliteRecall::new(database.clone());
    recall.remember(&Scope::default(), Note::new("new", NoteSource::User), &Run::new()).await.unwrap();
    assert!(RunHistory::new(&database).list(RunFilter::default()).await.unwrap().is_empty());
}

#[tokio::test]
async fn notes_of_the_fourth_version_are_still_found_by_embedding() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let old = Connection::open(&path).unwrap();
    for migration in &MIGRATIONS[..4] {
        old.execute_batch(migration).unwrap();
    }
    old.execute_batch("INSERT INTO scopes (id, name, notes) VALUES (1, '{}', 4)").unwrap();
    let floats = |vector: [f32; 2]| vector.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
    let vectors = [floats([0.6, 0.8]), floats([1.0, 0.0]), floats([-1.0, 0.0]), vec![1, 2, 3]];
    for (note, vector) in (1..).zip(vectors) {
        let row = "INSERT INTO notes VALUES (?1, 1, 'note ' || ?1, 'text', 'user', NULL, CAST(?1 AS BLOB), 0)";
        old.execute(row, [note]).unwrap();
        let row = "INSERT INTO note_vectors VALUES (?1, 'test/model', ?2)";
        old.execute(row, rusqlite::params![note, vector]).unwrap();
    }
    old.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
    old.pragma_update(None, "user_version", 4).unwrap();
    drop(old);

    let database = Database::open(&path).unwrap();
    database.check().await.unwrap();
    let wanted = QuantizedVector::new(&[1.0, 0.0]).unwrap();
    let found = database.read(move |connection| notes::by_embedding(connection, 1, "test/model", &wanted, 9));
    assert_eq!(found.await.unwrap(), [2, 1], "the closest first, and none in the opposite direction");
    let notes = database.read(|connection| notes::read(connection, 1..=4, 0)).await.unwrap();
    assert_eq!(notes.len(), 4, "a note stays if its vector cannot be read");
}

#[tokio::test]
async fn runs_of_workers_of_the_fifth_version_belong_to_their_request_if_it_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    drop(Database::open(&path).unwrap());
    let old = Connection::open(&path).unwrap();
    let later = "DROP TABLE responses; DROP TABLE durable_approvals; DROP TABLE durable_signals; DROP TABLE durable_steps; DROP TABLE durable_inputs; DROP TABLE durable_runs; \
        DROP TABLE idempotency_keys; DROP INDEX runs_by_root; ALTER TABLE runs DROP COLUMN root; \
        DROP TABLE identity; DROP INDEX runs_by_user; ALTER TABLE runs DROP COLUMN user; \
        ALTER TABLE run_costs DROP COLUMN uncertain_tokens; ALTER TABLE spend DROP COLUMN uncertain_tokens";
    old.execute_batch(later).unwrap();
    old.execute_batch("INSERT INTO epochs VALUES (1, 0)").unwrap();
    let rows = [
        (1_u8, "one", "team", 0),
        (2, "one", "team", 1),
        (3, "one", "other", 0),
        (4, "two", "team", 0),
        (5, "two", "team", 0),
        (6, "two", "team", 1),
    ];
    for (run, trace, account, depth) in rows {
        let row =
            "INSERT INTO runs (run, trace, agent, account, depth, epoch, started_us) VALUES (?1, ?2, '', ?3, ?4, 1, 0)";
        old.execute(row, rusqlite::params![[run; 16], trace, account, depth]).unwrap();
    }
    old.pragma_update(None, "user_version", 5).unwrap();
    drop(old);

    let database = Database::open(&path).unwrap();
    let roots = database.read(|connection| {
        let mut select = connection.prepare("SELECT root FROM runs ORDER BY run")?;
        Ok(select.query_map([], |row| row.get::<_, Option<[u8; 16]>>(0))?.collect::<Result<Vec<_>, _>>()?)
    });
    assert_eq!(roots.await.unwrap(), [None, Some([1; 16]), None, None, None, None]);
}

#[test]
fn a_reader_does_not_migrate_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    first_version(&path);
    let error = RunHistory::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Older { found: 1, .. }), "{error:?}");
    drop(Database::open(&path).unwrap());
    RunHistory::open(&path).unwrap();
}

#[test]
fn a_failed_migration_leaves_the_previous_version() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    first_version(&path);
    // A later migration creates this table.
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE spend (x)").unwrap();
    Database::open(&path).unwrap_err();
    let connection = Connection::open(&path).unwrap();
    assert_eq!(pragma(&connection, "user_version").unwrap(), 2, "the second step is committed");
    let epochs = "SELECT count(*) FROM sqlite_schema WHERE name IN ('epochs', 'runs')";
    let tables: i64 = connection.query_row(epochs, [], |row| row.get(0)).unwrap();
    assert_eq!(tables, 0, "the third is rolled back");
}

#[test]
fn published_migrations_never_change() {
    use sha2::{Digest, Sha256};
    let digest =
        |sql: &str| Sha256::digest(sql).first_chunk().map(|bytes| format!("{:08x}", u32::from_be_bytes(*bytes)));
    let published = [
        "e5822178", "1132036f", "c0ab1c2c", "cea895d3", "559c5bcd", "d9b13fea", "118863a6", "d715da90", "cc4d145f",
        "a8f69466", "9e70f352", "c054caca",
    ];
    assert_eq!(MIGRATIONS.map(digest), published.map(|digest| Some(digest.to_owned())));
}
