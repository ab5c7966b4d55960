use brigade_core::{BreakerState, ChatModel, ModelErrorKind, Run};

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
async fn wrappers_without_accounts_share_nothing() {
    let one = Fake::broken("m", ModelErrorKind::Quota).breaker(BreakerSettings::default());
    let other = Fake::healthy("m").breaker(BreakerSettings::default());
    one.chat(&question(), &Run::new()).await.unwrap_err();
    assert!(other.chat(&question(), &Run::new()).await.is_ok());
}
