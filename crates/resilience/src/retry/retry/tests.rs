use brigade_core::{Delta, ModelErrorKind as Kind, RetryAdvice, TimeoutPhase, testing::Recorder};
use tokio::time::Instant;

use super::*;
use crate::{
    Accounts,
    testing::{Fake, error, listened, question, reply, say, seconds, story, told},
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
async fn what_may_pass_by_itself_is_tried_three_times_with_growing_random_pauses() {
    for kind in [Kind::RateLimited, Kind::Overloaded, Kind::Transient, Kind::Timeout(TimeoutPhase::Idle), Kind::Broken]
    {
        let fake = Fake::broken("m", kind);
        let (result, elapsed) = timed(&retry(&fake), &Run::new()).await;
        assert_eq!((result.unwrap_err().kind(), fake.calls()), (kind, 3));
        // Full jitter: at most 0.5 s, then at most 1 s; and the clock of timers ticks in milliseconds.
        assert!(elapsed > Duration::ZERO && elapsed <= Duration::from_millis(1_502), "{elapsed:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_be_billed_is_tried_twice() {
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
async fn a_call_that_timed_out_is_handed_on_if_another_model_stands_by() {
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
async fn what_will_fail_again_is_not_tried_again() {
    let kinds = [
        Kind::Caller,
        Kind::Auth,
        Kind::Quota,
        Kind::Refused,
        Kind::ContextLength,
        Kind::Budget,
        Kind::CircuitOpen,
        Kind::Cancelled,
    ];
    for kind in kinds {
        // Not even when a header says otherwise.
        let fake = Fake::new("m", move |_, _| async move { Err(told(kind, seconds(1))) });
        let (result, elapsed) = timed(&retry(&fake), &Run::new()).await;
        assert_eq!((result.unwrap_err().kind(), fake.calls(), elapsed), (kind, 1, Duration::ZERO));
    }
    let fake =
        Fake::new("m", |_, _| async { Err(error(Kind::Transient).with(|failure| failure.retry = RetryAdvice::Never)) });
    assert!(retry(&fake).chat(&question(), &Run::new()).await.is_err());
    assert_eq!(fake.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_polite_refusal_is_obeyed_and_never_earlier_than_asked() {
    for millis in [2_000, 1_500, 0] {
        let wait = Duration::from_millis(millis);
        let fake = Fake::new("m", move |call, _| async move {
            if call == 1 { Err(told(Kind::RateLimited, wait)) } else { Ok(reply("ok")) }
        });
        let (result, elapsed) = timed(&retry(&fake), &Run::new()).await;
        assert!(result.is_ok() && elapsed >= wait && elapsed <= wait + seconds(1), "{elapsed:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_too_long_is_passed_on_at_once() {
    let day = seconds(86_400);
    let fake = Fake::new("m", move |_, _| async move { Err(told(Kind::RateLimited, day)) });
    let (result, elapsed) = timed(&retry(&fake), &Run::new()).await;
    assert_eq!((result.unwrap_err().retry(), elapsed), (RetryAdvice::After(day), Duration::ZERO));

    let fake = Fake::new("m", |_, _| async { Err(told(Kind::RateLimited, seconds(20))) });
    let hurried = Run::builder().deadline(Instant::now() + seconds(20)).build();
    let (result, elapsed) = timed(&retry(&fake), &hurried).await;
    assert_eq!((result.unwrap_err().kind(), elapsed), (Kind::RateLimited, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn an_empty_retry_budget_fails_fast_and_says_so() {
    let fake = Fake::broken("m", Kind::Transient);
    let model = Retry::new(fake.clone(), RetrySettings { budget_per_second: 0, ..RetrySettings::default() });
    let (run, recorder) = listened();
    for _ in 0..4 {
        assert!(model.chat(&question(), &run).await.is_err());
    }
    assert_eq!(fake.calls(), 4);
    assert!(model.chat(&question(), &run).await.is_err());
    assert_eq!(fake.calls(), 6, "the fifth call pays for one retry");
    let tail = ["suppressed a/m: transient", "retry a/m #2: transient", "suppressed a/m: transient"];
    assert_eq!(story(&recorder)[3..], tail);
}

#[tokio::test(start_paused = true)]
async fn the_budget_is_shared_by_all_who_ask_the_model_at_the_account() {
    let accounts = Accounts::seeded(1);
    let fake = Fake::broken("m", Kind::Transient);
    for _ in 0..7 {
        let model = Retry::new(fake.clone(), RetrySettings::default()).within(&accounts);
        let (result, elapsed) = timed(&model, &Run::new()).await;
        assert!(result.is_err() && elapsed < seconds(2));
    }
    // Seven calls pay for one retry, ten seconds for ten.
    assert!(fake.calls() <= 7 + 11, "{}", fake.calls());
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_which_a_part_was_shown_begins_again_once_and_listeners_are_told() {
    let fake = Fake::new("m", |call, run| async move {
        say(&run, if call == 1 { "Hel" } else { "Hello" });
        if call == 1 { Err(error(Kind::Broken)) } else { Ok(reply("Hello")) }
    });
    let (run, recorder) = listened();
    assert!(retry(&fake).chat(&question(), &run).await.is_ok());
    assert_eq!(recorder.text(), "Hello");
    assert_eq!(story(&recorder), ["retry a/m #2: broken", "restarted"]);

    let fake = Fake::new("m", |_, run| async move {
        say(&run, "Hel");
        Err(error(Kind::Broken))
    });
    assert!(retry(&fake).chat(&question(), &run).await.is_err());
    assert_eq!(fake.calls(), 2);
    let never = RetrySettings { restarts: 0, ..RetrySettings::default() };
    assert!(Retry::new(fake.clone(), never).chat(&question(), &run).await.is_err());
    assert_eq!(fake.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn words_that_cannot_be_taken_back_stand_and_thoughts_are_no_words() {
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
async fn what_nobody_has_seen_is_tried_again_in_silence() {
    let fake = Fake::failing("m", &[Kind::Broken, Kind::Broken]);
    let (run, recorder) = listened();
    assert!(retry(&fake).chat(&question(), &run).await.is_ok());
    assert_eq!(story(&recorder), ["retry a/m #2: broken", "retry a/m #3: broken"]);
}

#[tokio::test(start_paused = true)]
async fn cancelling_ends_the_pause() {
    let fake = Fake::new("m", |_, _| async { Err(told(Kind::RateLimited, seconds(20))) });
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
