use std::time::Duration;

use brigade_core::{
    Agent, Budget, ModelErrorKind, Runnable,
    testing::{ScriptedModel, Turn},
};

use super::*;
use crate::fixtures::worker;

#[tokio::test]
async fn a_panicking_worker_counts_as_one_without_an_answer() {
    let reviewers =
        Quorum::new("reviewers").worker(worker("ann", Turn::text("yes"))).worker(worker("mad", Turn::panics()));
    let outcome = reviewers.run("Ship it?").await.unwrap();
    assert_eq!((outcome.text.as_str(), outcome.degraded.len()), ("ann: yes", 1));
}

#[tokio::test]
async fn an_unreachable_quorum_fails_before_any_call_and_at_least_one_worker_must_answer() {
    let ann = ScriptedModel::new([Turn::fails(ModelErrorKind::Auth)]);
    let quorum = |needed| Quorum::new("reviewers").worker(Worker::new(Agent::new("ann", ann.clone()))).at_least(needed);
    let error = quorum(2).run("Ship it?").await.unwrap_err();
    assert!(error.to_string().contains("0 of 1 workers answered, 2 must"), "{error}");
    assert_eq!(ann.turns_left(), 1);
    let error = quorum(0).run("Ship it?").await.unwrap_err();
    assert!(error.to_string().contains("0 of 1 workers answered, 1 must"), "{error}");
}

#[tokio::test]
async fn a_quorum_answers_when_enough_do() {
    let reviewers = |needed| {
        Quorum::new("reviewers")
            .worker(worker("ann", Turn::text("yes")))
            .worker(worker("bob", Turn::fails(ModelErrorKind::Transient)))
            .worker(worker("cid", Turn::text("no")))
            .at_least(needed)
    };
    let outcome = Runnable::run(&reviewers(2), &Run::new(), "Ship it?".into()).await.unwrap();
    assert_eq!(outcome.text, "ann: yes\n\ncid: no");
    assert_eq!(outcome.degraded.len(), 1);
    let error = Runnable::run(&reviewers(3), &Run::new(), "Ship it?".into()).await.unwrap_err();
    assert!(error.to_string().contains("2 of 3 workers answered, 3 must"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_worker_does_not_hold_up_the_workers_behind_it() {
    let seconds = |index: u64| if index == 0 { 60 } else { 5 };
    let quorum = (0..57).fold(Quorum::new("reviewers"), |quorum, index| {
        let reply = Turn::text(&index.to_string()).after(Duration::from_secs(seconds(index)));
        quorum.worker(worker(&format!("w{index}"), reply))
    });
    let started = tokio::time::Instant::now();
    let outcome = quorum.run_in(&Run::builder().budget(Budget::unlimited()).build(), "Ship it?").await.unwrap();
    assert_eq!(started.elapsed(), Duration::from_mins(1));
    let expected: Vec<_> = (0..57).map(|index| format!("w{index}: {index}")).collect();
    assert_eq!(outcome.text, expected.join("\n\n"), "the answers are in the order of the workers");
}
