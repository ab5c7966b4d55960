//! Admits calls within the limits of an account.

use std::{sync::Arc, time::Duration};

use brigade_core::{ChatReply, ModelError, ModelErrorKind, RateLimits, Run};
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use crate::{
    Charging, Priority, RateLimitSettings,
    rate_limit::{
        consumption::{CallSize, Consumption, ConsumptionEstimator},
        dimension::{Dimension, Quantity},
        pause::Pause,
        queue::{Position, Queue, Waiter},
    },
    shared::{instants::after, requested_wait::requested_wait},
};

/// Admits calls to a model, or to a family of models, within the limits of their account.
#[derive(Debug)]
pub(crate) struct Limiter {
    settings: RateLimitSettings,
    pause: Arc<Pause>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    dimensions: Vec<Dimension>,
    queue: Queue,
    estimator: ConsumptionEstimator,
}

/// The answer to a call that asks to be admitted.
#[derive(Debug)]
pub(crate) enum Admission<'a> {
    Admitted(Permit<'a>),
    Queued(QueuedCall<'a>),
}

/// A call that waits in the queue. Dropping it removes it from the queue.
#[derive(Debug)]
pub(crate) struct QueuedCall<'a> {
    limiter: &'a Limiter,
    position: Position,
    call: CallSize<'a>,
    expected: Consumption,
    gives_up_at: Instant,
    bound: WaitBound,
    wake: Arc<Notify>,
}

/// An admitted call. If it is dropped without [`Permit::settle`], its expected consumption counts as used, because the
/// provider has probably counted it.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    limiter: &'a Limiter,
    call: CallSize<'a>,
    expected: Consumption,
    admitted_at: Instant,
    is_settled: bool,
}

/// The call would have to wait this long, which is longer than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WaitTooLong {
    pub(crate) wait: Duration,
    pub(crate) bound: WaitBound,
}

/// The setting that limits how long a call may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitBound {
    LongestWait,
    LongestPause,
    Queue,
    Deadline,
}

/// The limit of one dimension and what remains of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitHealth {
    /// A stable name, such as `requests_per_minute`.
    pub name: &'static str,
    /// The maximum in one period, which `name` states.
    pub limit: u64,
    /// The part of the limit that calls may use now.
    pub remaining: u64,
}

/// How long an account is paused after a 429 that does not say how long to wait.
const DEFAULT_PAUSE: Duration = Duration::from_secs(1);

impl Limiter {
    /// A limiter that starts with the configured limits. All limiters of an account share its `pause`.
    pub(crate) fn new(settings: RateLimitSettings, pause: Arc<Pause>) -> Self {
        let dimensions = Dimension::all(&settings, Instant::now());
        let state = State { dimensions, queue: Queue::default(), estimator: ConsumptionEstimator::new() };
        Self { settings, pause, state: Mutex::new(state) }
    }

