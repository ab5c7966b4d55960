//! Admission to a model under its account's limits.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use brigade_core::{ChatReply, ModelError, ModelErrorKind, RateLimits, RetryAdvice, Run};
use tokio::{sync::Notify, time::Instant};

use crate::{
    Charging, Priority, RateLimitSettings,
    rate_limit::dimension::{DAY, Dimension, MINUTE, is_daily},
    rate_limit::draw::{DIMENSIONS, Demand, Draw, Experience},
    rate_limit::pause::Pause,
    rate_limit::queue::{Place, Queue, Waiter},
};

/// Admits calls to a model, or a family of models, within the limits of their account.
#[derive(Debug)]
pub(crate) struct Limiter {
    limits: RateLimitSettings,
    pause: Arc<Pause>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    dimensions: [Dimension; DIMENSIONS],
    queue: Queue,
    experience: Experience,
}

/// What became of asking to be admitted.
#[derive(Debug)]
pub(crate) enum Entry<'a> {
    Admitted(Admission<'a>),
    Waits(Ticket<'a>),
}

/// A place in the queue, left when dropped.
#[derive(Debug)]
pub(crate) struct Ticket<'a> {
    limiter: &'a Limiter,
    place: Place,
    demand: Demand,
    draw: Draw,
    patience: Instant,
    wake: Arc<Notify>,
}

/// A call that was admitted. What it was expected to take counts as taken when it is dropped without a word, because
/// the provider has probably counted it.
#[derive(Debug)]
pub(crate) struct Admission<'a> {
    limiter: &'a Limiter,
    demand: Demand,
    draw: Draw,
    since: Instant,
    settled: bool,
}

/// The wait is too long. How long it would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLong(pub(crate) Duration);

/// How long an account rests after a refusal that says nothing about it.
const UNTOLD_PAUSE: Duration = Duration::from_secs(1);

impl Limiter {
    /// Limited as configured until responses say more; `pause` is shared by the whole account.
    pub(crate) fn new(limits: RateLimitSettings, pause: Arc<Pause>) -> Self {
        let now = Instant::now();
        let each = |name, window, limit| Dimension::new(name, window, (limit, limits.burst_percent), now);
        // In the order of `Draw::amounts`.
        let dimensions = [
            each("requests_per_minute", MINUTE, limits.requests_per_minute),
            each("input_tokens_per_minute", MINUTE, limits.input_tokens_per_minute),
            each("output_tokens_per_minute", MINUTE, limits.output_tokens_per_minute),
            each("tokens_per_minute", MINUTE, limits.tokens_per_minute),
            each("requests_per_day", DAY, limits.requests_per_day),
            each("tokens_per_day", DAY, limits.tokens_per_day),
        ];
        let state = State { dimensions, queue: Queue::default(), experience: Experience::new() };
        Self { limits, pause, state: Mutex::new(state) }
    }

    /// Admits a call at once if it fits and nobody waits; otherwise gives it a place in the queue, if its turn will come
    /// in time.
    pub(crate) fn enter(&self, demand: Demand, priority: Priority, run: &Run) -> Result<Entry<'_>, TooLong> {
        let now = Instant::now();
        let mut state = self.lock();
        let draw = state.experience.expect(&demand, self.charging());
        if state.queue.is_empty() && self.ready_in(&mut state, &draw, now)?.is_zero() {
            state.reserve(&draw, now);
            return Ok(Entry::Admitted(self.admission(demand, draw, now)));
        }
        let place = state.queue.place(run.trace(), priority);
        let mut before = state.queue.before(place);
        before.iter_mut().zip(draw.amounts()).for_each(|(sum, amount)| *sum = sum.saturating_add(amount));
        let wait = state.holds_in(&before, now).max(self.paused(now)?);
        let patience = self.limits.longest_wait.min(run.time_left().unwrap_or(Duration::MAX));
        if wait > patience || state.queue.len() >= self.limits.queue {
            return Err(TooLong(wait));
        }
        let wake = Arc::new(Notify::new());
        let length = state.share(&draw);
        state.queue.join(place, Waiter { run: run.trace(), draw, length, wake: Arc::clone(&wake) });
        Ok(Entry::Waits(Ticket { limiter: self, place, demand, draw, patience: now + patience, wake }))
    }

    /// How many calls wait.
    pub(crate) fn queue_length(&self) -> usize {
        self.lock().queue.len()
    }

    /// How many calls are with the provider.
    pub(crate) fn calls_in_flight(&self) -> u64 {
        let [requests, ..] = &self.lock().dimensions;
        requests.in_flight()
    }

    /// Name, limit and rest of each limit that is known.
    pub(crate) fn headroom(&self) -> Vec<(&'static str, u64, u64)> {
        let now = Instant::now();
        let mut state = self.lock();
        let known = state.dimensions.iter_mut().filter_map(|dimension| {
            let (limit, remaining) = dimension.headroom(now)?;
            Some((dimension.name(), limit, remaining))
        });
        known.collect()
    }

    /// How long until `draw` fits, if nobody else comes.
    fn ready_in(&self, state: &mut State, draw: &Draw, now: Instant) -> Result<Duration, TooLong> {
        let each = state.dimensions.iter_mut().zip(draw.amounts());
        let ready = each.map(|(dimension, amount)| dimension.ready_in(amount, now)).max().unwrap_or_default();
        Ok(ready.max(self.paused(now)?))
    }

    /// How long the account rests, unless that is longer than anybody should wait.
    fn paused(&self, now: Instant) -> Result<Duration, TooLong> {
        let left = self.pause.left(now);
        if left > self.limits.longest_pause { Err(TooLong(left)) } else { Ok(left) }
    }

    fn charging(&self) -> Charging {
        self.limits.charging.unwrap_or_default()
    }

    fn admission(&self, demand: Demand, draw: Draw, since: Instant) -> Admission<'_> {
        Admission { limiter: self, demand, draw, since, settled: false }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is of plain numbers, so a panic leaves a usable state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn reserve(&mut self, draw: &Draw, now: Instant) {
        for (dimension, amount) in self.dimensions.iter_mut().zip(draw.amounts()) {
            dimension.reserve(amount, now);
        }
    }

    fn settle(&mut self, reserved: &Draw, used: &Draw, now: Instant) {
        let amounts = reserved.amounts().into_iter().zip(used.amounts());
        for (dimension, (reserved, used)) in self.dimensions.iter_mut().zip(amounts) {
            dimension.settle(reserved, used, now);
        }
        self.queue.wake_first();
    }

    fn holds_in(&mut self, amounts: &[u64; DIMENSIONS], now: Instant) -> Duration {
        let each = self.dimensions.iter_mut().zip(amounts);
        each.map(|(dimension, amount)| dimension.holds_in(*amount, now)).max().unwrap_or_default()
    }

    /// The largest part of any limit that a call takes.
    fn share(&self, draw: &Draw) -> u64 {
        let each = self.dimensions.iter().zip(draw.amounts());
        each.map(|(dimension, amount)| dimension.share(amount)).max().unwrap_or_default()
    }

    fn learn(&mut self, said: &RateLimits, since: Instant, now: Instant) {
        let [requests, input, output, tokens, requests_daily, tokens_daily] = &mut self.dimensions;
        input.learn(&said.input_tokens, since, now);
        output.learn(&said.output_tokens, since, now);
        let requests = if is_daily(&said.requests) { requests_daily } else { requests };
        requests.learn(&said.requests, since, now);
        let tokens = if is_daily(&said.tokens) { tokens_daily } else { tokens };
        tokens.learn(&said.tokens, since, now);
    }
}

