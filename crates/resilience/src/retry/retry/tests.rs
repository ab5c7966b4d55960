use brigade_core::{
    Delta, ModelErrorKind as Kind, RateLimitStatus, RateLimits, RetryAdvice, TimeoutPhase, testing::Recorder,
};
use tokio::time::Instant;

use super::*;
use crate::{
    Accounts,
    testing::{Fake, emit_text, error, event_lines, observed_run, question, reply, retry_after, seconds},
};

fn retry(fake: &Fake) -> Retry<Fake> {
    Retry::new(fake.clone(), RetrySettings::default()).within(&Accounts::seeded(1))
}

async fn timed(model: &Retry<Fake>, run: &Run) -> (Result<ChatReply, ModelError>, Duration) {
    let started = Instant::now();
    let result = model.chat(&question(), run).await;
    (result, started.elapsed())
}

#[tokio::test(start_paused = true)]
async fn transient_failures_are_retried_twice_with_growing_random_delays() {
    for kind in [Kind::RateLimited, Kind::Overloaded, Kind::Transient, Kind::Timeout(TimeoutPhase::Idle), Kind::Broken]
    {
        let fake = Fake::broken("m", kind);
        let (result, elapsed) = timed(&retry(&fake), &Run::new()).await;
        assert_eq!((result.unwrap_err().kind(), fake.calls()), (kind, 3));
        // Full jitter: at most 0.5 s, then at most 1 s. Each timer may end one millisecond late.
        assert!(elapsed > Duration::ZERO && elapsed <= Duration::from_millis(1_502), "{elapsed:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_that_may_be_billed_are_retried_once() {
    let failing = |status: Option<u16>| {
        Fake::new("m", move |_, _| async move {
            Err(error(Kind::Broken).with(|failure| (failure.sent, failure.status) = (true, status)))
        })
    };
    for (status, calls) in [(None, 2), (Some(200), 2), (Some(500), 3)] {
        let fake = failing(status);
        assert!(retry(&fake).chat(&question(), &Run::new()).await.is_err());
        assert_eq!(fake.calls(), calls, "{status:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn timeouts_are_not_retried_if_there_is_a_fallback() {
    let timed_out = |phase, sent| {
        Fake::new("m", move |_, _| async move { Err(error(Kind::Timeout(phase)).with(|failure| failure.sent = sent)) })
    };
    for (phase, sent, calls) in
        [(TimeoutPhase::FirstDelta, true, 1), (TimeoutPhase::Idle, true, 1), (TimeoutPhase::Connect, false, 3)]
    {
        let fake = timed_out(phase, sent);
        assert!(retry(&fake).without_timeout_retries().chat(&question(), &Run::new()).await.is_err());
        assert_eq!(fake.calls(), calls, "{phase:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn permanent_failures_are_not_retried() {
    let kinds = [
        Kind::Caller,
        Kind::NoSuchModel,
        Kind::Auth,
        Kind::Quota,
        Kind::Refused,
        Kind::ContextLength,
        Kind::Budget,
        Kind::CircuitOpen,
        Kind::Cancelled,
    ];
    for kind in kinds {
        // Not even if a header asks for a retry.
        let fake = Fake::new("m", move |_, _| async move { Err(retry_after(kind, seconds(1))) });
        let (result, elapsed) = timed(&retry(&fake), &Run::new()).await;
        assert_eq!((result.unwrap_err().kind(), fake.calls(), elapsed), (kind, 1, Duration::ZERO));
    }
    let fake =
        Fake::new("m", |_, _| async { Err(error(Kind::Transient).with(|failure| failure.retry = RetryAdvice::Never)) });
    assert!(retry(&fake).chat(&question(), &Run::new()).await.is_err());
    assert_eq!(fake.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_retry_never_comes_earlier_than_the_provider_asked() {
    for millis in [2_000, 1_500, 0] {
        let wait = Duration::from_millis(millis);
        let fake = Fake::new("m", move |call, _| async move {
            if call == 1 { Err(retry_after(Kind::RateLimited, wait)) } else { Ok(reply("ok")) }
        });
        let (result, elapsed) = timed(&retry(&fake), &Run::new()).await;
        assert!(result.is_ok() && elapsed >= wait && elapsed <= wait + seconds(1), "{elapsed:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_whose_delay_is_too_long_is_returned_at_once() {
    let day = seconds(86_400);
    let fake = Fake::new("m", move |_, _| async move { Err(retry_after(Kind::RateLimited, day)) });
    let (result, elapsed) = timed(&retry(&fake), &Run::new()).await;
    assert_eq!((result.unwrap_err().retry(), elapsed), (RetryAdvice::After(day), Duration::ZERO));

    let fake = Fake::new("m", |_, _| async { Err(retry_after(Kind::RateLimited, seconds(20))) });
    let short_run = Run::builder().deadline(Instant::now() + seconds(20)).build();
    let (result, elapsed) = timed(&retry(&fake), &short_run).await;
    assert_eq!((result.unwrap_err().kind(), elapsed), (Kind::RateLimited, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn an_empty_retry_budget_fails_fast_and_is_reported() {
    let fake = Fake::broken("m", Kind::Transient);
    let model = Retry::new(fake.clone(), RetrySettings { budget_per_second: 0, ..RetrySettings::default() });
    let (run, recorder) = observed_run();
    for _ in 0..4 {
        assert!(model.chat(&question(), &run).await.is_err());
    }
    assert_eq!(fake.calls(), 4);
    assert!(model.chat(&question(), &run).await.is_err());
    assert_eq!(fake.calls(), 6, "the fifth call pays for one retry");
    let tail = ["suppressed a/m: transient", "retry a/m #2: transient", "suppressed a/m: transient"];
    assert_eq!(event_lines(&recorder)[3..], tail);
}

#[tokio::test(start_paused = true)]
async fn all_callers_of_a_model_share_its_retry_budget() {
    let accounts = Accounts::seeded(1);
    let fake = Fake::broken("m", Kind::Transient);
    for _ in 0..7 {
        let model = Retry::new(fake.clone(), RetrySettings::default()).within(&accounts);
        let (result, elapsed) = timed(&model, &Run::new()).await;
        assert!(result.is_err() && elapsed < seconds(2));
    }
    // Seven calls allow one retry, and the window of ten seconds allows ten more.
    assert!(fake.calls() <= 7 + 11, "{}", fake.calls());
}

#[tokio::test(start_paused = true)]
async fn a_partial_reply_restarts_once_and_listeners_are_notified() {
    let fake = Fake::new("m", |call, run| async move {
        emit_text(&run, if call == 1 { "Hel" } else { "Hello" });
        if call == 1 { Err(error(Kind::Broken)) } else { Ok(reply("Hello")) }
    });
    let (run, recorder) = observed_run();
    assert!(retry(&fake).chat(&question(), &run).await.is_ok());
    assert_eq!(recorder.text(), "Hello");
    assert_eq!(event_lines(&recorder), ["retry a/m #2: broken", "restarted"]);

    let fake = Fake::new("m", |_, run| async move {
        emit_text(&run, "Hel");
        Err(error(Kind::Broken))
    });
    assert!(retry(&fake).chat(&question(), &run).await.is_err());
    assert_eq!(fake.calls(), 2);
    let never = RetrySettings { restarts: 0, ..RetrySettings::default() };
    assert!(Retry::new(fake.clone(), never).chat(&question(), &run).await.is_err());
    assert_eq!(fake.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn append_only_text_prevents_a_restart_and_thinking_does_not() {
    let breaking = |delta: fn() -> Delta| {
        Fake::new("m", move |call, run| async move {
            run.emit_delta(delta);
            if call == 1 { Err(error(Kind::Broken)) } else { Ok(reply("Hello")) }
        })
    };
    let run = Run::builder().observer(Arc::new(Recorder::new())).deltas(true).append_only(true).build();
    let words = breaking(|| Delta::Text("Hel".to_owned()));
    assert_eq!(retry(&words).chat(&question(), &run).await.unwrap_err().kind(), Kind::Broken);
    assert_eq!(words.calls(), 1);
    let thoughts = breaking(|| Delta::Thinking("Hm".to_owned()));
    assert!(retry(&thoughts).chat(&question(), &run).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_nobody_saw_is_retried_without_a_restart_event() {
    let fake = Fake::failing("m", &[Kind::Broken, Kind::Broken]);
    let (run, recorder) = observed_run();
    assert!(retry(&fake).chat(&question(), &run).await.is_ok());
    assert_eq!(event_lines(&recorder), ["retry a/m #2: broken", "retry a/m #3: broken"]);
}

#[tokio::test(start_paused = true)]
async fn cancelling_ends_the_delay() {
    let fake = Fake::new("m", |_, _| async { Err(retry_after(Kind::RateLimited, seconds(20))) });
    let model = retry(&fake);
    let run = Run::new();
    let canceller = async {
        tokio::time::sleep(seconds(1)).await;
        run.cancel();
    };
    let ((result, elapsed), ()) = tokio::join!(timed(&model, &run), canceller);
    assert_eq!((result.unwrap_err().kind(), elapsed), (Kind::Cancelled, seconds(1)));
    assert_eq!(fake.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_the_response_requests_is_respected_wherever_it_stands() {
    let reset = |remaining, seconds: u64| {
        RateLimitStatus::default().limit(Some(60)).remaining(Some(remaining)).reset(Some(Duration::from_secs(seconds)))
    };
    let told: [(RateLimits, Kind, u64); 6] = [
        (RateLimits::default().retry_after(Some(seconds(4))), Kind::RateLimited, 4),
        (RateLimits::default().retry_after(Some(seconds(4))), Kind::Overloaded, 4),
        (RateLimits::default().requests(reset(0, 7)), Kind::RateLimited, 7),
        (RateLimits::default().requests(reset(0, 7)).output_tokens(reset(0, 9)), Kind::RateLimited, 9),
        (RateLimits::default().requests(reset(1, 7)), Kind::RateLimited, 0),
        (RateLimits::default().requests(reset(0, 7)), Kind::Transient, 0),
    ];
    for (limits, kind, wait) in told {
        let reported = limits.clone();
        let fake = Fake::new("m", move |call, _| {
            let failure = error(kind).with(|failure| failure.limits = reported.clone());
            async move { if call == 1 { Err(failure) } else { Ok(reply("ok")) } }
        });
        let (result, elapsed) = timed(&retry(&fake), &Run::new()).await;
        assert!(result.is_ok() && elapsed >= seconds(wait), "{limits:?}: {elapsed:?}");
        assert!(elapsed <= seconds(wait) + Duration::from_millis(1_001), "{limits:?}: {elapsed:?}");
    }
}