    /// Admits a call at once if it fits and no other call waits. Otherwise adds it to the queue, if its turn will come
    /// in time.
    pub(crate) fn request<'a>(
        &'a self,
        call: CallSize<'a>,
        priority: Priority,
        run: &Run,
    ) -> Result<Admission<'a>, WaitTooLong> {
        let now = Instant::now();
        let mut state = self.state.lock();
        let expected = state.estimator.estimate(&call, self.charging());
        if state.queue.is_empty() && self.ready_in(&mut state, &expected, now)?.is_zero() {
            state.reserve(&expected, now);
            return Ok(Admission::Admitted(self.permit(call, expected, now)));
        }
        let position = state.queue.position(run.trace(), priority);
        let until_then = state.queue.consumption_before(position).plus(&expected);
        let wait = state.refilled_in(&until_then, now).max(self.pause_left(now)?);
        let time_left = run.time_left().filter(|left| *left < self.settings.longest_wait);
        let (longest_wait, bound) = match time_left {
            Some(left) => (left, WaitBound::Deadline),
            None => (self.settings.longest_wait, WaitBound::LongestWait),
        };
        if wait > longest_wait {
            return Err(WaitTooLong { wait, bound });
        }
        if state.queue.len() >= self.settings.queue {
            return Err(WaitTooLong { wait, bound: WaitBound::Queue });
        }
        let wake = Arc::new(Notify::new());
        let length = state.dominant_share(&expected);
        state.queue.insert(position, Waiter { run: run.trace(), expected, length, wake: Arc::clone(&wake) });
        let gives_up_at = after(now, longest_wait);
        Ok(Admission::Queued(QueuedCall { limiter: self, position, call, expected, gives_up_at, bound, wake }))
    }

    /// The number of waiting calls.
    pub(crate) fn queue_length(&self) -> usize {
        self.state.lock().queue.len()
    }

    /// The number of admitted calls that have not ended.
    pub(crate) fn calls_in_flight(&self) -> u64 {
        let state = self.state.lock();
        let mut requests = state.dimensions.iter().filter(|dimension| dimension.quantity() == Quantity::Requests);
        requests.next().map_or(0, Dimension::in_flight)
    }

    /// Each limit that is known.
    pub(crate) fn headroom(&self) -> Vec<LimitHealth> {
        let now = Instant::now();
        let mut state = self.state.lock();
        let known = state.dimensions.iter_mut().filter_map(|dimension| {
            let name = dimension.name();
            let bucket = dimension.bucket()?;
            Some(LimitHealth { name, limit: bucket.limit(), remaining: bucket.remaining(now) })
        });
        known.collect()
    }

    /// The time until the call fits, if no other call comes first.
    fn ready_in(&self, state: &mut State, expected: &Consumption, now: Instant) -> Result<Duration, WaitTooLong> {
        let dimensions = state.dimensions.iter_mut();
        let ready = dimensions.map(|dimension| dimension.ready_in(expected.of(dimension.quantity()), now)).max();
        Ok(ready.unwrap_or_default().max(self.pause_left(now)?))
    }

    /// How long the account is still paused; an error if callers should not wait for the end.
    fn pause_left(&self, now: Instant) -> Result<Duration, WaitTooLong> {
        let left = self.pause.remaining(now);
        let too_long = WaitTooLong { wait: left, bound: WaitBound::LongestPause };
        if left > self.settings.longest_pause { Err(too_long) } else { Ok(left) }
    }

    fn charging(&self) -> Charging {
        self.settings.charging.unwrap_or_default()
    }

    fn permit<'a>(&'a self, call: CallSize<'a>, expected: Consumption, admitted_at: Instant) -> Permit<'a> {
        Permit { limiter: self, call, expected, admitted_at, is_settled: false }
    }
}

impl State {
    fn reserve(&mut self, expected: &Consumption, now: Instant) {
        for dimension in &mut self.dimensions {
            dimension.reserve(expected.of(dimension.quantity()), now);
        }
    }

    fn settle(&mut self, reserved: &Consumption, used: &Consumption, now: Instant) {
        for dimension in &mut self.dimensions {
            let quantity = dimension.quantity();
            dimension.settle(reserved.of(quantity), used.of(quantity), now);
        }
        self.queue.wake_first();
    }

    /// The time until the buckets hold `amounts`, the needs of several calls.
    fn refilled_in(&mut self, amounts: &Consumption, now: Instant) -> Duration {
        let dimensions = self.dimensions.iter_mut();
        let waits = dimensions.map(|dimension| dimension.refilled_in(amounts.of(dimension.quantity()), now));
        waits.max().unwrap_or_default()
    }

    /// The largest share of any limit that a call takes.
    fn dominant_share(&self, expected: &Consumption) -> u64 {
        let shares = self.dimensions.iter().map(|dimension| dimension.share(expected.of(dimension.quantity())));
        shares.max().unwrap_or_default()
    }

