use brigade_core::{ModelErrorKind as Kind, TimeoutPhase};
use tokio::{
    task::JoinSet,
    time::{advance, sleep},
};

use super::*;
use crate::{
    Accounts,
    testing::{Fake, error, event_lines, observed_run, question, reply, seconds},
};

async fn ask(model: &impl ChatModel) -> Option<Kind> {
    model.chat(&question(), &Run::new()).await.err().map(|error| error.kind())
}

fn breaker(fake: Fake, accounts: &Accounts) -> Breaker<Fake> {
    Breaker::new(fake, BreakerSettings::default()).within(accounts)
}

#[test]
fn the_break_of_a_stale_connection_is_not_a_failure_of_the_provider() {
    let transient = error(Kind::Transient);
    assert!(matches!(model_result(Some(&transient), Duration::ZERO), CallResult::Failure { .. }));
    let stale = transient.with(|details| details.stale_connection = true);
    assert!(matches!(model_result(Some(&stale), Duration::ZERO), CallResult::Ignored));
}

#[tokio::test(start_paused = true)]
async fn only_failures_of_the_provider_open_the_circuit() {
    let failures =
        [Kind::Overloaded, Kind::Unreachable, Kind::Transient, Kind::Timeout(TimeoutPhase::FirstDelta), Kind::Broken];
    for kind in failures {
        let model = breaker(Fake::broken("m", kind), &Accounts::seeded(1));
        for _ in 0..7 {
            assert_eq!(ask(&model).await, Some(kind));
        }
        assert_eq!(ask(&model).await, Some(Kind::CircuitOpen));
    }
    let others = [
        Kind::RateLimited,
        Kind::Caller,
        Kind::Refused,
        Kind::ContextLength,
        Kind::Budget,
        Kind::Cancelled,
        Kind::CircuitOpen,
    ];
    for kind in others {
        let fake = Fake::broken("m", kind);
        let model = breaker(fake.clone(), &Accounts::seeded(1));
        for _ in 0..50 {
            ask(&model).await;
        }
        assert_eq!(fake.calls(), 50, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn rejected_requests_reset_the_failure_count_and_rate_limits_do_not() {
    for (between, opens) in [(Kind::Caller, false), (Kind::ContextLength, false), (Kind::RateLimited, true)] {
        let mut kinds = vec![Kind::Transient; 6];
        kinds.extend([between, Kind::Transient]);
        let fake = Fake::failing("m", &kinds);
        let model = breaker(fake, &Accounts::seeded(1));
        for _ in 0..8 {
            ask(&model).await;
        }
        assert_eq!(ask(&model).await, opens.then_some(Kind::CircuitOpen), "{between:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_that_does_not_exist_is_blocked_for_a_minute_and_no_other_model() {
    let accounts = Accounts::seeded(1);
    let (gone, other) = (Fake::failing("gone", &[Kind::NoSuchModel]), Fake::healthy("other"));
    let (gone_model, other_model) = (breaker(gone.clone(), &accounts), breaker(other, &accounts));
    assert_eq!(ask(&gone_model).await, Some(Kind::NoSuchModel));
    assert_eq!((ask(&gone_model).await, ask(&other_model).await), (Some(Kind::CircuitOpen), None));
    assert_eq!(gone.calls(), 1);
    advance(Duration::from_mins(1)).await;
    assert_eq!(ask(&gone_model).await, None);
}

#[tokio::test(start_paused = true)]
async fn rejected_credentials_or_exhausted_quota_block_every_model_of_the_account() {
    for kind in [Kind::Quota, Kind::Auth] {
        let accounts = Accounts::seeded(1);
        let (big, small) = (Fake::failing("big", &[kind]), Fake::healthy("small"));
        let (one, other) = (breaker(big.clone(), &accounts), breaker(small.clone(), &accounts));
        assert_eq!(ask(&one).await, Some(kind));
        assert_eq!((ask(&one).await, ask(&other).await), (Some(Kind::CircuitOpen), Some(Kind::CircuitOpen)));
        assert_eq!((big.calls(), small.calls()), (1, 0));
        advance(Duration::from_mins(15)).await;
        assert_eq!((ask(&other).await, ask(&one).await), (None, None));
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_reports_its_cause_and_the_remaining_time() {
    let model = breaker(Fake::broken("m", Kind::Quota), &Accounts::seeded(1));
    ask(&model).await;
    advance(seconds(60)).await;
    let error = model.chat(&question(), &Run::new()).await.unwrap_err();
    assert_eq!(error.retry(), RetryAdvice::After(seconds(840)));
    let message = "a/m: the account is blocked for another 840.0s; the last failure was: quota (circuit_open)";
    assert_eq!(error.to_string(), message);
}

#[tokio::test(start_paused = true)]
async fn of_many_concurrent_calls_exactly_one_probes() {
    let down_for_a_while = Fake::new("m", |call, _| async move {
        sleep(seconds(1)).await;
        if call <= 7 { Err(error(Kind::Transient)) } else { Ok(reply("ok")) }
    });
    let model = breaker(down_for_a_while.clone(), &Accounts::seeded(1));
    for _ in 0..7 {
        ask(&model).await;
    }
    sleep(seconds(2)).await;
    let mut crowd = JoinSet::new();
    for _ in 0..50 {
        let model = model.clone();
        crowd.spawn(async move { ask(&model).await });
    }
    let outcomes = crowd.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_none()).count(), 1);
    assert_eq!(down_for_a_while.calls(), 8);
    assert_eq!(ask(&model).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_probe_lets_the_next_call_probe() {
    let hangs_once = Fake::new("m", |call, _| async move {
        match call {
            ..=7 => Err(error(Kind::Transient)),
            8 => std::future::pending().await,
            _ => Ok(reply("ok")),
        }
    });
    let model = breaker(hangs_once, &Accounts::seeded(1));
    for _ in 0..7 {
        ask(&model).await;
    }
    advance(seconds(2)).await;
    assert!(tokio::time::timeout(seconds(5), ask(&model)).await.is_err());
    assert_eq!(ask(&model).await, None);
}

#[tokio::test(start_paused = true)]
async fn each_state_change_is_emitted_to_the_run_that_caused_it() {
    let model = breaker(Fake::failing("m", &[Kind::Transient; 8]), &Accounts::seeded(1));
    let (run, recorder) = observed_run();
    for _ in 0..7 {
        assert!(model.chat(&question(), &run).await.is_err());
    }
    advance(seconds(2)).await;
    assert!(model.chat(&question(), &run).await.is_err());
    advance(seconds(3)).await;
    assert!(model.chat(&question(), &run).await.is_ok());
    let changes = ["open", "half_open", "open", "half_open", "closed"].map(|state| format!("breaker a/m {state}"));
    assert_eq!(event_lines(&recorder), changes);
}
