//! The part of the contract of [`RunStore`](crate::RunStore) about approvals.

#![expect(clippy::panic, reason = "a test fails with the name of the broken rule")]

use std::time::Duration;

use brigade_core::{RawJson, RunId};
use serde_json::json;

use super::contract::{LEASE, claimed, commit, ok, step, submit, text};
use crate::{
    Answered, Approval, ApprovalAnswer, ApprovalQuery, ApprovalStatus, Committed, NewApproval, NewSignal, NextState,
    RunState, RunStore, SignalKind, Signalled, WaitReason, Waiting,
};

pub(super) async fn approval_contract<F: Future<Output = ()>>(store: &dyn RunStore, pass: &impl Fn(Duration) -> F) {
    approvals_are_stored_once_and_answered_once(store).await;
    approvals_keep_any_arguments(store).await;
    approvals_expire_and_close(store, pass).await;
    a_cancel_and_an_answer_exclude_each_other(store).await;
    approvals_are_erased_with_the_content_and_removed_by_a_cut(store).await;
}

async fn approvals_are_stored_once_and_answered_once(store: &dyn RunStore) {
    let id = submit(store, "approvals").await;
    let held = claimed(store, "approvals", "w1").await;
    let approval = ok(store.request_approval(refund(id, 250)).await);
    assert_eq!((approval.status, &*approval.queue, approval.run), (ApprovalStatus::Pending, "approvals", id));
    let again = ok(store.request_approval(refund(id, 250)).await);
    assert_eq!(again.id, approval.id, "the same call of a run has one approval");
    let other = ok(store.request_approval(refund(id, 251)).await);
    assert_ne!(other.id, approval.id, "an approval is for these arguments only");
    assert!(store.request_approval(refund(RunId::new(), 250)).await.is_err(), "an approval has a run");
    let waiting = Waiting::new(WaitReason::Approval, vec!["2/tool:1".to_owned()], "Approve it.");
    let wait = NextState::Wait { waiting, seen: held.run.signal_number, within: None };
    ok(store.commit(&commit(&held, 1, wait)).await);
    assert_eq!(pending(store, id).await, [other.id.clone(), approval.id.clone()], "newest first");

    let approve = ApprovalAnswer::approve("ada").reason(Some("paid twice".to_owned()));
    assert_eq!(ok(store.answer_approval("apr_unknown", approve.clone()).await), Answered::Unknown);
    assert_eq!(ok(store.answer_approval(&approval.id, approve.clone()).await), Answered::Stored);
    let run = ok(store.find(id).await).map(|run| (run.status, run.signal_number, run.attempt));
    assert_eq!(run, Some((RunState::Ready, 1, 0)), "an answer makes the run ready, and waiting is not an attempt");
    assert_eq!(ok(store.answer_approval(&approval.id, ApprovalAnswer::approve("bob")).await), Answered::Same);
    for other in [ApprovalAnswer::deny("ada"), ApprovalAnswer::approve("ada").arguments(&json!({ "amount": 1 }))] {
        assert_eq!(ok(store.answer_approval(&approval.id, other).await), Answered::Clash, "another answer is refused");
    }
    let answered = found(store, &approval.id).await;
    assert_eq!((answered.status, answered.answer), (ApprovalStatus::Approved, Some(approve)), "the first answer stays");
    assert_eq!(ok(store.find(id).await).map(|run| run.signal_number), Some(1), "refused answers do not wake the run");

    let held = claimed(store, "approvals", "w1").await;
    ok(store.answer_approval(&other.id, ApprovalAnswer::deny("ada")).await);
    let waiting = Waiting::new(WaitReason::Approval, Vec::new(), "Approve it.");
    let wait = NextState::Wait { waiting, seen: held.run.signal_number, within: None };
    let committed = ok(store.commit(&commit(&held, 2, wait)).await);
    assert_eq!(committed, Committed::Signalled, "an answer that was not seen keeps the run at work");
    let list = |query: ApprovalQuery| async move { ok(store.approvals(&query).await).len() };
    assert_eq!(list(ApprovalQuery::default().run(id).status(ApprovalStatus::Denied)).await, 1);
    assert_eq!(list(ApprovalQuery::default().run(id).path("2/tool:1")).await, 2);
    assert_eq!(list(ApprovalQuery::default().run(id).path("2/tool:2")).await, 0);
    assert_eq!(list(ApprovalQuery::default().run(id).accounts(Some(vec!["ada".into()]))).await, 0);
    assert_eq!(list(ApprovalQuery::default().run(id).accounts(Some(vec!["".into()])).limit(1)).await, 1);
    ok(store.commit(&commit(&held, 3, NextState::Finish(text("done")))).await);
}

async fn approvals_keep_any_arguments(store: &dyn RunStore) {
    let id = submit(store, "odd arguments").await;
    claimed(store, "odd arguments", "w1").await;
    // The field after `z` has a name that `serde_json` reserves.
    let odd = json!({ "z": 1, "$serde_json::private::RawValue": "x" });
    let odd = NewApproval::new(id, "2/tool:1", "refund", &odd);
    let asked = ok(store.request_approval(odd).await);
    assert_eq!(found(store, &asked.id).await.arguments.get(), asked.arguments.get());
}

