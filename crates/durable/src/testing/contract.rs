//! The contract of [`RunStore`].

#![expect(clippy::panic, reason = "a test fails with the name of the broken rule")]

use std::{fmt::Debug, time::Duration};

use brigade_core::{RawJson, RunId, StepRecord};
use serde_json::json;

use crate::{
    Claim, ClaimRequest, Commit, CommitError, Committed, NewSignal, NextState, QueuedRun, Renewed, RunQuery, RunState,
    RunStore, SignalKind, Signalled, Submitted, WaitReason, Waiting,
    testing::{approval_contract::approval_contract, wait_contract::wait_contract},
};

pub(super) const LEASE: Duration = Duration::from_secs(15);

/// Checks that a [`RunStore`] keeps its contract. The store must be empty. `pass` lets this much time pass by the store's
/// clock: a store that uses tokio's clock is tested with a paused one.
///
/// # Panics
///
/// If a rule is broken; the message names the rule.
pub async fn run_store_contract<F: Future<Output = ()>>(store: &dyn RunStore, pass: impl Fn(Duration) -> F) {
    keys_make_submissions_idempotent(store).await;
    a_claim_is_exclusive_until_its_lease_has_run_out(store, &pass).await;
    commits_are_fenced_numbered_and_whole(store).await;
    no_wake_up_is_lost(store, &pass).await;
    signals_are_idempotent_and_consumed(store).await;
    attempts_count_claims_without_progress(store, &pass).await;
    one_run_is_claimed_by_its_id(store).await;
    a_commit_can_erase_the_content(store).await;
    ended_runs_are_resumed_with_a_cut_journal(store).await;
    approval_contract(store, &pass).await;
    wait_contract(store, &pass).await;
}

async fn keys_make_submissions_idempotent(store: &dyn RunStore) {
    let run = |account: &str, digest| QueuedRun::new("keys", text("task")).key(account, Some("k".to_owned()), digest);
    let first = ok(store.submit(run("ada", 1)).await);
    let Submitted::New(id) = first else { panic!("a new key makes a new run: {first:?}") };
    assert_eq!(ok(store.submit(run("ada", 1)).await), Submitted::Same(id), "the same request is the same run");
    assert_eq!(ok(store.submit(run("ada", 2)).await), Submitted::Clash(id), "another request under a key is refused");
    let other = ok(store.submit(run("bob", 2)).await);
    assert!(matches!(other, Submitted::New(_)), "accounts have keys of their own");
    let listed = ok(store.list(&RunQuery::default().account("ada")).await);
    assert_eq!(listed.len(), 1, "a run is listed for its account, and nothing was stored for the others");
    assert_eq!(ok(store.find(id).await).map(|run| run.status), Some(RunState::Ready));
    assert!(ok(store.find(RunId::new()).await).is_none(), "an unknown run is absent");
}

async fn a_claim_is_exclusive_until_its_lease_has_run_out<F: Future<Output = ()>>(
    store: &dyn RunStore,
    pass: &impl Fn(Duration) -> F,
) {
    let id = submit(store, "lease").await;
    assert!(claim(store, "other queue", "w1").await.is_none(), "a worker gets runs of its queues only");
    let first = claimed(store, "lease", "w1").await;
    assert_eq!((first.run.id, first.run.epoch, first.run.attempt), (id, 1, 1));
    assert!(claim(store, "lease", "w2").await.is_none(), "a claimed run is not claimed again");
    pass(LEASE / 2).await;
    assert_eq!(ok(store.renew(std::slice::from_ref(&first.fence), LEASE).await), [Renewed::Held(0)]);
    pass(LEASE / 2 + LEASE / 4).await;
    assert!(claim(store, "lease", "w2").await.is_none(), "a renewed lease holds");
    pass(LEASE).await;
    let second = claimed(store, "lease", "w2").await;
    assert_eq!((second.run.id, second.run.epoch), (id, 2), "a lease that has run out is claimed, with a higher epoch");
    let renewed = ok(store.renew(&[first.fence.clone(), second.fence.clone()], LEASE).await);
    assert_eq!(renewed, [Renewed::Lost, Renewed::Held(0)], "each lease is answered in order");
    let zombie = store.commit(&commit(&first, 1, NextState::Finish(text("zombie")))).await;
    assert!(matches!(zombie, Err(CommitError::Fenced)), "a commit of an old claim is refused: {zombie:?}");
    ok(store.commit(&commit(&second, 1, NextState::Release)).await);
    let third = claimed(store, "lease", "w1").await;
    assert_eq!((third.run.epoch, third.run.attempt), (3, 2), "a released run is claimed at once, and not counted");
    ok(store.commit(&commit(&third, 2, NextState::Finish(text("done")))).await);
    pass(LEASE * 2).await;
    assert!(claim(store, "lease", "w1").await.is_none(), "a finished run is not claimed");
}

