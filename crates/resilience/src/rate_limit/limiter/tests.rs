use std::{future::Future, sync::LazyLock};

use brigade_core::{ChatRequest, RateLimitStatus, Settings, Usage};
use proptest::prelude::*;
use tokio::{
    task::JoinSet,
    time::{advance, timeout},
};

use super::*;
use crate::{
    Charging,
    testing::{error, question, reply, retry_after, seconds},
};

fn limiter(settings: RateLimitSettings) -> Arc<Limiter> {
    Arc::new(Limiter::new(settings, Arc::default()))
}

fn requests(limit: u64) -> RateLimitSettings {
    RateLimitSettings { requests_per_minute: Some(limit), ..RateLimitSettings::default() }
}

fn size() -> CallSize<'static> {
    static REQUEST: LazyLock<ChatRequest> = LazyLock::new(question);
    CallSize::new(&REQUEST, Settings::none())
}

async fn admit<'a>(limiter: &'a Limiter, run: &Run) -> Result<Permit<'a>, WaitTooLong> {
    match limiter.request(size(), Priority::Normal, run)? {
        Admission::Admitted(permit) => Ok(permit),
        Admission::Queued(queued) => queued.admitted().await,
    }
}

/// The rest of a limit; absent while the limit is not known.
fn left(limiter: &Limiter, name: &str) -> Option<u64> {
    limiter.headroom().into_iter().find(|limit| limit.name == name).map(|limit| limit.remaining)
}

fn saying(requests: RateLimitStatus) -> ChatReply {
    let mut reply = reply("ok");
    reply.limits.requests = requests;
    reply
}

fn allowance(limit: u64, remaining: u64, reset: Option<Duration>) -> RateLimitStatus {
    RateLimitStatus::default().limit(Some(limit)).remaining(Some(remaining)).reset(reset)
}

/// One call that is answered at once.
async fn call(limiter: &Limiter, result: Result<ChatReply, ModelError>) {
    admit(limiter, &Run::new()).await.unwrap().settle(&result);
}

