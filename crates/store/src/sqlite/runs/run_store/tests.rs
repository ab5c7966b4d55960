use brigade_core::{RawJson, StepState};
use brigade_durable::{NextState, SignalKind, WaitReason, Waiting, testing::run_store_contract};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::{Erasure, HistorySettings};

const LEASE: Duration = Duration::from_hours(1);

fn open(folder: &TempDir) -> (Database, SqliteRunStore) {
    let database = Database::open(folder.path().join("test.db")).unwrap();
    (database.clone(), SqliteRunStore::new(database))
}

fn text(text: &str) -> RawJson {
    RawJson::of(&text).unwrap()
}

fn step(path: &str) -> StepRecord {
    let cost = serde_json::to_value(brigade_core::Spending::default()).unwrap();
    serde_json::from_value(json!({
        "path": path, "name": "x", "effect": "repeatable", "digest": u64::MAX, "state": "done", "output": "text",
        "changes": {}, "cost": cost,
    }))
    .unwrap()
}

async fn claimed(store: &SqliteRunStore) -> Claim {
    let request = ClaimRequest::new("w", vec!["desk".into()], 1, LEASE);
    store.claim(&request).await.unwrap().pop().expect("a run can be claimed")
}

fn commit(claim: &Claim, next: NextState) -> Commit {
    Commit::new(claim.fence.clone(), claim.run.commit_number + 1, next, LEASE)
}

/// Makes everything due earlier, as if this much time had passed.
async fn pass(database: &Database, time: Duration) {
    let us = i64::try_from(time.as_micros()).unwrap();
    let earlier = "UPDATE durable_runs SET due_us = due_us - ?1, ended_us = ended_us - ?1";
    database.write(move |connection| Ok(connection.execute(earlier, [us])?)).await.unwrap();
    let earlier = "UPDATE durable_approvals SET expires_us = expires_us - ?1";
    database.write(move |connection| Ok(connection.execute(earlier, [us])?)).await.unwrap();
}

#[tokio::test]
async fn the_sqlite_store_passes_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let (database, store) = open(&folder);
    run_store_contract(&store, |time| {
        let database = database.clone();
        async move { pass(&database, time).await }
    })
    .await;
}

#[tokio::test]
async fn a_run_at_work_is_free_at_once_when_the_file_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let (database, store) = open(&folder);
    let id = store.submit(QueuedRun::new("desk", text("task"))).await.unwrap().id();
    let first = claimed(&store).await;
    store.commit(&commit(&first, NextState::Continue).steps(vec![step("1")])).await.unwrap();
    database.close().await.unwrap();

    let (_, store) = open(&folder);
    let again = claimed(&store).await;
    assert_eq!((again.run.id, again.run.epoch, again.run.commit_number), (id, 2, 1));
    assert_eq!(
        again.journal.iter().map(|step| (step.path.as_str(), step.state)).collect::<Vec<_>>(),
        [("1", StepState::Done)]
    );
    assert_eq!(again.journal[0].digest, u64::MAX);
    let late = store.commit(&Commit::new(first.fence, 2, NextState::Continue, LEASE)).await;
    assert!(matches!(late, Err(CommitError::Fenced)), "{late:?}");
}

#[tokio::test]
async fn runs_that_wait_or_have_ended_are_the_same_after_the_file_was_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let (database, store) = open(&folder);
    let keyed = || QueuedRun::new("desk", text("task")).key("ada", Some("k".to_owned()), u64::MAX);
    let waits = store.submit(keyed()).await.unwrap().id();
    let waiting = Waiting::new(WaitReason::Approval, vec!["2/tool:1".to_owned()], "Approve it.");
    let wait = NextState::Wait { waiting: waiting.clone(), seen: 0, within: None };
    store.commit(&commit(&claimed(&store).await, wait)).await.unwrap();
    let ended = store.submit(QueuedRun::new("desk", text("task"))).await.unwrap().id();
    let finished = commit(&claimed(&store).await, NextState::Finish(text("done")));
    store.commit(&finished).await.unwrap();
    database.close().await.unwrap();

    let (_, store) = open(&folder);
    let beside = crate::StoredRuns::open(folder.path().join("test.db")).unwrap();
    let listed = beside.list(brigade_durable::RunQuery::default()).await.unwrap();
    assert_eq!(
        listed.iter().map(|run| run.id).collect::<Vec<_>>(),
        [ended, waits],
        "read while it is open for writing"
    );
    assert_eq!(beside.find(waits).await.unwrap().and_then(|run| run.waiting), Some(waiting.clone()));
    assert!(beside.journal(waits).await.unwrap().is_empty());
    assert_eq!(store.submit(keyed()).await.unwrap(), Submitted::Same(waits));
    assert_eq!(store.find(waits).await.unwrap().and_then(|run| run.waiting), Some(waiting));
    assert_eq!(store.find(ended).await.unwrap().and_then(|run| run.output), Some(text("done")));
    assert_eq!(store.commit(&finished).await.unwrap(), Committed::Written, "the last commit may be repeated");
    assert!(store.claim(&ClaimRequest::new("w", vec!["desk".into()], 9, LEASE)).await.unwrap().is_empty());
    let signal = NewSignal::new(SignalKind::Decision, text("yes"));
    assert_eq!(store.signal(waits, signal).await.unwrap(), Signalled::Stored(1));
    assert_eq!(claimed(&store).await.signals.len(), 1);
}

