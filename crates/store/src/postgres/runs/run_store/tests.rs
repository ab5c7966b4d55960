use std::{
    future::poll_fn,
    net::SocketAddr,
    pin::pin,
    sync::atomic::{AtomicU8, Ordering},
    task::Poll,
};

use brigade_core::{RawJson, StepState};
use brigade_durable::{NextState, SignalKind, WaitReason, Waiting, testing::run_store_contract};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{PostgresSettings, testing::postgres_database};

const LEASE: Duration = Duration::from_hours(1);

async fn open(test: &str) -> Option<(PostgresDatabase, PostgresRunStore)> {
    let url = postgres_database(test).await?;
    let database = PostgresDatabase::open_with(&url, PostgresSettings::default().connections(3)).await.unwrap();
    Some((database.clone(), PostgresRunStore::new(database)))
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

async fn submitted(store: &PostgresRunStore) -> RunId {
    RunStore::submit(store, QueuedRun::new("desk", text("task"))).await.unwrap().id()
}

async fn claimed(store: &PostgresRunStore) -> Claim {
    let request = ClaimRequest::new("w", vec!["desk".into()], 1, LEASE);
    RunStore::claim(store, &request).await.unwrap().pop().expect("a run can be claimed")
}

fn commit(claim: &Claim, number: u64, next: NextState) -> Commit {
    Commit::new(claim.fence.clone(), number, next, LEASE)
}

/// Makes everything due earlier, as if this much time had passed.
async fn pass(database: &PostgresDatabase, time: Duration) {
    for earlier in [
        "UPDATE brigade.durable_runs SET due_us = due_us - $1, ended_us = ended_us - $1",
        "UPDATE brigade.durable_approvals SET expires_us = expires_us - $1",
    ] {
        database.execute(earlier, values![us(time)]).await.unwrap();
    }
}

#[tokio::test]
async fn the_postgres_store_passes_the_contract() {
    let Some((database, store)) = open("the_postgres_store_passes_the_contract").await else { return };
    run_store_contract(&store, |time| {
        let database = database.clone();
        async move { pass(&database, time).await }
    })
    .await;
}

#[tokio::test]
async fn many_workers_that_claim_at_once_never_get_the_same_run() {
    let Some((_, store)) = open("many_workers_that_claim_at_once_never_get_the_same_run").await else { return };
    for _ in 0..40 {
        submitted(&store).await;
    }
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..8 {
        let store = store.clone();
        workers.spawn(async move {
            let request = ClaimRequest::new(format!("w{worker}"), vec!["desk".into()], 3, LEASE);
            let mut runs = Vec::new();
            loop {
                let claims = RunStore::claim(&store, &request).await.unwrap();
                if claims.is_empty() {
                    return runs;
                }
                runs.extend(claims.into_iter().map(|claim| claim.run.id));
            }
        });
    }
    let mut runs: Vec<_> = workers.join_all().await.into_iter().flatten().collect();
    runs.sort();
    let claims = runs.len();
    runs.dedup();
    assert_eq!((claims, runs.len()), (40, 40));
}

#[tokio::test]
async fn a_record_is_written_once_if_a_commit_has_its_path_twice() {
    let Some((_, store)) = open("a_record_is_written_once_if_a_commit_has_its_path_twice").await else { return };
    let id = submitted(&store).await;
    let held = claimed(&store).await;
    let mut began = step("1");
    began.state = StepState::Began;
    let twice = commit(&held, 1, NextState::Continue).steps(vec![began, step("1")]);
    assert_eq!(RunStore::commit(&store, &twice).await.unwrap(), Committed::Written);
    let journal = store.journal(id).await.unwrap();
    assert_eq!(journal.iter().map(|record| record.state).collect::<Vec<_>>(), [StepState::Done]);
}

#[tokio::test]
async fn an_error_with_a_character_that_postgres_cannot_store_still_ends_the_run() {
    let Some((_, store)) = open("an_error_with_a_character_that_postgres_cannot_store").await else { return };
    let id = submitted(&store).await;
    let fail = commit(&claimed(&store).await, 1, NextState::Fail("bad \0 byte".to_owned()));
    RunStore::commit(&store, &fail).await.unwrap();
    assert_eq!(store.find(id).await.unwrap().unwrap().error.as_deref(), Some("bad \u{fffd} byte"));
}

#[tokio::test]
async fn retention_deletes_runs_that_have_ended_and_no_others() {
    let Some((database, store)) = open("retention_deletes_runs_that_have_ended_and_no_others").await else { return };
    let old = submitted(&store).await;
    let end = commit(&claimed(&store).await, 1, NextState::Fail("no".to_owned())).steps(vec![step("1")]);
    RunStore::commit(&store, &end).await.unwrap();
    let at_work = submitted(&store).await;
    claimed(&store).await;
    let ready = submitted(&store).await;
    pass(&database, Duration::from_hours(48)).await;
    let answered = submitted(&store).await;
    let request = ClaimRequest::new("w", vec!["desk".into()], 1, LEASE).run(answered);
    let held = RunStore::claim(&store, &request).await.unwrap().pop().unwrap();
    RunStore::commit(&store, &commit(&held, 1, NextState::Finish(text("answer")))).await.unwrap();
    let day = Duration::from_hours(24);
    store.sweep(day, Duration::ZERO).await.unwrap();
    assert_eq!(store.find(old).await.unwrap().map(|run| run.id), None);
    assert_eq!(store.find(answered).await.unwrap().unwrap().output, None, "the run is kept longer than its answer");
    let left: Vec<_> = store.list(&RunQuery::default()).await.unwrap().iter().map(|run| run.id).collect();
    assert_eq!(left, [answered, ready, at_work], "newest first");
    assert_eq!(database.query("SELECT 1 FROM brigade.durable_steps", &[]).await.unwrap().len(), 0);
}

/// Polls a future at most `polls` times, then drops it. Returns whether it was ready.
async fn is_ready_after(polls: usize, future: impl Future<Output = ()>) -> bool {
    let (mut future, mut left) = (pin!(future), polls);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(()) => Poll::Ready(true),
        Poll::Pending if left == 0 => Poll::Ready(false),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

/// In a transaction, the time is that of its beginning.
const OUTSIDE_A_TRANSACTION: &str = "DO $$ BEGIN
    IF now() <> statement_timestamp() OR pg_current_xact_id_if_assigned() IS NOT NULL THEN
        RAISE EXCEPTION 'a transaction is open';
    END IF;
END $$";

/// Drops the future that `work` makes after each number of polls, and checks the connections of the pool each time.
async fn drop_everywhere<F: Future<Output = ()>>(database: &PostgresDatabase, work: impl AsyncFn() -> F) {
    let mut polls = 0;
    while !is_ready_after(polls, work().await).await {
        polls += 1;
        let idle = database.pool().idle();
        let sessions = futures::future::join_all((0..3).map(|_| database.session())).await;
        for session in sessions {
            let session = session.unwrap();
            let outside = session.batch(OUTSIDE_A_TRANSACTION).await;
            session.done(outside).unwrap_or_else(|error| panic!("after {polls} polls, {idle} idle: {error:?}"));
        }
    }
    assert!(polls > 0, "the future was ready at once, so nothing was dropped");
}

#[tokio::test]
#[expect(clippy::async_yields_async, reason = "the future that is made is dropped, not awaited")]
async fn a_dropped_future_never_leaves_a_connection_with_an_open_transaction_in_the_pool() {
    let Some((database, store)) = open("a_dropped_future_never_leaves_an_open_transaction").await else { return };
    let run = submitted(&store).await;
    drop_everywhere(&database, async || async { assert!(submitted(&store).await != run) }).await;
    drop_everywhere(&database, async || async {
        drop(RunStore::claim(&store, &ClaimRequest::new("w", vec!["desk".into()], 1, LEASE)).await.unwrap());
    })
    .await;
    drop_everywhere(&database, async || async {
        store.signal(run, NewSignal::new(SignalKind::Message, text("a"))).await.unwrap();
    })
    .await;
    drop_everywhere(&database, async || async {
        let approval = NewApproval::new(run, "2/tool:1", "refund", &json!({ "id": Uuid::new_v4().to_string() }));
        let id = store.request_approval(approval).await.unwrap().id;
        store.answer_approval(&id, ApprovalAnswer::approve("ada")).await.unwrap();
    })
    .await;
    let wait = |held: Claim| {
        let waiting = Waiting::new(WaitReason::Approval, Vec::new(), "Approve it.");
        let next = NextState::Wait { waiting, seen: held.run.signal_number, within: None };
        commit(&held, held.run.commit_number + 1, next).steps(vec![step("1")]).erase(true)
    };
    drop_everywhere(&database, async || {
        submitted(&store).await;
        let wait = wait(claimed(&store).await);
        let store = &store;
        async move { assert_eq!(RunStore::commit(store, &wait).await.unwrap(), Committed::Written) }
    })
    .await;
    drop_everywhere(&database, async || {
        let id = submitted(&store).await;
        let request = ClaimRequest::new("w", vec!["desk".into()], 1, LEASE).run(id);
        let held = RunStore::claim(&store, &request).await.unwrap().pop().unwrap();
        RunStore::commit(&store, &wait(held)).await.unwrap();
        let store = &store;
        async move { assert!(RunStore::resume(store, id, &["1".to_owned()]).await.unwrap()) }
    })
    .await;
}

/// A proxy between a client and the server, which can cut the connection at a commit.
struct Proxy {
    address: SocketAddr,
    cut: Arc<AtomicU8>,
    _task: tokio::task::JoinSet<()>,
}

const FORWARD: u8 = 0;
/// The next request does not reach the server.
const CUT_REQUEST: u8 = 1;
/// The next request reaches the server, but its answer does not reach the client.
const CUT_ANSWER: u8 = 2;

impl Proxy {
    async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, cut) = (listener.local_addr().unwrap(), Arc::new(AtomicU8::new(FORWARD)));
        let shared = Arc::clone(&cut);
        let mut task = tokio::task::JoinSet::new();
        task.spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(relay(client, server, Arc::clone(&shared)));
            }
        });
        Self { address, cut, _task: task }
    }
}