    /// Corrects the limits by those of a response to a request sent at `since`.
    fn learn(&mut self, reported: &RateLimits, since: Instant, now: Instant) {
        for dimension in &mut self.dimensions {
            let status = match dimension.quantity() {
                Quantity::Requests => &reported.requests,
                Quantity::InputTokens => &reported.input_tokens,
                Quantity::OutputTokens => &reported.output_tokens,
                Quantity::TotalTokens => &reported.tokens,
            };
            if dimension.is_reported_by(status) {
                dimension.learn(status, since, now);
            }
        }
    }
}

/// What a queued call does next.
enum QueueStep {
    Admitted,
    /// It is the first in the queue, and fits after this time.
    FitsIn(Duration),
    /// Other calls come first.
    NotYet,
}

impl<'a> QueuedCall<'a> {
    /// Waits until the call is admitted.
    pub(crate) async fn admitted(self) -> Result<Permit<'a>, WaitTooLong> {
        loop {
            let now = Instant::now();
            let check_at = match self.next_step(now)? {
                QueueStep::Admitted => return Ok(self.limiter.permit(self.call, self.expected, now)),
                QueueStep::FitsIn(wait) => self.gives_up_at.min(after(now, wait)),
                QueueStep::NotYet => self.gives_up_at,
            };
            tokio::select! {
                biased;
                () = self.wake.notified() => {}
                () = tokio::time::sleep_until(check_at) => {}
            }
        }
    }

    fn next_step(&self, now: Instant) -> Result<QueueStep, WaitTooLong> {
        let mut state = self.limiter.state.lock();
        if !state.queue.is_first(self.position) {
            let too_long = WaitTooLong { wait: self.limiter.settings.longest_wait, bound: self.bound };
            return if now < self.gives_up_at { Ok(QueueStep::NotYet) } else { Err(too_long) };
        }
        let wait = self.limiter.ready_in(&mut state, &self.expected, now)?;
        if wait.is_zero() {
            state.reserve(&self.expected, now);
            state.queue.serve(self.position);
            return Ok(QueueStep::Admitted);
        }
        let too_long = WaitTooLong { wait, bound: self.bound };
        if after(now, wait) > self.gives_up_at { Err(too_long) } else { Ok(QueueStep::FitsIn(wait)) }
    }
}

impl Drop for QueuedCall<'_> {
    fn drop(&mut self) {
        self.limiter.state.lock().queue.remove(self.position);
    }
}

impl Permit<'_> {
    /// Replaces the expected consumption with the actual one, and learns from the response.
    pub(crate) fn settle(mut self, result: &Result<ChatReply, ModelError>) {
        let limiter = self.limiter;
        let now = Instant::now();
        let (usage, reported) = match result {
            Ok(reply) => (reply.usage, &reply.limits),
            Err(error) => (error.details().usage, &error.details().limits),
        };
        let reported_consumption = usage.map(|usage| self.call.consumption(&usage, limiter.charging()));
        let used = match (reported_consumption, result) {
            (Some(used), _) => used,
            (None, Err(error)) => self.consumption_of_failure(error),
            (None, Ok(_)) => self.expected,
        };
        let mut state = limiter.state.lock();
        match result {
            Ok(reply) if usage.is_some() => state.estimator.learn(&self.call, &used),
            Err(error) if error.kind() == ModelErrorKind::RateLimited => {
                limiter.pause.extend(requested_wait(error).unwrap_or(DEFAULT_PAUSE));
            }
            Ok(_) | Err(_) => {}
        }
        self.is_settled = true;
        state.settle(&self.expected, &used, now);
        state.learn(reported, self.admitted_at, now);
    }

    /// The consumption of a failed call whose usage was not reported.
    fn consumption_of_failure(&self, error: &ModelError) -> Consumption {
        if error.kind() == ModelErrorKind::RateLimited {
            // "Unsuccessful requests contribute to your per-minute limit" (OpenAI).
            Consumption { requests: self.expected.requests, ..Consumption::default() }
        } else if error.details().sent {
            self.expected
        } else {
            Consumption::default()
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.is_settled {
            self.limiter.state.lock().settle(&self.expected, &self.expected, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests;