async fn commits_are_fenced_numbered_and_whole(store: &dyn RunStore) {
    let id = submit(store, "commits").await;
    let held = claimed(store, "commits", "w1").await;
    let first = commit(&held, 1, NextState::Continue).steps(vec![step("1", "began"), step("1/tool:1", "began")]);
    ok(store.commit(&first).await);
    let gap = store.commit(&commit(&held, 3, NextState::Continue).steps(vec![step("9", "done")])).await;
    assert!(matches!(gap, Err(CommitError::Diverged { number: 3, last: 1 })), "a gap is refused: {gap:?}");
    let second = commit(&held, 2, NextState::Continue).steps(vec![step("1", "done")]);
    ok(store.commit(&second).await);
    ok(store.commit(&second).await);
    let journal = ok(store.journal(id).await);
    let states: Vec<_> = journal.iter().map(|record| (record.path.as_str(), record.state)).collect();
    assert_eq!(
        states,
        [("1", brigade_core::StepState::Done), ("1/tool:1", brigade_core::StepState::Began)],
        "a record replaces the earlier one of its path, a repeated commit changes nothing, and a refused one is not seen"
    );
    let mut stranger = second.clone();
    stranger.fence = crate::Fence::new(id, held.fence.epoch, "w2");
    let refused = store.commit(&stranger).await;
    assert!(matches!(refused, Err(CommitError::Fenced)), "another worker is refused with the same epoch: {refused:?}");
    let last = commit(&held, 3, NextState::Finish(text("done")));
    ok(store.commit(&last).await);
    ok(store.commit(&last).await);
    let run = ok(store.find(id).await);
    assert_eq!(run.and_then(|run| run.output), Some(text("done")), "the last commit may be repeated after the end");
    let late = store.commit(&commit(&held, 4, NextState::Continue)).await;
    assert!(matches!(late, Err(CommitError::Fenced)), "nothing is written after the end: {late:?}");
}

async fn no_wake_up_is_lost<F: Future<Output = ()>>(store: &dyn RunStore, pass: &impl Fn(Duration) -> F) {
    let id = submit(store, "waits").await;
    let held = claimed(store, "waits", "w1").await;
    let wait = |held: &Claim, number, within| {
        let waiting = Waiting::new(WaitReason::Approval, vec!["2/tool:1".to_owned()], "Approve it.");
        commit(held, number, NextState::Wait { waiting, seen: held.run.signal_number, within })
    };
    assert_eq!(ok(store.signal(id, message("a")).await), Signalled::Stored(1));
    let early = wait(&held, 1, None);
    assert_eq!(
        ok(store.commit(&early).await),
        Committed::Signalled,
        "a signal that was not seen keeps the run at work"
    );
    assert_eq!(ok(store.commit(&early).await), Committed::Signalled, "the repeated commit has the same answer");
    ok(store.commit(&commit(&held, 2, NextState::Release)).await);

    let held = claimed(store, "waits", "w1").await;
    assert_eq!(
        held.signals.iter().map(|signal| signal.number).collect::<Vec<_>>(),
        [1],
        "a claim has the open signals"
    );
    assert_eq!(ok(store.commit(&wait(&held, 3, None).consumed(vec![1])).await), Committed::Written);
    let run = ok(store.find(id).await);
    let waiting = run.and_then(|run| run.waiting);
    assert_eq!(
        waiting.map(|waiting| waiting.paths),
        Some(vec!["2/tool:1".to_owned()]),
        "the run says what it waits for"
    );
    pass(LEASE * 100).await;
    assert!(claim(store, "waits", "w1").await.is_none(), "a waiting run is not claimed, however long it waits");
    assert_eq!(ok(store.signal(id, message("b")).await), Signalled::Stored(2));
    let held = claimed(store, "waits", "w1").await;
    assert_eq!(
        held.signals.iter().map(|signal| signal.number).collect::<Vec<_>>(),
        [2],
        "used signals are not seen again"
    );
    ok(store.commit(&wait(&held, 4, Some(LEASE)).consumed(vec![2])).await);
    pass(LEASE / 2).await;
    assert!(claim(store, "waits", "w1").await.is_none());
    pass(LEASE).await;
    let held = claimed(store, "waits", "w1").await;
    assert_eq!(held.run.id, id, "a wait ends with its time");
    ok(store.commit(&commit(&held, 5, NextState::Finish(text("done")))).await);
}