async fn approvals_expire_and_close<F: Future<Output = ()>>(store: &dyn RunStore, pass: &impl Fn(Duration) -> F) {
    let id = submit(store, "expiry").await;
    let held = claimed(store, "expiry", "w1").await;
    let short = ok(store.request_approval(refund(id, 1).expires_in(LEASE)).await);
    let long = ok(store.request_approval(refund(id, 2).expires_in(LEASE * 9)).await);
    assert!(short.time_left <= LEASE && short.expires_at < long.expires_at);
    pass(LEASE * 2).await;
    let expired = ok(store.request_approval(refund(id, 1)).await);
    assert_eq!((expired.id, expired.status), (short.id.clone(), ApprovalStatus::Expired));
    assert_eq!(ok(store.answer_approval(&short.id, ApprovalAnswer::approve("ada")).await), Answered::Expired);
    assert_eq!(pending(store, id).await, std::slice::from_ref(&long.id));
    let by_status = async |status| {
        let query = ApprovalQuery::default().run(id).status(status);
        ok(store.approvals(&query).await).into_iter().map(|approval| approval.id).collect::<Vec<_>>()
    };
    assert_eq!(by_status(ApprovalStatus::Expired).await, std::slice::from_ref(&short.id));
    ok(store.renew(std::slice::from_ref(&held.fence), LEASE).await);
    ok(store.commit(&commit(&held, 1, NextState::Finish(text("done")))).await);
    assert_eq!(ok(store.answer_approval(&long.id, ApprovalAnswer::approve("ada")).await), Answered::Ended);
    assert_eq!(by_status(ApprovalStatus::Closed).await, std::slice::from_ref(&long.id));
    pass(LEASE * 9).await;
    assert_eq!(by_status(ApprovalStatus::Closed).await, [long.id], "what was closed does not expire");
    assert_eq!(by_status(ApprovalStatus::Expired).await, [short.id], "what had expired before the end is not closed");
}

/// Whichever comes first decides, also if both come at once.
async fn a_cancel_and_an_answer_exclude_each_other(store: &dyn RunStore) {
    for is_answered_first in (0..50).map(|number| number % 2 == 0) {
        let id = submit(store, "cancel").await;
        let held = claimed(store, "cancel", "w1").await;
        let approval = ok(store.request_approval(refund(id, 1)).await);
        let cancel = store.signal(id, NewSignal::new(SignalKind::Cancel, text("")).key("cancel"));
        let answer = store.answer_approval(&approval.id, ApprovalAnswer::approve("ada"));
        let (cancelled, answered) = if is_answered_first {
            let (answered, cancelled) = tokio::join!(answer, cancel);
            (cancelled, answered)
        } else {
            tokio::join!(cancel, answer)
        };
        match (ok(cancelled), ok(answered)) {
            (Signalled::Stored(1), Answered::Ended) => {
                let closed = found(store, &approval.id).await;
                assert_eq!(closed.status, ApprovalStatus::Closed, "the call of a run to be cancelled is not made");
                assert!(pending(store, id).await.is_empty());
            }
            (Signalled::Stored(2), Answered::Stored) => {}
            other => panic!("an answer after a cancel is refused: {other:?}"),
        }
        let cancelled = NextState::Cancel(text("cancelled"));
        ok(store.commit(&commit(&held, 1, cancelled).consumed(vec![1, 2])).await);
        let late = ok(store.answer_approval(&approval.id, ApprovalAnswer::deny("ada")).await);
        assert!(matches!(late, Answered::Ended | Answered::Clash), "a cancelled run gets no answer: {late:?}");
    }
}

async fn approvals_are_erased_with_the_content_and_removed_by_a_cut(store: &dyn RunStore) {
    let id = submit(store, "erased").await;
    let held = claimed(store, "erased", "w1").await;
    let edited = ok(store.request_approval(refund(id, 250)).await);
    let inside = NewApproval { path: "3/tool:1/critic/1/tool:1".to_owned(), ..refund(id, 250) };
    let inside = ok(store.request_approval(inside).await);
    let answer = ApprovalAnswer::approve("ada").arguments(&json!({ "amount": 99 }));
    ok(store.answer_approval(&edited.id, answer.clone()).await);
    assert_eq!(found(store, &edited.id).await.answer, Some(answer), "both arguments are kept");
    let steps = vec![step("2", "done"), step("3", "done"), step("3/tool:1/critic/1", "done")];
    ok(store.commit(&commit(&held, 1, NextState::Fail("no".to_owned())).steps(steps)).await);
    assert!(ok(store.resume(id, &["3".to_owned(), "3/tool:1/critic/1".to_owned()]).await));
    assert!(ok(store.approvals(&ApprovalQuery::default().id(inside.id)).await).is_empty(), "it is asked again");
    let held = claimed(store, "erased", "w1").await;
    ok(store.commit(&commit(&held, 2, NextState::Finish(text("done"))).erase(true)).await);
    let erased = found(store, &edited.id).await;
    assert_eq!(erased.arguments, RawJson::empty_object());
    let kept = erased.answer.map(|answer| (answer.arguments.clone(), answer.is_edited()));
    assert_eq!((kept, erased.sha256), (Some((None, true)), edited.sha256), "the digests stay");
}

fn refund(run: RunId, amount: u32) -> NewApproval {
    NewApproval::new(run, "2/tool:1", "refund", &json!({ "amount": amount }))
}

async fn found(store: &dyn RunStore, id: &str) -> Approval {
    let Some(approval) = ok(store.approvals(&ApprovalQuery::default().id(id)).await).pop() else {
        panic!("the approval is kept")
    };
    approval
}

/// The ids of the approvals of a run that can be answered.
async fn pending(store: &dyn RunStore, run: RunId) -> Vec<String> {
    let query = ApprovalQuery::default().run(run).status(ApprovalStatus::Pending);
    ok(store.approvals(&query).await).into_iter().map(|approval| approval.id).collect()
}