impl<'a> Ticket<'a> {
    /// Waits for its turn.
    pub(crate) async fn admitted(self) -> Result<Admission<'a>, TooLong> {
        loop {
            let now = Instant::now();
            let look_again = match self.turn(now)? {
                Some(Duration::ZERO) => return Ok(self.limiter.admission(self.demand, self.draw, now)),
                Some(wait) => self.patience.min(now + wait),
                None => self.patience,
            };
            tokio::select! {
                biased;
                () = self.wake.notified() => {}
                () = tokio::time::sleep_until(look_again) => {}
            }
        }
    }

    /// How long until it is admitted, zero if it is now; absent while others come first.
    fn turn(&self, now: Instant) -> Result<Option<Duration>, TooLong> {
        let mut state = self.limiter.lock();
        if !state.queue.is_first(self.place) {
            return if now < self.patience { Ok(None) } else { Err(TooLong(self.limiter.limits.longest_wait)) };
        }
        let wait = self.limiter.ready_in(&mut state, &self.draw, now)?;
        if wait.is_zero() {
            state.reserve(&self.draw, now);
            state.queue.serve(self.place);
        } else if now + wait > self.patience {
            return Err(TooLong(wait));
        }
        Ok(Some(wait))
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.limiter.lock().queue.leave(self.place);
    }
}

impl Admission<'_> {
    /// Replaces what was expected by what the call took, and learns from what the response said.
    pub(crate) fn settle(mut self, result: &Result<ChatReply, ModelError>) {
        let limiter = self.limiter;
        let now = Instant::now();
        let (usage, said) = match result {
            Ok(reply) => (reply.usage, &reply.limits),
            Err(error) => (error.details().usage, &error.details().limits),
        };
        let used = match (usage, result) {
            (Some(usage), _) => self.demand.taken(&usage, limiter.charging()),
            (None, Err(error)) => self.taken_by_failure(error),
            (None, Ok(_)) => self.draw,
        };
        let mut state = limiter.lock();
        if usage.is_some() && result.is_ok() {
            state.experience.learn(&self.demand, &used);
        }
        if let Err(error) = result
            && error.kind() == ModelErrorKind::RateLimited
        {
            limiter.pause.extend(told_pause(error.retry(), said));
        }
        self.settled = true;
        state.settle(&self.draw, &used, now);
        state.learn(said, self.since, now);
    }

    /// What a call took that failed without reporting usage.
    fn taken_by_failure(&self, error: &ModelError) -> Draw {
        let nothing = Draw { requests: 0, input: 0, output: 0, total: 0 };
        match error.kind() {
            // Turned away at the door, but "unsuccessful requests contribute to your per-minute limit" (OpenAI).
            ModelErrorKind::RateLimited => Draw { requests: self.draw.requests, ..nothing },
            _ if error.details().sent => self.draw,
            _ => nothing,
        }
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.limiter.lock().settle(&self.draw, &self.draw, Instant::now());
        }
    }
}

/// How long an account rests after a refusal: as it says, or until the exhausted limit is whole again.
fn told_pause(advice: RetryAdvice, said: &RateLimits) -> Duration {
    if let RetryAdvice::After(wait) = advice {
        return wait;
    }
    let allowances = [&said.requests, &said.tokens, &said.input_tokens, &said.output_tokens];
    let exhausted = allowances.into_iter().filter(|allowance| allowance.remaining == Some(0));
    let reset = exhausted.filter_map(|allowance| allowance.reset).max();
    said.retry_after.or(reset).unwrap_or(UNTOLD_PAUSE)
}

#[cfg(test)]
mod tests;