async fn signals_are_idempotent_and_consumed(store: &dyn RunStore) {
    let id = submit(store, "signals").await;
    let keyed = |payload: &str| NewSignal::new(SignalKind::Decision, text(payload)).key("approval 1");
    assert_eq!(ok(store.signal(id, keyed("yes")).await), Signalled::Stored(1));
    assert_eq!(ok(store.signal(id, keyed("yes")).await), Signalled::Same(1), "the same signal is stored once");
    assert_eq!(ok(store.signal(id, keyed("no")).await), Signalled::Clash(1), "another answer is refused");
    assert_eq!(ok(store.signal(RunId::new(), message("a")).await), Signalled::Unknown);
    assert_eq!(ok(store.signals(id).await).len(), 1);
    let held = claimed(store, "signals", "w1").await;
    ok(store.commit(&commit(&held, 1, NextState::Finish(text("done"))).consumed(vec![1])).await);
    assert_eq!(ok(store.signal(id, message("late")).await), Signalled::Ended, "a run that has ended gets no signal");
    assert_eq!(ok(store.signal(id, keyed("yes")).await), Signalled::Same(1), "the same answer is known after the end");
    assert!(ok(store.signals(id).await).is_empty());
}

async fn attempts_count_claims_without_progress<F: Future<Output = ()>>(
    store: &dyn RunStore,
    pass: &impl Fn(Duration) -> F,
) {
    submit(store, "attempts").await;
    for attempt in 1..=3 {
        assert_eq!(claimed(store, "attempts", "w1").await.run.attempt, attempt, "each claim is an attempt");
        pass(LEASE * 2).await;
    }
    let held = claimed(store, "attempts", "w1").await;
    ok(store.commit(&commit(&held, 1, NextState::Continue).steps(vec![step("1", "began")])).await);
    ok(store.commit(&commit(&held, 2, NextState::Continue).steps(vec![step("1", "done")])).await);
    pass(LEASE * 2).await;
    let held = claimed(store, "attempts", "w1").await;
    assert_eq!(held.run.attempt, 2, "after a completed step, attempts are counted anew");
    assert_eq!(held.run.commit_number, 2, "commits are numbered over all claims");
    ok(store.commit(&commit(&held, 3, NextState::Finish(text("done")))).await);
}

async fn one_run_is_claimed_by_its_id(store: &dyn RunStore) {
    let (first, second) = (submit(store, "by id").await, submit(store, "by id").await);
    let request = |run| ClaimRequest::new("w1", vec!["by id".into()], 10, LEASE).run(run);
    let ids = |claims: Vec<Claim>| claims.into_iter().map(|claim| claim.run.id).collect::<Vec<_>>();
    assert_eq!(ids(ok(store.claim(&request(second)).await)), [second], "only the run that is asked for is claimed");
    assert!(ok(store.claim(&request(second)).await).is_empty(), "and only once");
    assert_eq!(ids(ok(store.claim(&request(first)).await)), [first]);
}