#[tokio::test(start_paused = true)]
async fn without_known_limits_no_call_waits() {
    let limiter = limiter(RateLimitSettings::default());
    for _ in 0..10_000 {
        assert!(matches!(limiter.request(size(), Priority::Normal, &Run::new()), Ok(Admission::Admitted(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_is_learned_from_a_response() {
    let limiter = limiter(RateLimitSettings::default());
    call(&limiter, Ok(saying(allowance(100, 40, None)))).await;
    assert_eq!(left(&limiter, "requests_per_minute"), Some(40));
    // The response may not have counted the calls that are still in flight.
    let limiter = self::limiter(RateLimitSettings::default());
    let in_flight: Vec<_> = (0..5).map(|_| limiter.request(size(), Priority::Normal, &Run::new())).collect();
    call(&limiter, Ok(saying(allowance(100, 40, None)))).await;
    assert_eq!(left(&limiter, "requests_per_minute"), Some(35));
    drop(in_flight);
    assert_eq!(left(&limiter, "requests_per_minute"), Some(35));
}

#[tokio::test(start_paused = true)]
async fn the_remainder_is_lowered_at_once_and_raised_only_by_a_new_limit() {
    let limiter = limiter(RateLimitSettings::default());
    call(&limiter, Ok(saying(allowance(100, 99, None)))).await;
    call(&limiter, Ok(saying(allowance(100, 10, None)))).await;
    assert_eq!(left(&limiter, "requests_per_minute"), Some(10));
    call(&limiter, Ok(saying(allowance(100, 90, None)))).await;
    assert_eq!(left(&limiter, "requests_per_minute"), Some(9));
    call(&limiter, Ok(saying(allowance(200, 150, None)))).await;
    assert_eq!(left(&limiter, "requests_per_minute"), Some(150));
    call(&limiter, Ok(saying(allowance(50, 49, None)))).await;
    assert_eq!(left(&limiter, "requests_per_minute"), Some(49));
}

#[tokio::test(start_paused = true)]
async fn a_configured_limit_applies_in_addition_to_a_learned_one() {
    let limiter = limiter(requests(20));
    call(&limiter, Ok(saying(allowance(100, 99, None)))).await;
    assert_eq!(left(&limiter, "requests_per_minute"), Some(19));
    call(&limiter, Ok(saying(allowance(10, 9, None)))).await;
    assert_eq!(left(&limiter, "requests_per_minute"), Some(9));
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_refills_slowly_is_a_daily_limit() {
    let limiter = limiter(RateLimitSettings::default());
    call(&limiter, Ok(saying(allowance(14_400, 14_370, Some(seconds(180)))))).await;
    assert_eq!(left(&limiter, "requests_per_day"), Some(14_370));
    assert_eq!(left(&limiter, "requests_per_minute"), None);
}

#[tokio::test(start_paused = true)]
async fn an_exhausted_window_that_ends_soon_is_waited_for() {
    let limiter = limiter(RateLimitSettings::default());
    call(&limiter, Ok(saying(allowance(60, 0, Some(seconds(20)))))).await;
    let started = Instant::now();
    let _admission = admit(&limiter, &Run::new()).await.unwrap();
    assert_eq!(started.elapsed(), seconds(20));
}

#[tokio::test(start_paused = true)]
async fn an_exhausted_limit_that_refills_continuously_is_used_before_it_is_full() {
    let limiter = limiter(RateLimitSettings::default());
    call(&limiter, Ok(saying(allowance(60, 0, Some(seconds(60)))))).await;
    let started = Instant::now();
    let _admission = admit(&limiter, &Run::new()).await.unwrap();
    assert_eq!(started.elapsed(), seconds(1));
}

#[tokio::test(start_paused = true)]
async fn unused_tokens_are_given_back_and_excess_tokens_become_debt() {
    let tokens = RateLimitSettings { tokens_per_minute: Some(10_000), ..RateLimitSettings::default() };
    for (usage, rest) in [(Usage::new(100, 100), 9_800), (Usage::new(9_000, 3_000), 0)] {
        let limiter = limiter(tokens.clone());
        call(&limiter, Ok(reply("ok").usage(Some(usage)))).await;
        assert_eq!(left(&limiter, "tokens_per_minute"), Some(rest));
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_call_consumes_what_the_provider_received() {
    let limits = RateLimitSettings { tokens_per_minute: Some(10_000), ..requests(10) };
    let rest = async |result| {
        let limiter = limiter(limits.clone());
        call(&limiter, result).await;
        (left(&limiter, "requests_per_minute"), left(&limiter, "tokens_per_minute"))
    };
    let sent = error(ModelErrorKind::Broken).with(|failure| failure.sent = true);
    assert_eq!(rest(Err(error(ModelErrorKind::Transient))).await, (Some(10), Some(10_000)));
    assert_eq!(rest(Err(sent)).await, (Some(9), Some(9_492)));
    assert_eq!(rest(Err(error(ModelErrorKind::RateLimited))).await, (Some(9), Some(10_000)));
}

#[tokio::test(start_paused = true)]
async fn a_wait_beyond_the_deadline_fails_at_once_with_its_length() {
    let limiter = limiter(requests(60));
    for _ in 0..60 {
        call(&limiter, Ok(reply("ok"))).await;
    }
    let run = Run::builder().deadline(Instant::now() + seconds(2)).build();
    let _first = limiter.request(size(), Priority::Normal, &run).unwrap();
    let _second = limiter.request(size(), Priority::Normal, &run).unwrap();
    assert_eq!(
        limiter.request(size(), Priority::Normal, &run).unwrap_err(),
        WaitTooLong { wait: seconds(3), bound: WaitBound::Deadline }
    );
    // Another run shares fairly, so that its first call comes before the second one of this.
    let other = Run::builder().deadline(Instant::now() + seconds(2)).build();
    assert!(limiter.request(size(), Priority::Normal, &other).is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded() {
    let limiter = limiter(RateLimitSettings { queue: 3, ..requests(60) });
    for _ in 0..60 {
        call(&limiter, Ok(reply("ok"))).await;
    }
    let run = Run::new();
    let waiting: Vec<_> = (0..3).map(|_| limiter.request(size(), Priority::Normal, &run).unwrap()).collect();
    assert_eq!(
        limiter.request(size(), Priority::Normal, &run).unwrap_err(),
        WaitTooLong { wait: seconds(4), bound: WaitBound::Queue }
    );
    drop(waiting);
    assert_eq!(limiter.queue_length(), 0);
}

/// The order in which callers are admitted that all call at the same time, after the limit is exhausted.
async fn order(limiter: Arc<Limiter>, callers: Vec<(&'static str, Run, Priority)>) -> Vec<&'static str> {
    for _ in 0..60 {
        call(&limiter, Ok(reply("ok"))).await;
    }
    let mut tasks = JoinSet::new();
    for (name, run, priority) in callers {
        let limiter = Arc::clone(&limiter);
        tasks.spawn(async move {
            let Ok(Admission::Queued(queued)) = limiter.request(size(), priority, &run) else { panic!("must wait") };
            queued.admitted().await.unwrap().settle(&Ok(reply("ok")));
            name
        });
    }
    let mut order = Vec::new();
    while let Some(name) = tasks.join_next().await {
        order.push(name.unwrap());
    }
    order
}

#[tokio::test(start_paused = true)]
async fn runs_alternate_and_calls_of_a_run_keep_their_order() {
    let (many, few) = (Run::new(), Run::new());
    let callers = [("m1", &many), ("m2", &many), ("m3", &many), ("m4", &many), ("f1", &few), ("f2", &few)];
    let callers = callers.map(|(name, run)| (name, run.clone(), Priority::Normal)).to_vec();
    assert_eq!(order(limiter(requests(60)), callers).await, ["m1", "f1", "m2", "f2", "m3", "m4"]);
}

#[tokio::test(start_paused = true)]
async fn later_calls_do_not_overtake_queued_ones() {
    let limiter = limiter(requests(60));
    for _ in 0..60 {
        call(&limiter, Ok(reply("ok"))).await;
    }
    let Ok(Admission::Queued(first)) = limiter.request(size(), Priority::Normal, &Run::new()) else { panic!() };
    advance(seconds(1)).await;
    let Ok(Admission::Queued(second)) = limiter.request(size(), Priority::Normal, &Run::new()) else { panic!() };
    let started = Instant::now();
    let _first = first.admitted().await.unwrap();
    assert_eq!(started.elapsed(), Duration::ZERO);
    let _second = second.admitted().await.unwrap();
    assert_eq!(started.elapsed(), seconds(1));
}

#[tokio::test(start_paused = true)]
async fn a_higher_priority_goes_first() {
    let callers = [("low", Priority::Low), ("normal", Priority::Normal), ("high", Priority::High)];
    let callers = callers.map(|(name, priority)| (name, Run::new(), priority)).to_vec();
    assert_eq!(order(limiter(requests(60)), callers).await, ["high", "normal", "low"]);
}

#[tokio::test(start_paused = true)]
async fn a_429_pauses_the_whole_account_for_the_requested_time() {
    let pause = Arc::<Pause>::default();
    let (one, other) = (Limiter::new(requests(60), Arc::clone(&pause)), Limiter::new(requests(60), pause));
    call(&one, Err(retry_after(ModelErrorKind::RateLimited, seconds(7)))).await;
    let started = Instant::now();
    call(&other, Ok(reply("ok"))).await;
    assert_eq!(started.elapsed(), seconds(7));
    call(&one, Err(error(ModelErrorKind::RateLimited))).await;
    call(&other, Ok(reply("ok"))).await;
    assert_eq!(started.elapsed(), seconds(8), "a 429 without a delay pauses for a second");
}

#[tokio::test(start_paused = true)]
async fn a_429_without_a_delay_pauses_until_the_exhausted_limit_resets() {
    let limiter = limiter(RateLimitSettings::default());
    let refusal = error(ModelErrorKind::RateLimited).with(|failure| {
        failure.limits.requests = allowance(60, 30, Some(seconds(25)));
        failure.limits.tokens = allowance(1_000, 0, Some(seconds(11)));
    });
    call(&limiter, Err(refusal)).await;
    let started = Instant::now();
    let _admission = admit(&limiter, &Run::new()).await.unwrap();
    assert!(started.elapsed() >= seconds(11));
}

#[tokio::test(start_paused = true)]
async fn a_long_pause_fails_waiting_and_new_calls_at_once() {
    let limiter = limiter(requests(60));
    let last = admit(&limiter, &Run::new()).await.unwrap();
    for _ in 0..59 {
        call(&limiter, Ok(reply("ok"))).await;
    }
    let run = Run::new();
    let waiting = async { tokio::join!(admit(&limiter, &run), admit(&limiter, &run)) };
    let refused = async {
        tokio::task::yield_now().await;
        last.settle(&Err(retry_after(ModelErrorKind::RateLimited, seconds(86_400))));
    };
    let started = Instant::now();
    let ((first, second), ()) = tokio::join!(waiting, refused);
    let hour = WaitTooLong { wait: Duration::from_hours(1), bound: WaitBound::LongestPause };
    assert_eq!((first.unwrap_err(), second.unwrap_err()), (hour, hour));
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!(admit(&limiter, &run).await.unwrap_err(), hour);
    advance(Duration::from_hours(1)).await;
    assert!(admit(&limiter, &run).await.is_ok(), "after an hour one call is admitted");
}

/// No call waits and none is in flight.
fn is_idle(limiter: &Limiter) -> bool {
    limiter.queue_length() == 0 && limiter.state.lock().dimensions.iter().all(|dimension| dimension.in_flight() == 0)
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().start_paused(true).enable_time().build().unwrap().block_on(work)
}

proptest! {
    #[test]
    fn a_call_cancelled_at_any_point_leaves_nothing_behind(
        calls in prop::collection::vec((0_u64..8_000, 0_u64..4_000, 0_u64..20_000, any::<bool>()), 1..40),
    ) {
        block_on(async {
            let limits = RateLimitSettings { tokens_per_minute: Some(30_000), charging: Some(Charging::Anthropic), ..requests(60) };
            let limiter = limiter(limits);
            for _ in 0..50 {
                call(&limiter, Ok(reply("ok"))).await;
            }
            let mut tasks = JoinSet::new();
            for (arrival, duration, max_wait, fails) in calls {
                let limiter = Arc::clone(&limiter);
                tasks.spawn(async move {
                    tokio::time::sleep(Duration::from_millis(arrival)).await;
                    let whole = async {
                        let Ok(admission) = admit(&limiter, &Run::new()).await else { return };
                        tokio::time::sleep(Duration::from_millis(duration)).await;
                        admission.settle(&if fails { Err(error(ModelErrorKind::Broken)) } else { Ok(reply("ok")) });
                    };
                    let _ = timeout(Duration::from_millis(max_wait), whole).await;
                });
            }
            tasks.join_all().await;
            prop_assert!(is_idle(&limiter));
            // The next call is admitted: no wake-up was lost.
            let wait = timeout(seconds(61), admit(&limiter, &Run::new())).await;
            prop_assert!(wait.is_ok());
            Ok(())
        })?;
    }
}

/// A limiter whose requests of this minute are used up; one comes in each second.
async fn exhausted(settings: RateLimitSettings) -> Arc<Limiter> {
    let limiter = limiter(RateLimitSettings { requests_per_minute: Some(60), ..settings });
    for _ in 0..60 {
        call(&limiter, Ok(reply("ok"))).await;
    }
    limiter
}

#[tokio::test(start_paused = true)]
async fn a_call_that_gets_its_turn_just_when_it_gives_up_is_admitted() {
    let limiter = exhausted(RateLimitSettings::default().longest_wait(seconds(1))).await;
    let started = Instant::now();
    let permit = admit(&limiter, &Run::new()).await.unwrap();
    assert_eq!((started.elapsed(), limiter.queue_length()), (seconds(1), 0));
    drop(permit);
    let short = exhausted(RateLimitSettings::default().longest_wait(Duration::from_millis(999))).await;
    let too_long = WaitTooLong { wait: seconds(1), bound: WaitBound::LongestWait };
    assert_eq!(admit(&short, &Run::new()).await.unwrap_err(), too_long);
}

#[tokio::test(start_paused = true)]
async fn the_shorter_of_the_longest_wait_and_the_deadline_bounds_a_wait() {
    let limiter = exhausted(RateLimitSettings::default().longest_wait(Duration::from_millis(500))).await;
    for (millis, bound) in [(499, WaitBound::Deadline), (500, WaitBound::LongestWait), (501, WaitBound::LongestWait)] {
        let run = Run::builder().deadline(Instant::now() + Duration::from_millis(millis)).build();
        let refused = limiter.request(size(), Priority::Normal, &run).unwrap_err();
        assert_eq!(refused, WaitTooLong { wait: seconds(1), bound }, "{millis}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_numbers_of_waiting_calls_and_of_calls_in_flight_are_shown() {
    let limiter = limiter(requests(3));
    let run = Run::new();
    assert_eq!((limiter.queue_length(), limiter.calls_in_flight()), (0, 0));
    let admitted: Vec<_> = (0..3).map(|_| limiter.request(size(), Priority::Normal, &run).unwrap()).collect();
    let waiting: Vec<_> = (0..2).map(|_| limiter.request(size(), Priority::Normal, &run).unwrap()).collect();
    assert_eq!((limiter.queue_length(), limiter.calls_in_flight()), (2, 3));
    drop((waiting, admitted));
    assert_eq!((limiter.queue_length(), limiter.calls_in_flight()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn only_a_rate_limit_error_pauses_the_account() {
    for (kind, waits) in [(ModelErrorKind::RateLimited, 7), (ModelErrorKind::Overloaded, 0)] {
        let limiter = limiter(RateLimitSettings::default());
        call(&limiter, Err(retry_after(kind, seconds(7)))).await;
        let started = Instant::now();
        let _permit = admit(&limiter, &Run::new()).await.unwrap();
        assert_eq!(started.elapsed(), seconds(waits), "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_size_of_answers_is_learned_only_from_reported_usage() {
    let tokens = RateLimitSettings { output_tokens_per_minute: Some(10_000), ..RateLimitSettings::default() };
    let reserved = |limiter: &Limiter| {
        let before = left(limiter, "output_tokens_per_minute").unwrap();
        let _permit = limiter.request(size(), Priority::Normal, &Run::new()).unwrap();
        before - left(limiter, "output_tokens_per_minute").unwrap()
    };
    for (usage, expected) in [(None, 500), (Some(Usage::new(10, 1_300)), 600), (Some(Usage::new(10, 0)), 437)] {
        let limiter = limiter(tokens.clone());
        call(&limiter, Ok(reply("ok").usage(usage))).await;
        assert_eq!(reserved(&limiter), expected, "{usage:?}");
    }
}
