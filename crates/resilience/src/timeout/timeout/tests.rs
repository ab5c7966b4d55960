use brigade_core::{ModelErrorKind, Reasoning, Run, Settings, TimeoutPhase};
use tokio::time::{Instant, sleep};

use super::*;
use crate::testing::{Fake, emit_text, observed_run, question, reply, seconds};

/// Shows a piece after each of the given pauses, then never ends.
fn stalling(pauses: &'static [u64]) -> Timeout<Fake> {
    let fake = Fake::new("slow", move |_, run| async move {
        for pause in pauses {
            sleep(seconds(*pause)).await;
            emit_text(&run, "a");
        }
        std::future::pending().await
    });
    Timeout::new(fake, Timeouts::default())
}

/// How a call ended and after how many seconds.
async fn ends(model: &impl ChatModel, request: &ChatRequest, run: &Run) -> (ModelErrorKind, u64) {
    let started = Instant::now();
    let error = model.chat(request, run).await.unwrap_err();
    (error.kind(), started.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_never_starts_ends_after_one_minute_or_five_with_reasoning() {
    let (run, _) = observed_run();
    let first_delta = ModelErrorKind::Timeout(TimeoutPhase::FirstDelta);
    assert_eq!(ends(&stalling(&[]), &question(), &run).await, (first_delta, 60));
    let mut thinking = question();
    thinking.settings.reasoning = Some(Reasoning::Budget(4_000));
    assert_eq!(ends(&stalling(&[]), &thinking, &run).await, (first_delta, 300));
    thinking.settings.reasoning = Some(Reasoning::Off);
    assert_eq!(ends(&stalling(&[]), &thinking, &run).await, (first_delta, 60));

    let thinks = Settings::default().reasoning(Some(Reasoning::Budget(4_000)));
    let fake = Fake::new("m", |_, _| std::future::pending()).with_settings(thinks);
    let model = Timeout::new(fake, Timeouts::default());
    assert_eq!(ends(&model, &question(), &run).await, (first_delta, 300));
    assert_eq!(ends(&model, &thinking, &run).await, (first_delta, 60), "the request has the last word");
}

#[tokio::test(start_paused = true)]
async fn a_stalled_stream_ends_two_minutes_after_its_last_delta() {
    let (run, _) = observed_run();
    let idle = ModelErrorKind::Timeout(TimeoutPhase::Idle);
    assert_eq!(ends(&stalling(&[5]), &question(), &run).await, (idle, 125));
    assert_eq!(ends(&stalling(&[5, 100, 100]), &question(), &run).await, (idle, 325));
    let mut thinking = question();
    thinking.settings.reasoning = Some(Reasoning::Budget(4_000));
    assert_eq!(ends(&stalling(&[5]), &thinking, &run).await, (idle, 125), "though it had five minutes for the first");
    let brief = Timeouts { idle: seconds(1), ..Timeouts::default() };
    let model = Timeout { timeouts: brief, ..stalling(&[5, 1, 0]) };
    assert_eq!(ends(&model, &question(), &run).await, (idle, 7));
}

#[tokio::test(start_paused = true)]
async fn empty_deltas_are_not_progress() {
    let fake = Fake::new("pings", |_, run| async move {
        loop {
            sleep(seconds(10)).await;
            emit_text(&run, "");
        }
    });
    let (run, _) = observed_run();
    let model = Timeout::new(fake, Timeouts::default());
    assert_eq!(ends(&model, &question(), &run).await, (ModelErrorKind::Timeout(TimeoutPhase::FirstDelta), 60));
}

#[tokio::test(start_paused = true)]
async fn a_slow_endless_stream_ends_with_the_attempt() {
    let fake = Fake::new("drips", |_, run| async move {
        loop {
            sleep(seconds(7)).await;
            emit_text(&run, "a");
        }
    });
    let (run, _) = observed_run();
    let model = Timeout::new(fake, Timeouts::default());
    assert_eq!(ends(&model, &question(), &run).await, (ModelErrorKind::Timeout(TimeoutPhase::Attempt), 600));
}

#[tokio::test(start_paused = true)]
async fn a_reply_without_streaming_gets_time_for_its_length() {
    let model = stalling(&[]);
    let error = model.chat(&question(), &Run::new()).await.unwrap_err();
    assert_eq!(error.kind(), ModelErrorKind::Timeout(TimeoutPhase::Attempt));
    assert!(error.details().may_be_billed());
    assert_eq!(
        error.to_string(),
        "a/slow: no complete answer within 600s; the limit is `timeouts.attempt` (timeout_attempt)"
    );

    let attempt = ModelErrorKind::Timeout(TimeoutPhase::Attempt);
    let mut short = question();
    for (tokens, reasoning, seconds) in [
        (1_000, None, 60 + 50),
        (1_000, Some(Reasoning::Budget(500)), 300 + 50),
        (100_000, None, 600),
        (u32::MAX, None, 600),
    ] {
        (short.settings.max_output_tokens, short.settings.reasoning) = (Some(tokens), reasoning);
        assert_eq!(ends(&model, &short, &Run::new()).await, (attempt, seconds), "{tokens} tokens");
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_run_cancels_the_attempt() {
    let run = Run::builder().deadline(Instant::now() + seconds(3)).build();
    assert_eq!(ends(&stalling(&[]), &question(), &run).await, (ModelErrorKind::Cancelled, 3));

    let run = Run::new();
    let canceller = async {
        sleep(seconds(2)).await;
        run.cancel();
    };
    let model = stalling(&[]);
    let request = question();
    let (end, ()) = tokio::join!(ends(&model, &request, &run), canceller);
    assert_eq!(end, (ModelErrorKind::Cancelled, 2));
}

#[tokio::test(start_paused = true)]
async fn a_reply_in_time_passes_unchanged() {
    let fake = Fake::new("good", |_, run| async move {
        sleep(seconds(59)).await;
        emit_text(&run, "ok");
        sleep(seconds(119)).await;
        Ok(reply("ok"))
    });
    let (run, recorder) = observed_run();
    let reply = Timeout::new(fake, Timeouts::default()).chat(&question(), &run).await.unwrap();
    assert_eq!((reply.message.text(), recorder.text()), ("ok".into(), "ok".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn the_error_of_a_timeout_names_the_setting_that_limits_it() {
    let (streamed, whole) = (observed_run().0, Run::new());
    let mut thinking = question();
    thinking.settings.reasoning = Some(Reasoning::Budget(4_000));
    let mut short = question();
    short.settings.max_output_tokens = Some(100);
    let cases: [(&'static [u64], &ChatRequest, &Run, &str); 5] = [
        (&[], &question(), &streamed, "no part of the answer within 60s; the limit is `timeouts.first_delta`"),
        (&[], &thinking, &streamed, "no part of the answer within 300s; the limit is `timeouts.first_delta_reasoning`"),
        (&[1], &question(), &streamed, "nothing more of the answer within 120s; the limit is `timeouts.idle`"),
        (&[], &question(), &whole, "no complete answer within 600s; the limit is `timeouts.attempt`"),
        (&[], &short, &whole, "no complete answer within 65s; the limit is `timeouts.output_token`"),
    ];
    for (pauses, request, run, message) in cases {
        let error = stalling(pauses).chat(request, run).await.unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}