#[tokio::test]
async fn a_claim_whose_caller_has_gone_away_claims_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (database, store) = open(&folder);
    store.submit(QueuedRun::new("desk", text("task"))).await.unwrap();
    let other = Connection::open(database.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let request = ClaimRequest::new("gone", vec!["desk".into()], 1, LEASE);
    // The writer waits for the other program, so the claim is queued when its caller gives up.
    assert!(tokio::time::timeout(Duration::from_millis(50), store.claim(&request)).await.is_err());
    other.execute_batch("COMMIT").unwrap();
    database.flush().await.unwrap();
    assert_eq!(claimed(&store).await.run.epoch, 1);
}

#[tokio::test]
async fn erased_content_is_gone_from_the_file_and_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let (database, store) = open(&folder);
    let id = store.submit(QueuedRun::new("desk", text("secret task"))).await.unwrap().id();
    let held = claimed(&store).await;
    store.commit(&commit(&held, NextState::Continue).steps(vec![step("1")])).await.unwrap();
    assert_eq!(database.erase().await.unwrap(), Erasure::Nothing);
    store.commit(&Commit::new(held.fence, 2, NextState::Finish(text("done")), LEASE).erase(true)).await.unwrap();
    assert_eq!(database.erase().await.unwrap(), Erasure::Complete);
    assert_eq!(store.journal(id).await.unwrap()[0].digest, u64::MAX, "the rest of a record is as it was");
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let content = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!content.windows(11).any(|bytes| bytes == b"secret task"));
    }
}

#[tokio::test]
async fn retention_deletes_runs_that_have_ended_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let (database, store) = open(&folder);
    for _ in 0..2 {
        store.submit(QueuedRun::new("desk", text("old"))).await.unwrap();
        let steps = (0..600).map(|number| step(&number.to_string())).collect();
        let held = claimed(&store).await;
        store.commit(&commit(&held, NextState::Fail("no".to_owned())).steps(steps)).await.unwrap();
    }
    let at_work = store.submit(QueuedRun::new("desk", text("open"))).await.unwrap().id();
    store.commit(&commit(&claimed(&store).await, NextState::Continue).steps(vec![step("1")])).await.unwrap();
    let ready = store.submit(QueuedRun::new("desk", text("ready"))).await.unwrap().id();
    pass(&database, Duration::from_hours(48)).await;
    let answer = store.submit(QueuedRun::new("desk", text("task"))).await.unwrap().id();
    let request = ClaimRequest::new("w", vec!["desk".into()], 1, LEASE).run(answer);
    let held = store.claim(&request).await.unwrap().pop().unwrap();
    store.commit(&commit(&held, NextState::Finish(text("answer")))).await.unwrap();
    let output = async || store.find(answer).await.unwrap().and_then(|run| run.output);
    let settings = HistorySettings::default().keep_runs(Duration::from_hours(24));
    database.prune_history(&settings.clone().keep_answers(Duration::from_hours(1))).await.unwrap();
    assert_eq!(output().await, Some(text("answer")), "it is not old enough");
    database.prune_history(&settings.clone().keep_answers(Duration::ZERO)).await.unwrap();
    assert_eq!(output().await, None, "the run is kept longer than its answer");
    database.prune_history(&settings).await.unwrap();
    let rows = |connection: &Connection| {
        let count =
            |table| connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0));
        Ok(["durable_runs", "durable_inputs", "durable_steps"].map(|table| count(table).unwrap()))
    };
    assert_eq!(database.read(rows).await.unwrap(), [3, 3, 1]);
    let left: Vec<_> = store.list(&RunQuery::default()).await.unwrap().iter().map(|run| run.id).collect();
    assert_eq!(left, [answer, ready, at_work], "newest first");
}
