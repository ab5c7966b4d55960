use std::{
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use brigade_core::{RateLimitStatus, Usage};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::{task::JoinSet, time::sleep};

use super::*;
use crate::{
    Accounts, Charging, LimitHealth,
    testing::{CallResult, Fake, error, event_lines, observed_run, question, reply, seconds},
};

/// A provider's own rate limiter: refuses calls above the limit and reports in headers what remains.
struct ProviderLimits {
    requests: Gauge,
    tokens: Gauge,
    random: SmallRng,
}

struct Gauge {
    limit: f64,
    level: f64,
    at: Instant,
}

impl Gauge {
    fn new(limit: u32) -> Self {
        Self { limit: limit.into(), level: limit.into(), at: Instant::now() }
    }

    fn refill(&mut self) {
        self.level = self.limit.min(self.level + self.limit * self.at.elapsed().as_secs_f64() / 60.0);
        self.at = Instant::now();
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a header is a whole number")]
    fn header(&self) -> RateLimitStatus {
        RateLimitStatus::default()
            .limit(Some(self.limit as u64))
            .remaining(Some(self.level as u64))
            .reset(Some(Duration::from_secs_f64(60.0 * (self.limit - self.level) / self.limit)))
    }
}

/// Tokens of every prompt as the provider counts them, which is more than its bytes divided by four.
const PROMPT: u32 = 700;

struct Provider {
    limits: Mutex<ProviderLimits>,
    refusals: AtomicU32,
    served: AtomicU32,
}

impl Provider {
    fn new(requests: u32, tokens: u32) -> Arc<Self> {
        let random = SmallRng::seed_from_u64(7);
        let limits = ProviderLimits { requests: Gauge::new(requests), tokens: Gauge::new(tokens), random };
        Arc::new(Self { limits: Mutex::new(limits), refusals: AtomicU32::new(0), served: AtomicU32::new(0) })
    }

    /// Counts as OpenAI does: the larger of `max_tokens` and the prompt, when the request arrives.
    async fn serve(&self) -> CallResult {
        let (limits, admitted, took) = {
            let ProviderLimits { requests, tokens, random } = &mut *self.limits.lock().unwrap();
            requests.refill();
            tokens.refill();
            let admitted = requests.level >= 1.0 && tokens.level >= f64::from(PROMPT);
            if admitted {
                requests.level -= 1.0;
                tokens.level -= f64::from(PROMPT);
            }
            let mut limits = reply("").limits;
            (limits.requests, limits.tokens) = (requests.header(), tokens.header());
            (limits, admitted, Duration::from_millis(random.random_range(300..6_000)))
        };
        if !admitted {
            self.refusals.fetch_add(1, Ordering::Relaxed);
            return Err(error(ModelErrorKind::RateLimited).with(|failure| failure.limits = limits));
        }
        sleep(took).await;
        self.served.fetch_add(1, Ordering::Relaxed);
        Ok(reply("ok").usage(Some(Usage::new(PROMPT.into(), 50))).limits(limits))
    }

    fn model(self: &Arc<Self>) -> RateLimit<Fake> {
        let provider = Arc::clone(self);
        let fake = Fake::new("m", move |_, _| {
            let provider = Arc::clone(&provider);
            async move { provider.serve().await }
        });
        RateLimit::new(fake, RateLimitSettings { charging: Some(Charging::OpenAi), ..RateLimitSettings::default() })
    }
}

fn prompt() -> ChatRequest {
    ChatRequest::new("word ".repeat(400))
}

/// Sixty-four workers of four runs call the model for ten minutes, after its limits are known.
async fn run_workers(provider: &Arc<Provider>) {
    let model = provider.model();
    model.chat(&prompt(), &Run::new()).await.unwrap();
    let runs = [Run::new(), Run::new(), Run::new(), Run::new()];
    let mut workers = JoinSet::new();
    for worker in 0..64 {
        let (model, run) = (model.clone(), runs[worker % 4].clone());
        workers.spawn(async move {
            loop {
                model.chat(&prompt(), &run).await.unwrap();
            }
        });
    }
    sleep(Duration::from_mins(10)).await;
}

#[tokio::test(start_paused = true)]
async fn many_workers_use_the_whole_limit_and_are_never_refused() {
    // Bound by requests, then by tokens.
    for (requests, tokens) in [(300, 1_000_000), (10_000, 210_000)] {
        let provider = Provider::new(requests, tokens);
        run_workers(&provider).await;
        let allowed = 11 * requests.min(tokens / PROMPT);
        let served = provider.served.load(Ordering::Relaxed);
        assert_eq!(provider.refusals.load(Ordering::Relaxed), 0);
        assert!(served * 100 >= allowed * 95, "{served} of {allowed}");
        assert!(served <= allowed + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn one_caller_among_many_of_another_run_waits_at_most_twice_its_fair_share() {
    let limits = RateLimitSettings { requests_per_minute: Some(60), burst_percent: 2, ..RateLimitSettings::default() };
    let model = RateLimit::new(Fake::healthy("m"), limits);
    let crowd = Run::new();
    let mut workers = JoinSet::new();
    for _ in 0..63 {
        let (model, run) = (model.clone(), crowd.clone());
        workers.spawn(async move {
            loop {
                model.chat(&question(), &run).await.unwrap();
            }
        });
    }
    sleep(seconds(5)).await;
    let alone = Run::new();
    for _ in 0..20 {
        let started = Instant::now();
        model.chat(&question(), &alone).await.unwrap();
        // One call per second, half of them for each run: a call every two seconds.
        assert!(started.elapsed() <= seconds(4), "{:?}", started.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn only_calls_that_waited_emit_an_event() {
    let model = RateLimit::new(
        Fake::healthy("m"),
        RateLimitSettings { requests_per_minute: Some(1), ..RateLimitSettings::default() },
    );
    let (run, recorder) = observed_run();
    for _ in 0..2 {
        model.chat(&question(), &run).await.unwrap();
    }
    assert_eq!(event_lines(&recorder), ["waited 60s for a/m"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_turn_comes_too_late_fails_at_once_and_costs_nothing() {
    let fake = Fake::healthy("m");
    let model = RateLimit::new(
        fake.clone(),
        RateLimitSettings { requests_per_minute: Some(1), ..RateLimitSettings::default() },
    );
    model.chat(&question(), &Run::new()).await.unwrap();
    let run = Run::builder().deadline(Instant::now() + seconds(30)).build();
    let started = Instant::now();
    let error = model.chat(&question(), &run).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ModelErrorKind::RateLimited, RetryAdvice::After(seconds(60))));
    assert_eq!((started.elapsed(), fake.calls(), error.details().sent), (Duration::ZERO, 1, false));
}

#[tokio::test(start_paused = true)]
async fn a_refused_wait_names_the_setting_that_was_hit() {
    let model = RateLimit::new(Fake::healthy("m"), RateLimitSettings::default());
    for (bound, name) in [
        (WaitBound::LongestWait, "`limits.longest_wait`"),
        (WaitBound::LongestPause, "`limits.longest_pause`"),
        (WaitBound::Queue, "`limits.queue`"),
        (WaitBound::Deadline, "the run or its worker"),
    ] {
        let message = model.refused(WaitTooLong { wait: seconds(3), bound }).to_string();
        assert!(message.contains("no room for 3.0s") && message.contains(name), "{message}");
        assert!(message.matches("`limits.").count() <= 1, "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn max_output_tokens_of_the_model_count_like_those_of_the_request() {
    let settings = Settings::default().max_output_tokens(Some(600));
    let limits = RateLimitSettings {
        tokens_per_minute: Some(1_000),
        charging: Some(Charging::OpenAi),
        ..RateLimitSettings::default()
    };
    let model = RateLimit::new(Fake::healthy("m").with_settings(settings), limits);
    model.chat(&question(), &Run::new()).await.unwrap();
    assert_eq!(model.limiter.headroom(), [LimitHealth { name: "tokens_per_minute", limit: 1_000, remaining: 400 }]);
}

#[tokio::test(start_paused = true)]
async fn cancelling_ends_the_wait() {
    let model = RateLimit::new(
        Fake::healthy("m"),
        RateLimitSettings { requests_per_minute: Some(1), ..RateLimitSettings::default() },
    );
    model.chat(&question(), &Run::new()).await.unwrap();
    let run = Run::new();
    let canceller = async {
        sleep(seconds(1)).await;
        run.cancel();
    };
    let request = question();
    let (result, ()) = tokio::join!(model.chat(&request, &run), canceller);
    assert_eq!(result.unwrap_err().kind(), ModelErrorKind::Cancelled);
    assert_eq!(model.limiter.queue_length(), 0);
}

#[tokio::test(start_paused = true)]
async fn models_of_a_family_share_their_limit_and_others_do_not() {
    let accounts = Accounts::seeded(1);
    let limits = |family: Option<&str>| RateLimitSettings {
        requests_per_minute: Some(1),
        family: family.map(Into::into),
        ..RateLimitSettings::default()
    };
    let model = |name, family| RateLimit::new(Fake::healthy(name), limits(family)).within(&accounts);
    let started = Instant::now();
    for model in [model("a", Some("f")), model("b", None), model("c", None)] {
        model.chat(&question(), &Run::new()).await.unwrap();
    }
    assert_eq!(started.elapsed(), Duration::ZERO);
    model("d", Some("f")).chat(&question(), &Run::new()).await.unwrap();
    assert_eq!(started.elapsed(), seconds(60));
}