async fn a_commit_can_erase_the_content(store: &dyn RunStore) {
    let id = submit(store, "erase").await;
    let held = claimed(store, "erase", "w1").await;
    ok(store.signal(id, message("secret")).await);
    let mut shared = step("1", "done");
    shared.changes = ok(RawJson::of(&json!({ "counts": [1], "shared": ["a secret note"] })));
    ok(store.commit(&commit(&held, 1, NextState::Continue).steps(vec![shared])).await);
    let end = commit(&held, 2, NextState::Finish(text("the end"))).steps(vec![step("2", "done")]).erase(true);
    ok(store.commit(&end).await);
    let Some(run) = ok(store.find(id).await) else { panic!("the run is kept") };
    assert_eq!((run.input, run.output), (RawJson::empty_object(), Some(text("the end"))), "the task is erased");
    let journal = ok(store.journal(id).await);
    assert_eq!(journal.len(), 2, "the records are kept");
    assert!(journal.iter().all(|record| record.output.is_none()), "the outputs of steps are erased");
    let changes = journal.first().map(|record| record.changes.get().to_owned());
    assert_eq!(changes.as_deref(), Some(r#"{"counts":[1]}"#), "the changes of shared values are erased, and no others");
    let signals = ok(store.signals(id).await);
    assert!(
        signals.iter().all(|signal| signal.payload == RawJson::empty_object()),
        "the payloads of signals are erased"
    );
}

async fn ended_runs_are_resumed_with_a_cut_journal(store: &dyn RunStore) {
    let id = submit(store, "resume").await;
    assert!(!ok(store.resume(id, &[]).await), "a ready run cannot be resumed");
    let held = claimed(store, "resume", "w1").await;
    let steps = vec![step("1", "done"), step("2", "done")];
    ok(store.commit(&commit(&held, 1, NextState::Fail("no".to_owned())).steps(steps)).await);
    let failed = ok(store.find(id).await);
    assert_eq!(failed.map(|run| (run.status, run.error)), Some((RunState::Failed, Some("no".to_owned()))));
    assert!(ok(store.resume(id, &["2".to_owned()]).await));
    let held = claimed(store, "resume", "w1").await;
    assert_eq!((held.journal.len(), held.run.attempt), (1, 1), "the journal is cut, and attempts start again");
    ok(store.commit(&commit(&held, 2, NextState::SetAside("poison".to_owned()))).await);
    assert!(claim(store, "resume", "w1").await.is_none(), "a run that was set aside is not claimed");
    assert!(ok(store.resume(id, &[]).await), "but it is resumed");
    let held = claimed(store, "resume", "w1").await;
    ok(store.commit(&commit(&held, 3, NextState::Cancel(text("partial")))).await);
    assert!(!ok(store.resume(id, &[]).await), "a cancelled run is not resumed");
    let cancelled = ok(store.list(&RunQuery::default().status(RunState::Cancelled)).await);
    assert_eq!(cancelled.iter().map(|run| run.id).collect::<Vec<_>>(), [id], "runs are listed by status");
}

pub(super) async fn submit(store: &dyn RunStore, queue: &str) -> RunId {
    ok(store.submit(QueuedRun::new(queue, text("task"))).await).id()
}

pub(super) async fn claim(store: &dyn RunStore, queue: &str, worker: &str) -> Option<Claim> {
    let request = ClaimRequest::new(worker, vec![queue.into()], 10, LEASE);
    ok(store.claim(&request).await).pop()
}

pub(super) async fn claimed(store: &dyn RunStore, queue: &str, worker: &str) -> Claim {
    let Some(claim) = claim(store, queue, worker).await else { panic!("a run of {queue} can be claimed") };
    claim
}

pub(super) fn commit(claim: &Claim, number: u64, next: NextState) -> Commit {
    Commit::new(claim.fence.clone(), number, next, LEASE)
}

pub(super) fn message(payload: &str) -> NewSignal {
    NewSignal::new(SignalKind::Message, text(payload))
}

pub(super) fn text(text: &str) -> RawJson {
    ok(RawJson::of(&text))
}

pub(super) fn step(path: &str, state: &str) -> StepRecord {
    ok(serde_json::from_value(json!({
        "path": path, "name": "x", "effect": "repeatable", "digest": u64::MAX, "state": state,
        "output": (state == "done").then_some("text"), "changes": {},
        "cost": ok(serde_json::to_value(brigade_core::Spending::default())),
    })))
}

#[track_caller]
pub(super) fn ok<T, E: Debug>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("the store failed: {error:?}"),
    }
}