/// Relays in both directions until one side closes, or until a cut.
async fn relay(mut client: TcpStream, server: SocketAddr, cut: Arc<AtomicU8>) {
    let mut server = TcpStream::connect(server).await.unwrap();
    let (mut from_client, mut from_server) = (vec![0; 65_536], vec![0; 65_536]);
    let mut is_answer_cut = false;
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Ok(size @ 1..) = read else { return };
                // A goodbye is not a request.
                let is_request = from_client[0] != b'X';
                match if is_request { cut.swap(FORWARD, Ordering::SeqCst) } else { FORWARD } {
                    CUT_REQUEST => return,
                    CUT_ANSWER => is_answer_cut = true,
                    _ => {}
                }
                server.write_all(&from_client[..size]).await.unwrap();
            }
            read = server.read(&mut from_server) => {
                let Ok(size @ 1..) = read else { return };
                if is_answer_cut {
                    return;
                }
                client.write_all(&from_server[..size]).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_connection_that_is_lost_in_a_commit_is_reported_and_the_repeated_commit_is_written_once() {
    let Some(url) = postgres_database("a_connection_that_is_lost_in_a_commit_is_reported").await else { return };
    let (start, rest) = url.split_once('@').unwrap();
    let (server, name) = rest.split_once('/').unwrap();
    let proxy = Proxy::start(server.parse().unwrap()).await;
    let database = PostgresDatabase::open(&format!("{start}@{}/{name}", proxy.address)).await.unwrap();
    let store = PostgresRunStore::new(database);
    let id = submitted(&store).await;
    let held = claimed(&store).await;
    let mut number = 0;
    for (cut, is_written) in [(CUT_REQUEST, false), (CUT_ANSWER, true)] {
        number += 1;
        let next = commit(&held, number, NextState::Continue).steps(vec![step(&number.to_string())]);
        proxy.cut.store(cut, Ordering::SeqCst);
        let lost = RunStore::commit(&store, &next).await;
        assert!(matches!(lost, Err(CommitError::Unavailable(_))), "{lost:?}");
        let found = store.find(id).await.unwrap().unwrap().commit_number;
        assert_eq!(found == number, is_written);
        assert_eq!(RunStore::commit(&store, &next).await.unwrap(), Committed::Written);
        assert_eq!(store.find(id).await.unwrap().unwrap().commit_number, number);
    }
    // The end is a transaction of several statements: at some cut, its last one was executed.
    let end = commit(&held, 3, NextState::Finish(text("done"))).steps(vec![step("3")]);
    proxy.cut.store(CUT_ANSWER, Ordering::SeqCst);
    assert!(matches!(RunStore::commit(&store, &end).await, Err(CommitError::Unavailable(_))));
    assert_eq!(RunStore::commit(&store, &end).await.unwrap(), Committed::Written);
    let run = store.find(id).await.unwrap().unwrap();
    assert_eq!((run.status, run.commit_number), (RunState::Finished, 3));
    assert_eq!(store.journal(id).await.unwrap().len(), 3);
}
