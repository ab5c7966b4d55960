use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use brigade_core::{
    BreakerState, Budget, ChatReply, ModelError, ModelErrorKind as Kind, RateLimitStatus, RateLimits, RetryAdvice, Run,
    TimeoutPhase,
    testing::{ScriptedModel, Turn, model_contract},
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::*;
use crate::testing::{Fake, emit_text, error, event_lines, observed_run, question, reply, retry_after, seconds};

fn wrap(model: Fake, fallbacks: Vec<Fake>, accounts: &Accounts) -> Arc<dyn ChatModel> {
    let policy = Policy::default();
    let guarded = |fallback| FallbackModel::new(policy.wrap(fallback, [], accounts));
    policy.wrap(model, fallbacks.into_iter().map(guarded), accounts)
}

async fn timed(model: &dyn ChatModel) -> (Result<ChatReply, ModelError>, Duration) {
    let started = Instant::now();
    let result = model.chat(&question(), &Run::new()).await;
    (result, started.elapsed())
}

#[tokio::test(start_paused = true)]
async fn the_standard_stack_passes_the_model_contract() {
    let model = ScriptedModel::new((0..8).map(|_| Turn::text("Hello.").after(seconds(1))));
    model_contract(&Policy::default().wrap(model, [], &Accounts::seeded(1))).await;
    let hedged = Policy { hedge_after: Some(seconds(30)), ..Policy::default() };
    let model = ScriptedModel::new((0..8).map(|_| Turn::text("Hello.").after(seconds(1))));
    model_contract(&hedged.wrap(model, [], &Accounts::seeded(1))).await;
}

#[test]
fn settings_round_trip_through_json_and_unknown_keys_are_rejected() {
    let policy = Policy { hedge_after: Some(seconds(7)), ..Policy::default() };
    let written = serde_json::to_string(&policy).unwrap();
    assert_eq!(serde_json::from_str::<Policy>(&written).unwrap(), policy);
    assert_eq!(serde_json::from_str::<Policy>("{}").unwrap(), Policy::default());
    let few = r#"{"timeouts": {"idle": "30s"}, "limits": {"charging": "anthropic", "requests_per_minute": 50}}"#;
    let few: Policy = serde_json::from_str(few).unwrap();
    assert_eq!((few.timeouts.idle, few.timeouts.attempt), (seconds(30), seconds(600)));
    assert!(serde_json::from_str::<Policy>(r#"{"retries": 5}"#).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_429_with_a_short_delay_ends_in_an_answer() {
    for wait in [seconds(2), Duration::from_millis(1_500)] {
        let fake = Fake::new("m", move |call, _| async move {
            if call == 1 { Err(retry_after(Kind::RateLimited, wait)) } else { Ok(reply("ok")) }
        });
        let (result, elapsed) = timed(&wrap(fake.clone(), vec![], &Accounts::seeded(1))).await;
        assert!(result.is_ok() && elapsed >= wait && elapsed <= seconds(3), "{elapsed:?}");
        assert_eq!(fake.calls(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn an_excessive_delay_is_returned_or_answered_by_a_fallback() {
    let day = seconds(86_400);
    let excessive = Fake::new("m", move |_, _| async move { Err(retry_after(Kind::RateLimited, day)) });
    let (result, elapsed) = timed(&wrap(excessive.clone(), vec![], &Accounts::seeded(1))).await;
    assert_eq!((result.unwrap_err().retry(), elapsed), (RetryAdvice::After(day), Duration::ZERO));

    let accounts = Accounts::seeded(1);
    let other = ScriptedModel::new([Turn::text("ok"), Turn::text("ok")]);
    let model = Policy::default().wrap(excessive.clone(), [other.into()], &accounts);
    for _ in 0..2 {
        let (result, elapsed) = timed(&model).await;
        assert!(result.is_ok() && elapsed.is_zero());
    }
    assert_eq!(excessive.calls(), 2, "the account is paused, so it is not called again");
}

#[tokio::test(start_paused = true)]
async fn an_account_without_quota_is_called_once_in_fifteen_minutes() {
    let accounts = Accounts::seeded(1);
    let exhausted = Fake::broken("m", Kind::Quota);
    let model = wrap(exhausted.clone(), vec![], &accounts);
    assert_eq!(timed(&model).await.0.unwrap_err().kind(), Kind::Quota);
    for _ in 0..14 {
        sleep(seconds(60)).await;
        assert_eq!(timed(&model).await.0.unwrap_err().kind(), Kind::CircuitOpen);
    }
    assert_eq!(exhausted.calls(), 1);
    assert_eq!(accounts.snapshot()[0].credential, Some(BreakerState::Open));
    sleep(seconds(60)).await;
    assert_eq!(timed(&model).await.0.unwrap_err().kind(), Kind::Quota);
}

/// One of two models is overloaded for a minute, while fifty runs call once a second.
#[tokio::test(start_paused = true)]
async fn an_overloaded_model_is_replaced_until_it_recovers() {
    let accounts = Accounts::seeded(1);
    let overload = Arc::new(AtomicBool::new(true));
    let is_overloaded = Arc::clone(&overload);
    let first = Fake::new("first", move |_, _| {
        let is_overloaded = Arc::clone(&is_overloaded);
        async move {
            sleep(Duration::from_millis(200)).await;
            if is_overloaded.load(Ordering::Relaxed) { Err(error(Kind::Overloaded)) } else { Ok(reply("ok")) }
        }
    });
    let second = ScriptedModel::new((0..4_000).map(|_| Turn::text("ok").after(seconds(1))));
    let model = Policy::default().wrap(first.clone(), [second.into()], &accounts);
    let mut runs = JoinSet::new();
    for _ in 0..50 {
        let model = Arc::clone(&model);
        runs.spawn(async move {
            let overload_ends = Instant::now() + seconds(60);
            let mut slowest = Duration::ZERO;
            let mut calls = 0;
            while Instant::now() < overload_ends {
                let (result, elapsed) = timed(&model).await;
                result.unwrap();
                (calls, slowest) = (calls + 1, slowest.max(elapsed));
            }
            (calls, slowest)
        });
    }
    let outcomes = runs.join_all().await;
    let calls: usize = outcomes.iter().map(|(calls, _)| calls).sum();
    assert!(outcomes.iter().all(|(_, slowest)| *slowest < seconds(5)));
    assert!(calls > 2_000 && first.calls() <= 100, "{} of {calls}", first.calls());

    overload.store(false, Ordering::Relaxed);
    let recovered = Instant::now();
    while accounts.snapshot().iter().any(|health| health.breaker != Some(BreakerState::Closed)) {
        timed(&model).await.0.unwrap();
    }
    assert!(recovered.elapsed() < seconds(20), "{:?}", recovered.elapsed());
}

#[tokio::test(start_paused = true)]
async fn each_attempt_has_its_own_timeout() {
    let silent = Fake::new("m", |_, _| std::future::pending());
    let accounts = Accounts::seeded(1);
    let policy = Policy {
        limits: RateLimitSettings { requests_per_minute: Some(60), ..RateLimitSettings::default() },
        ..Policy::default()
    };
    let model = policy.wrap(silent.clone(), [], &accounts);
    let (run, recorder) = observed_run();
    let started = Instant::now();
    assert!(model.chat(&question(), &run).await.is_err());
    assert!(started.elapsed() >= seconds(120) && started.elapsed() < seconds(121));
    assert_eq!(event_lines(&recorder), ["retry a/m #2: timeout_first_delta"]);
    assert_eq!(silent.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_silent_model_with_a_fallback_is_called_once() {
    let silent = Fake::new("m", |_, _| std::future::pending());
    let model = wrap(silent.clone(), vec![Fake::healthy("spare")], &Accounts::seeded(1));
    let (run, recorder) = observed_run();
    let started = Instant::now();
    assert!(model.chat(&question(), &run).await.is_ok());
    assert_eq!((started.elapsed(), silent.calls()), (seconds(60), 1));
    assert_eq!(event_lines(&recorder), ["a/m -> a/spare: timeout_first_delta"]);
}

/// At whatever point a caller gives up, nothing stays reserved, waiting or probing.
#[tokio::test(start_paused = true)]
async fn a_cancelled_call_leaves_nothing_behind() {
    let accounts = Accounts::seeded(1);
    let fake = Fake::new("m", |call, _| async move {
        sleep(Duration::from_millis(700)).await;
        match call % 4 {
            0 => Err(error(Kind::Transient)),
            1 => Err(retry_after(Kind::RateLimited, seconds(1))),
            _ => Ok(reply("ok")),
        }
    });
    let limits = RateLimitSettings { requests_per_minute: Some(120), burst_percent: 5, ..RateLimitSettings::default() };
    let model = Policy { limits, ..Policy::default() }.wrap(fake, [], &accounts);
    let mut calls = JoinSet::new();
    for limit in 0..400 {
        let model = Arc::clone(&model);
        calls.spawn(async move {
            let _ = timeout(Duration::from_millis(limit * 37), model.chat(&question(), &Run::new())).await;
        });
    }
    calls.join_all().await;
    let [health] = accounts.snapshot().try_into().unwrap();
    assert_eq!((health.waiting, health.in_flight), (0, 0));
    sleep(seconds(120)).await;
    assert!(timeout(seconds(10), model.chat(&question(), &Run::new())).await.is_ok());
}

/// Every duration of the settings, set to `value`.
fn with_each_duration(value: Duration) -> Vec<(&'static str, Policy)> {
    let policy = Policy::default;
    let timeouts = |set: fn(Timeouts, Duration) -> Timeouts| policy().timeouts(set(Timeouts::default(), value));
    let limits = |set: fn(RateLimitSettings, Duration) -> RateLimitSettings| {
        policy().limits(set(RateLimitSettings::default().requests_per_minute(5), value))
    };
    let breaker = |set: fn(BreakerSettings, Duration) -> BreakerSettings| {
        policy().breaker(set(BreakerSettings::default(), value))
    };
    let retry = |set: fn(RetrySettings, Duration) -> RetrySettings| {
        policy().retry(set(RetrySettings::default(), value)).breaker(BreakerSettings::default().failures_in_row(1_000))
    };
    vec![
        ("first_delta", timeouts(Timeouts::first_delta)),
        ("first_delta_reasoning", timeouts(Timeouts::first_delta_reasoning)),
        ("idle", timeouts(Timeouts::idle)),
        ("output_token", timeouts(Timeouts::output_token)),
        ("attempt", timeouts(Timeouts::attempt)),
        ("longest_wait", limits(RateLimitSettings::longest_wait)),
        ("longest_pause", limits(RateLimitSettings::longest_pause)),
        ("window", breaker(BreakerSettings::window)),
        ("shortest_open", breaker(BreakerSettings::shortest_open)),
        ("longest_open", breaker(BreakerSettings::longest_open)),
        ("credential_open", breaker(BreakerSettings::credential_open)),
        ("base", retry(RetrySettings::base)),
        ("cap", retry(RetrySettings::cap)),
        ("max_retry_after", retry(RetrySettings::max_retry_after)),
        ("budget_window", retry(RetrySettings::budget_window)),
        ("hedge_after", policy().hedge_after(value)),
        (
            "all",
            Policy {
                timeouts: Timeouts {
                    first_delta: value,
                    first_delta_reasoning: value,
                    idle: value,
                    output_token: value,
                    attempt: value,
                },
                limits: RateLimitSettings { longest_wait: value, longest_pause: value, ..RateLimitSettings::default() },
                breaker: BreakerSettings {
                    window: value,
                    shortest_open: value,
                    longest_open: value,
                    credential_open: value,
                    ..BreakerSettings::default()
                },
                retry: RetrySettings {
                    base: value,
                    cap: value,
                    max_retry_after: value,
                    budget_window: value,
                    ..RetrySettings::default()
                },
                hedge_after: Some(value),
                ..Policy::default()
            },
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn no_duration_of_the_settings_or_of_a_provider_is_too_long_or_too_short() {
    let kinds = [Kind::Auth, Kind::Overloaded, Kind::RateLimited, Kind::Broken, Kind::Timeout(TimeoutPhase::Idle)];
    let told = |wait: Duration| {
        let status = RateLimitStatus::default().limit(Some(9)).remaining(Some(0)).reset(Some(wait));
        RateLimits::default().requests(status).tokens(status).retry_after(Some(wait))
    };
    let durations = [Duration::MAX, Duration::from_secs(u64::MAX), Duration::from_nanos(u64::MAX), Duration::ZERO];
    for value in durations {
        for ((name, policy), kind) in with_each_duration(value).iter().flat_map(|case| kinds.map(|kind| (case, kind))) {
            for requested_wait in [None, Some(value)] {
                let fake = Fake::new("m", move |call, run| async move {
                    emit_text(&run, "a");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    if call > 3 {
                        return Ok(reply("ok"));
                    }
                    Err(error(kind).with(|failure| {
                        failure.retry = requested_wait.map_or(RetryAdvice::Backoff, RetryAdvice::After);
                        failure.limits = requested_wait.map(told).unwrap_or_default();
                    }))
                });
                let accounts = Accounts::seeded(1);
                let model = policy.wrap(fake, [], &accounts);
                // The deadline ends the long waits that the settings allow.
                let run = || Run::builder().budget(Budget::unlimited().wall(seconds(3_600))).build();
                for _ in 0..9 {
                    let _ = model.chat(&question(), &run()).await;
                    tokio::time::advance(seconds(2)).await;
                }
                assert_eq!(accounts.snapshot().len(), 1, "{name}, {kind:?}, {requested_wait:?}");
            }
        }
    }
}
