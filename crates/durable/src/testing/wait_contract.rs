//! The part of the contract of [`RunStore`](crate::RunStore) about waiting.

#![expect(clippy::panic, reason = "a test fails with the name of the broken rule")]

use std::time::Duration;

use brigade_core::RunId;
use jiff::Timestamp;
use serde_json::json;

use super::contract::{LEASE, claim, claimed, commit, message, ok, step, submit, text};
use crate::{
    ApprovalAnswer, ClientCall, Committed, NewApproval, NewSignal, NextState, RunState, RunStore, SignalKind,
    Signalled, WaitReason, Waiting, store::client_call::IssuedCall,
};

/// How often a signal is sent while a commit lets its run wait.
const RACES: u64 = 100;

pub(super) async fn wait_contract<F: Future<Output = ()>>(store: &dyn RunStore, pass: &impl Fn(Duration) -> F) {
    a_claim_has_the_time_of_the_store(store, pass).await;
    a_wait_is_kept_as_it_was_committed(store).await;
    each_kind_of_wait_ends_with_a_signal(store).await;
    signals_are_numbered_and_consumed_with_a_commit(store).await;
    a_signal_that_races_with_a_wait_is_not_lost(store).await;
    the_wait_that_ends_first_is_claimed_first(store, pass).await;
}

async fn a_claim_has_the_time_of_the_store<F: Future<Output = ()>>(
    store: &dyn RunStore,
    pass: &impl Fn(Duration) -> F,
) {
    let id = submit(store, "clock").await;
    let first = claimed(store, "clock", "w1").await;
    assert!(first.claimed_at >= first.run.submitted_at, "a claim has the time of the store");
    let age = Timestamp::now().duration_since(first.claimed_at).as_secs().abs();
    assert!(age < 86_400, "it is a time of these days: {}", first.claimed_at);
    ok(store.commit(&commit(&first, 1, wait_for(WaitReason::Timer, 0, Some(LEASE)))).await);
    pass(LEASE * 2).await;
    let second = claimed(store, "clock", "w1").await;
    assert_eq!(second.run.id, id);
    assert!(second.claimed_at >= first.claimed_at, "the time does not go back");
    ok(store.commit(&commit(&second, 2, NextState::Finish(text("done")))).await);
}

