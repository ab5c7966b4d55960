use brigade_core::{ModelErrorKind, RawJson, ToolSet, ToolSpec};
use tokio::time::{Instant, sleep};

use super::*;
use crate::Accounts;
use crate::testing::{Fake, emit_text, error, observed_run, question, reply, seconds};

/// Each call shows its number after as many seconds, and answers a second later; an absent number never answers.
fn slow(after: &'static [Option<u64>]) -> Fake {
    Fake::new("m", move |call, run| async move {
        let Some(pause) = after[call - 1] else { return std::future::pending().await };
        sleep(seconds(pause)).await;
        emit_text(&run, &call.to_string());
        sleep(seconds(1)).await;
        Ok(reply(&call.to_string()))
    })
}

fn hedge(fake: &Fake) -> Hedge<Fake> {
    Hedge::new(fake.clone(), seconds(10), RetrySettings::default())
}

/// Who answered and after how many seconds.
async fn ask(model: &Hedge<Fake>, run: &Run) -> (String, u64) {
    let started = Instant::now();
    let reply = model.chat(&question(), run).await.unwrap();
    (reply.message.text().into_owned(), started.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn a_fast_reply_is_requested_once() {
    let fake = slow(&[Some(9)]);
    assert_eq!(ask(&hedge(&fake), &observed_run().0).await, ("1".to_owned(), 10));
    assert_eq!(fake.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_first_attempt_to_emit_a_delta_wins_and_only_its_deltas_are_seen() {
    for (script, wins, took) in [
        (&[None, Some(2)], "2", 13),
        (&[Some(15), Some(2)], "2", 13),
        (&[Some(12), Some(2)], "1", 13),
        (&[Some(11), Some(5)], "1", 12),
    ] {
        let (run, recorder) = observed_run();
        assert_eq!(ask(&hedge(&slow(script)), &run).await, (wins.to_owned(), took));
        assert_eq!(recorder.text(), wins);
    }
}

#[tokio::test(start_paused = true)]
async fn the_loser_is_dropped_at_the_first_delta_of_the_winner() {
    let going_on = Arc::new(());
    let held = Arc::clone(&going_on);
    let fake = Fake::new("m", move |call, run| {
        let held = Arc::clone(&held);
        async move {
            sleep(seconds(if call == 1 { 60 } else { 1 })).await;
            emit_text(&run, "2");
            sleep(seconds(5)).await;
            drop(held);
            Ok(reply("2"))
        }
    });
    let model = hedge(&fake);
    let (run, _) = observed_run();
    let observed = async {
        sleep(Duration::from_millis(10_500)).await;
        let both = Arc::strong_count(&going_on);
        sleep(seconds(1)).await;
        both - Arc::strong_count(&going_on)
    };
    let (_, given_up) = tokio::join!(ask(&model, &run), observed);
    assert_eq!(given_up, 1);
}

#[tokio::test(start_paused = true)]
async fn without_listeners_the_first_complete_reply_wins() {
    assert_eq!(ask(&hedge(&slow(&[Some(30), Some(2)])), &Run::new()).await, ("2".to_owned(), 13));
}

#[tokio::test(start_paused = true)]
async fn if_one_attempt_fails_the_other_continues() {
    let fake = Fake::new("m", |call, _| async move {
        sleep(seconds(if call == 1 { 20 } else { 1 })).await;
        if call == 1 { Ok(reply("1")) } else { Err(error(ModelErrorKind::Transient)) }
    });
    assert_eq!(ask(&hedge(&fake), &Run::new()).await, ("1".to_owned(), 20));
    let fails = Fake::broken("m", ModelErrorKind::Transient);
    assert!(hedge(&fails).chat(&question(), &Run::new()).await.is_err());
    assert_eq!(fails.calls(), 1, "trying again is not its business");
}

#[tokio::test(start_paused = true)]
async fn a_request_with_tools_is_sent_once() {
    let fake = slow(&[Some(30)]);
    let mut request = question();
    request.tools = ToolSet::new(vec![ToolSpec::new("t", "", RawJson::empty_object())]);
    assert!(hedge(&fake).chat(&request, &Run::new()).await.is_ok());
    assert_eq!(fake.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_empty_retry_budget_prevents_a_second_attempt() {
    let fake = slow(&[Some(30)]);
    let model =
        Hedge::new(fake.clone(), seconds(10), RetrySettings { budget_per_second: 0, ..RetrySettings::default() });
    assert_eq!(ask(&model, &Run::new()).await, ("1".to_owned(), 31));
}

/// Calls `model` many times without a delay, and then returns how many of `slow_calls` slow calls were sent twice.
async fn hedged(model: &Hedge<Fake>, fake: &Fake, quick_calls: usize, slow_calls: usize) -> usize {
    for _ in 0..quick_calls {
        model.chat(&question(), &Run::new()).await.unwrap();
    }
    let before = fake.calls();
    for _ in 0..slow_calls {
        model.chat(&question(), &Run::new()).await.unwrap();
    }
    fake.calls() - before - slow_calls
}

#[tokio::test(start_paused = true)]
async fn a_hedge_without_a_retry_around_it_earns_its_percentage_of_calls() {
    let settings = RetrySettings { budget_per_second: 0, budget_window: seconds(3_600), ..RetrySettings::default() };
    for shares_accounts in [false, true] {
        let fake = Fake::new("m", |call, _| async move {
            if call > 100 {
                sleep(seconds(11)).await;
            }
            Ok(reply("ok"))
        });
        let model = Hedge::new(fake.clone(), seconds(10), settings);
        let model = if shares_accounts { model.within(&Accounts::seeded(1)) } else { model };
        assert_eq!(hedged(&model, &fake, 100, 40).await, 28, "a fifth of 140 calls: {shares_accounts}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_through_a_retry_and_a_hedge_counts_once() {
    let settings = RetrySettings { budget_per_second: 0, ..RetrySettings::default() };
    let accounts = Accounts::seeded(1);
    let fake = Fake::healthy("m");
    let model = Hedge::new(fake.clone(), seconds(10), settings).within(&accounts);
    let model = crate::Retry::new(model, settings).within(&accounts);
    for _ in 0..100 {
        model.chat(&question(), &Run::new()).await.unwrap();
    }
    assert_eq!(accounts.snapshot()[0].retries_left, Some(20));
}
