use std::time::Duration;

use brigade_core::{BreakerState, ChatModel, ModelErrorKind, RetryAdvice, Run, Settings};

use super::*;
use crate::{
    Breaker, LimitHealth, RateLimit, Resilient, Retry,
    testing::{Fake, question, retry_after, seconds},
};

fn guarded(fake: Fake, accounts: &Accounts) -> impl ChatModel {
    let limited =
        RateLimit::new(fake, RateLimitSettings { requests_per_minute: Some(60), ..RateLimitSettings::default() })
            .within(accounts);
    Retry::new(Breaker::new(limited, BreakerSettings::default()).within(accounts), RetrySettings::default())
        .within(accounts)
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_shows_every_model_by_name() {
    let accounts = Accounts::seeded(1);
    let well = guarded(Fake::healthy("well"), &accounts);
    let limited = Fake::new("limited", |_, _| async { Err(retry_after(ModelErrorKind::RateLimited, seconds(60))) });
    let limited = guarded(limited, &accounts);
    well.chat(&question(), &Run::new()).await.unwrap();
    limited.chat(&question(), &Run::new()).await.unwrap_err();

    let [first, second] = accounts.snapshot().try_into().unwrap();
    assert_eq!((first.model, second.model), (limited.id().clone(), well.id().clone()));
    assert_eq!((first.last_error, second.last_error), (Some(ModelErrorKind::RateLimited), None));
    assert_eq!((first.paused_for, second.paused_for), (Some(seconds(60)), Some(seconds(60))), "the account rests");
    assert_eq!(second.headroom, [LimitHealth { name: "requests_per_minute", limit: 60, remaining: 59 }]);
    assert_eq!((second.breaker, second.credential), (Some(BreakerState::Closed), Some(BreakerState::Closed)));
    assert_eq!((second.waiting, second.in_flight, second.retries_left), (0, 0, Some(10)));
}

#[tokio::test(start_paused = true)]
async fn a_breaker_can_be_opened_and_closed_manually() {
    let accounts = Accounts::seeded(1);
    let model = guarded(Fake::failing("m", &[ModelErrorKind::Quota]), &accounts);
    let ask = async || model.chat(&question(), &Run::new()).await.err().map(|error| error.to_string());
    assert!(accounts.open(model.id()));
    assert!(!accounts.snapshot()[0].is_available());
    let message = "a/m: the model was blocked manually until it is unblocked (circuit_open)";
    assert_eq!(ask().await.as_deref(), Some(message));
    assert!(accounts.close(model.id()));
    assert_eq!(ask().await.as_deref(), Some("scripted failure (quota)"));
    assert!(!accounts.snapshot()[0].is_available());
    assert!(accounts.close(model.id()), "also what the account's credentials have opened");
    assert_eq!(ask().await, None);
    assert!(!accounts.open(&ModelId::new("a", "unknown")));
}

#[tokio::test(start_paused = true)]
async fn all_models_of_an_account_show_the_state_of_its_circuit_at_any_time() {
    let accounts = Accounts::seeded(1);
    let one = guarded(Fake::failing("one", &[ModelErrorKind::Quota]), &accounts);
    let other = guarded(Fake::healthy("other"), &accounts);
    let states = || accounts.snapshot().iter().map(|model| model.breaker_state().unwrap()).collect::<Vec<_>>();
    one.chat(&question(), &Run::new()).await.unwrap_err();
    assert_eq!(states(), [BreakerState::Open; 2]);
    // No call comes while the opening elapses.
    tokio::time::advance(seconds(15 * 60)).await;
    assert_eq!(states(), [BreakerState::HalfOpen; 2]);
    assert!(accounts.snapshot().iter().all(ModelHealth::is_available));
    other.chat(&question(), &Run::new()).await.unwrap();
    assert_eq!(states(), [BreakerState::Closed; 2], "the other model has closed the circuit");
}

/// The delays of two retries, and for how long the circuit of an opened model stays open.
async fn random_delays(accounts: &Accounts) -> (Duration, Duration) {
    let fake = Fake::broken("m", ModelErrorKind::Overloaded);
    let started = Instant::now();
    let model = Retry::new(fake.clone(), RetrySettings::default()).within(accounts);
    model.chat(&question(), &Run::new()).await.unwrap_err();
    let retried = started.elapsed();
    let model = Breaker::new(fake, BreakerSettings::default().failures_in_row(1)).within(accounts);
    model.chat(&question(), &Run::new()).await.unwrap_err();
    let refusal = model.chat(&question(), &Run::new()).await.unwrap_err();
    let RetryAdvice::After(open) = refusal.retry() else { panic!("{refusal}") };
    (retried, open)
}

#[tokio::test(start_paused = true)]
async fn registries_with_the_same_seed_have_the_same_random_delays() {
    let first = random_delays(&Accounts::seeded(7)).await;
    assert_eq!(random_delays(&Accounts::seeded(7)).await, first);
    let other = random_delays(&Accounts::seeded(8)).await;
    assert!(other.0 != first.0 && other.1 != first.1, "{first:?} {other:?}");
    let unseeded = random_delays(&Accounts::new()).await;
    assert!(unseeded.0 != first.0 && unseeded.1 != first.1, "{first:?} {unseeded:?}");
}

#[tokio::test(start_paused = true)]
async fn a_model_without_a_breaker_cannot_be_opened_or_closed() {
    let accounts = Accounts::seeded(1);
    let model = Retry::new(Fake::healthy("m"), RetrySettings::default()).within(&accounts);
    assert_eq!(accounts.snapshot().len(), 1);
    assert!(!accounts.open(model.id()) && !accounts.close(model.id()));
    assert!(!accounts.close(&ModelId::new("a", "unknown")));
}

#[tokio::test(start_paused = true)]
async fn shared_state_is_set_up_with_the_settings_of_the_first_wrapper() {
    let accounts = Accounts::seeded(1);
    let fake = Fake::broken("m", ModelErrorKind::Overloaded);
    let retry = RetrySettings::default().budget_per_second(3);
    let _hedge = crate::Hedge::new(fake.clone(), seconds(1), retry).within(&accounts);
    let _limited = RateLimit::new(fake.clone(), RateLimitSettings::default().requests_per_minute(7)).within(&accounts);
    let model = Breaker::new(fake.clone(), BreakerSettings::default().failures_in_row(1)).within(&accounts);
    model.chat(&question(), &Run::new()).await.unwrap_err();
    let [health] = accounts.snapshot().try_into().unwrap();
    assert_eq!(health.headroom, [LimitHealth { name: "requests_per_minute", limit: 7, remaining: 7 }]);
    assert_eq!((health.breaker, health.retries_left), (Some(BreakerState::Open), Some(30)));
    let retried = Retry::new(Fake::healthy("other"), retry).within(&accounts);
    assert_eq!(accounts.snapshot()[1].retries_left, Some(30), "{}", retried.id());
}

#[tokio::test(start_paused = true)]
async fn every_wrapper_has_the_id_and_the_settings_of_its_model() {
    let settings = Settings::default().max_output_tokens(Some(77));
    let fake = Fake::healthy("m").with_settings(settings.clone());
    let wrapped: [Arc<dyn ChatModel>; 7] = [
        Arc::new(fake.clone().timeout(crate::Timeouts::default())),
        Arc::new(fake.clone().rate_limit(RateLimitSettings::default())),
        Arc::new(fake.clone().breaker(BreakerSettings::default())),
        Arc::new(fake.clone().retry(RetrySettings::default())),
        Arc::new(fake.clone().hedge(seconds(1), RetrySettings::default())),
        Arc::new(fake.clone().fallback(Fake::healthy("other"))),
        crate::Policy::default().wrap(fake.clone(), [], &Accounts::new()),
    ];
    for model in wrapped {
        assert_eq!((model.id(), model.settings()), (fake.id(), &settings), "{model:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn wrappers_without_accounts_share_nothing() {
    let one = Fake::broken("m", ModelErrorKind::Quota).breaker(BreakerSettings::default());
    let other = Fake::healthy("m").breaker(BreakerSettings::default());
    one.chat(&question(), &Run::new()).await.unwrap_err();
    assert!(other.chat(&question(), &Run::new()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_shown_state_is_that_of_the_breaker_that_hinders_most() {
    use BreakerState::{Closed, HalfOpen, Open};
    let accounts = Accounts::seeded(1);
    let _model = guarded(Fake::healthy("m"), &accounts);
    let mut health = accounts.snapshot().remove(0);
    for (breaker, credential, shown) in
        [(Open, HalfOpen, Open), (HalfOpen, Open, Open), (HalfOpen, Closed, HalfOpen), (Closed, Closed, Closed)]
    {
        (health.breaker, health.credential) = (Some(breaker), Some(credential));
        assert_eq!((health.breaker_state(), health.is_available()), (Some(shown), shown != Open));
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_exactly_the_longest_length_is_waited_for() {
    for (pause, waits) in [(seconds(30), true), (seconds(30) + Duration::from_millis(1), false)] {
        let fake = Fake::new("m", move |call, _| async move {
            if call == 1 {
                Err(retry_after(ModelErrorKind::RateLimited, pause))
            } else {
                Ok(crate::testing::reply("ok"))
            }
        });
        let model = RateLimit::new(fake, RateLimitSettings::default());
        model.chat(&question(), &Run::new()).await.unwrap_err();
        assert_eq!(model.chat(&question(), &Run::new()).await.is_ok(), waits, "{pause:?}");
    }
}