async fn a_wait_is_kept_as_it_was_committed(store: &dyn RunStore) {
    let id = submit(store, "kept waits").await;
    let held = claimed(store, "kept waits", "w1").await;
    let issued = IssuedCall { id: "call_1".to_owned(), expires_at: Timestamp::UNIX_EPOCH };
    // The field after `z` has a name that `serde_json` reserves.
    let arguments = brigade_core::RawJson::parse(r#"{"z":1.50,"$serde_json::private::RawValue":"x"}"#.to_owned());
    let call = ClientCall::new(issued, "open_file", ok(arguments), "2/tool:1");
    let paths = vec!["2/tool:1".to_owned(), "2/tool:2".to_owned()];
    let waiting = Waiting::new(WaitReason::ClientTool, paths, "Run it.").calls(vec![call]);
    let wait = NextState::Wait { waiting: waiting.clone(), seen: 0, within: None };
    ok(store.commit(&commit(&held, 1, wait)).await);
    assert_eq!(ok(store.find(id).await).and_then(|run| run.waiting), Some(waiting), "a wait is kept as it is");
    ok(store.signal(id, message("go on")).await);
    let held = claimed(store, "kept waits", "w1").await;
    assert_eq!(ok(store.find(id).await).and_then(|run| run.waiting), None, "a run at work does not wait");
    ok(store.commit(&commit(&held, 2, NextState::Finish(text("done")))).await);
}

async fn each_kind_of_wait_ends_with_a_signal(store: &dyn RunStore) {
    let id = submit(store, "kinds").await;
    for (number, reason) in (1..).zip(WaitReason::ALL) {
        let held = claimed(store, "kinds", "w1").await;
        let wait = commit(&held, number, wait_for(reason, held.run.signal_number, Some(LEASE * 9)));
        ok(store.commit(&wait).await);
        assert_eq!(ok(store.find(id).await).and_then(|run| run.waiting).map(|waiting| waiting.reason), Some(reason));
        assert!(claim(store, "kinds", "w1").await.is_none(), "a run that waits is not claimed: {reason:?}");
        ok(store.signal(id, message("go on")).await);
        assert_eq!(ok(store.find(id).await).map(|run| run.status), Some(RunState::Ready), "{reason:?}");
    }
    let held = claimed(store, "kinds", "w1").await;
    ok(store.commit(&commit(&held, 6, NextState::Finish(text("done")))).await);
}

async fn signals_are_numbered_and_consumed_with_a_commit(store: &dyn RunStore) {
    let (id, other) = (submit(store, "numbers").await, submit(store, "other numbers").await);
    for (run, payload) in [(id, "a"), (other, "b"), (id, "c")] {
        ok(store.signal(run, message(payload)).await);
    }
    let held = claimed(store, "numbers", "w1").await;
    let approval = NewApproval::new(id, "1/tool:1", "refund", &json!({}));
    let approval = ok(store.request_approval(approval).await);
    ok(store.answer_approval(&approval.id, ApprovalAnswer::approve("ada")).await);
    let result = NewSignal::new(SignalKind::ToolResult, text("d")).key("call_1");
    assert_eq!(ok(store.signal(id, result.clone()).await), Signalled::Stored(4), "an answer takes a number too");
    let open = |run: RunId| async move {
        let signals = ok(store.signals(run).await).into_iter();
        signals.map(|signal| (signal.number, signal.payload.get().to_owned())).collect::<Vec<_>>()
    };
    let all = [(1, r#""a""#), (2, r#""c""#), (4, r#""d""#)].map(|(number, text)| (number, text.to_owned()));
    assert_eq!(open(id).await, all, "signals have the order and the text in which they were sent");
    ok(store.commit(&commit(&held, 1, NextState::Continue).steps(vec![step("1", "done")]).consumed(vec![2])).await);
    assert_eq!(open(id).await, [all[0].clone(), all[2].clone()], "a commit consumes the signals that it names");
    assert_eq!(open(other).await.len(), 1, "and those of its own run only");
    ok(store.commit(&commit(&held, 2, NextState::Continue).consumed(vec![4])).await);
    assert_eq!(ok(store.signal(id, result).await), Signalled::Same(4), "a consumed signal is known by its key");
    assert_eq!(open(id).await.len(), 1);
    ok(store.commit(&commit(&held, 3, NextState::Finish(text("done")))).await);
}

async fn a_signal_that_races_with_a_wait_is_not_lost(store: &dyn RunStore) {
    let id = submit(store, "races").await;
    let mut number = 0;
    for race in 0..RACES {
        let held = claimed(store, "races", "w1").await;
        assert_eq!(held.signals.len(), 1.min(usize::try_from(race).unwrap_or(1)), "the last signal is seen");
        let used = held.signals.iter().map(|signal| signal.number).collect();
        let wait = commit(&held, number + 1, wait_for(WaitReason::Signal, held.run.signal_number, None)).consumed(used);
        let (committed, signalled) = if race % 2 == 0 {
            tokio::join!(store.commit(&wait), store.signal(id, message("go on")))
        } else {
            let (signalled, committed) = tokio::join!(store.signal(id, message("go on")), store.commit(&wait));
            (committed, signalled)
        };
        assert_eq!(ok(signalled), Signalled::Stored(race + 1));
        number += 1;
        if ok(committed) == Committed::Signalled {
            number += 1;
            ok(store.commit(&commit(&held, number, NextState::Release)).await);
        }
        let status = ok(store.find(id).await).map(|run| run.status);
        assert_eq!(status, Some(RunState::Ready), "the run goes on, whichever came first");
    }
    let held = claimed(store, "races", "w1").await;
    ok(store.commit(&commit(&held, number + 1, NextState::Finish(text("done")))).await);
}

async fn the_wait_that_ends_first_is_claimed_first<F: Future<Output = ()>>(
    store: &dyn RunStore,
    pass: &impl Fn(Duration) -> F,
) {
    let mut ids = Vec::new();
    for factor in [3, 1, 2] {
        ids.push(submit(store, "timers").await);
        let held = claimed(store, "timers", "w1").await;
        ok(store.commit(&commit(&held, 1, wait_for(WaitReason::Timer, 0, Some(LEASE * factor)))).await);
    }
    pass(LEASE * 4).await;
    let request = crate::ClaimRequest::new("w1", vec!["timers".into()], 10, LEASE);
    let claims = ok(store.claim(&request).await);
    let order: Vec<_> = claims.iter().map(|claim| claim.run.id).collect();
    let [last, first, second] = ids[..] else { panic!("three runs wait") };
    assert_eq!(order, [first, second, last], "the run that is due longest comes first");
    for held in &claims {
        ok(store.commit(&commit(held, 2, NextState::Finish(text("done")))).await);
    }
}

fn wait_for(reason: WaitReason, seen: u64, within: Option<Duration>) -> NextState {
    NextState::Wait { waiting: Waiting::new(reason, vec!["2/tool:1".to_owned()], "It waits."), seen, within }
}
