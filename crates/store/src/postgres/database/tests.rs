use std::error::Error;

use super::*;
use crate::{postgres::values::values, testing::postgres_database};

fn chain(error: &StoreError) -> String {
    let mut text = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text} {cause} {cause:?}");
        source = cause.source();
    }
    text
}

#[tokio::test]
async fn five_processes_that_start_at_once_migrate_an_empty_database_once() {
    let Some(url) = postgres_database("five_processes_that_start_at_once_migrate_once").await else { return };
    let starts = (0..5).map(|_| async {
        // A pool of its own, as in a process of its own.
        let database = PostgresDatabase::connect(&url, PostgresSettings::default()).unwrap();
        database.migrate().await.unwrap()
    });
    let applied: Vec<_> = futures::future::join_all(starts).await.into_iter().flatten().collect();
    let all: Vec<_> = (1..=migrations::newest()).collect();
    assert_eq!(applied, all, "each migration is applied by one of them");
    let database = PostgresDatabase::open(&url).await.unwrap();
    let report = database.check().await.unwrap();
    assert_eq!(report.schema, migrations::newest());
    assert!(report.rows.iter().any(|(table, _)| table == "durable_runs"), "{report:?}");
}

#[tokio::test]
async fn a_database_is_refused_that_is_not_migrated_newer_or_has_another_migration() {
    let Some(url) = postgres_database("a_database_is_refused_that_is_newer").await else { return };
    let database = PostgresDatabase::connect(&url, PostgresSettings::default()).unwrap();
    assert!(matches!(database.check().await, Err(StoreError::Older { found: 0, .. })));
    database.migrate().await.unwrap();
    let newer = "INSERT INTO brigade.migrations (number, sha256) VALUES ($1, 'x')";
    database.execute(newer, values![migrations::newest() + 1]).await.unwrap();
    assert!(matches!(database.migrate().await, Err(StoreError::Newer { .. })));
    database.execute("DELETE FROM brigade.migrations WHERE number > $1", values![migrations::newest()]).await.unwrap();
    database.execute("UPDATE brigade.migrations SET sha256 = 'x' WHERE number = 1", &[]).await.unwrap();
    assert!(matches!(PostgresDatabase::open(&url).await, Err(StoreError::OtherMigration { number: 1 })));
}

#[tokio::test]
async fn errors_never_name_the_password() {
    let Some(url) = postgres_database("errors_never_name_the_password").await else { return };
    let (start, host) = url.rsplit_once('@').unwrap();
    let (user, _) = start.rsplit_once(':').unwrap();
    for (address, has_server) in [
        (format!("{user}:wr0ng-s3cret@{host}"), true),
        (format!("{user}:wr0ng-s3cret@127.0.0.1:1/none"), false),
        (format!("{user}:wr0ng-s3cret@{host}?sslmode=require"), true),
    ] {
        let error = PostgresDatabase::open(&address).await.unwrap_err();
        let text = chain(&error);
        assert!(!text.contains("s3cret"), "{text}");
        assert!(matches!(error, StoreError::Unavailable(_) | StoreError::Postgres(_)), "{text}, {has_server}");
    }
    let database = PostgresDatabase::open(&url).await.unwrap();
    let password = start.rsplit_once(':').unwrap().1;
    assert!(!format!("{database:?} {}", database.address()).contains(password));
}

#[tokio::test]
async fn a_statement_that_is_not_answered_in_time_is_unavailable_and_its_connection_is_not_used_again() {
    let Some(url) = postgres_database("a_statement_that_is_not_answered_in_time").await else { return };
    let settings = PostgresSettings::default().connections(1);
    let database = PostgresDatabase::open_with(&url, settings.clone()).await.unwrap();
    let other = PostgresDatabase::connect(&url, settings.timeout(Duration::from_secs(3))).unwrap();
    let session = database.session().await.unwrap();
    session.begin_with("LOCK TABLE brigade.migrations", &[]).await.unwrap();
    let late = other.query("SELECT number FROM brigade.migrations", &[]).await;
    assert!(matches!(late, Err(StoreError::Unavailable(_))), "{late:?}");
    assert_eq!(other.pool().idle(), 0);
    let waiting = database.query("SELECT 1", &[]);
    session.end(Ok(())).await.unwrap();
    assert_eq!(waiting.await.unwrap().len(), 1, "the only connection is free again");
    assert!(other.query("SELECT number FROM brigade.migrations", &[]).await.is_ok(), "by another connection");
    other.close().await;
    assert!(matches!(other.query("SELECT 1", &[]).await, Err(StoreError::Closed)));
}

#[tokio::test]
async fn a_pool_replaces_connections_that_the_server_has_ended() {
    let Some(url) = postgres_database("a_pool_replaces_connections_that_the_server_has_ended").await else { return };
    let database = PostgresDatabase::open_with(&url, PostgresSettings::default().connections(1)).await.unwrap();
    let pid: i32 = first(&database.query("SELECT pg_backend_pid()", &[]).await.unwrap()).unwrap().unwrap();
    let other = PostgresDatabase::open(&url).await.unwrap();
    other.query("SELECT pg_terminate_backend($1, 5000)", values![pid]).await.unwrap();
    // The end may be noticed by the first statement.
    let _ = database.query("SELECT 1", &[]).await;
    assert_eq!(database.query("SELECT 1", &[]).await.unwrap().len(), 1);
}
