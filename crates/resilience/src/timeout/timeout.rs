//! Limits on how long one attempt may take.

use std::{pin::pin, time::Duration};

use async_trait::async_trait;
use brigade_core::{
    ChatModel, ChatReply, ChatRequest, Interruption, ModelError, ModelErrorKind, ModelId, Reasoning, Run, Settings,
    TimeoutPhase,
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::shared::{stopped::stopped, watch::Watched};

/// How long one attempt may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// Until the first piece of a streamed answer. 60 s: a provider under load takes tens of seconds, never minutes.
    #[serde(with = "humantime_serde")]
    pub first_delta: Duration,
    /// The same for a request, or a model by its settings, that asks for reasoning. 300 s: hidden reasoning shows nothing for minutes. For models
    /// that reason without being asked, raise `first_delta` too ([`Timeouts::reasoning`]).
    #[serde(with = "humantime_serde")]
    pub first_delta_reasoning: Duration,
    /// Between two pieces that carry something. 120 s: pauses inside an answer are long where a model thinks between
    /// tool calls. Pings and comments are no pieces and do not extend it.
    #[serde(with = "humantime_serde")]
    pub idle: Duration,
    /// For a whole answer, of which nothing is seen until it is done: this for each token that it may have, on top of the
    /// limit for the first piece. 50 ms: models under load still generate 20 tokens a second. A request that sets no
    /// `max_output_tokens` has only the limit of the attempt; streams are found to hang much sooner.
    #[serde(with = "humantime_serde")]
    pub output_token: Duration,
    /// The whole attempt, streamed or not. 600 s: the vendors' own clients wait that long.
    #[serde(with = "humantime_serde")]
    pub attempt: Duration,
}

/// Ends an attempt that takes too long. The innermost wrapper: time in queues is not slowness.
///
/// The first piece and the pauses between pieces are watched only when somebody listens
/// ([`Run::wants_deltas`]), because otherwise providers do not stream; whole answers get the time that their length can
/// take. They are not streamed behind the caller's back: there are accounts and servers that may not or cannot stream.
/// The end of the run ends the attempt in any case.
#[derive(Debug, Clone)]
pub struct Timeout<M> {
    inner: M,
    limits: Timeouts,
}

impl<M: ChatModel> Timeout<M> {
    /// Holds `inner` to `limits`.
    pub fn new(inner: M, limits: Timeouts) -> Self {
        Self { inner, limits }
    }

    async fn within(&self, request: &ChatRequest, clock: &Clock<'_>) -> Result<ChatReply, ModelError> {
        let run = clock.watched.run().for_call();
        let mut call = pin!(self.inner.chat(request, &run));
        // One timer for all limits: when it fires and the answer has moved on, it is set again.
        let mut timer = pin!(tokio::time::sleep_until(clock.look_again(clock.started)));
        loop {
            tokio::select! {
                biased;
                reply = &mut call => return reply,
                () = run.cancelled() => return Err(stopped(Interruption::Cancelled, self.id())),
                () = &mut timer => {
                    let (due, now) = (clock.next(), Instant::now());
                    if due.at <= now {
                        let error = self.overdue(due.end);
                        run.set_drop_reason(error.kind());
                        return Err(error);
                    }
                    timer.as_mut().reset(clock.look_again(now));
                }
            }
        }
    }

    fn overdue(&self, end: End) -> ModelError {
        let End::Overdue(phase, limit) = end else {
            return stopped(Interruption::Deadline, self.id());
        };
        let what = match phase {
            TimeoutPhase::Connect => "no connection",
            TimeoutPhase::FirstDelta => "no part of the answer",
            TimeoutPhase::Idle => "nothing more of the answer",
            TimeoutPhase::Attempt => "no complete answer",
        };
        let message = format!("{what} within {limit:?}");
        ModelError::new(ModelErrorKind::Timeout(phase), message).with(|failure| {
            failure.model = Some(self.id().clone());
            failure.sent = true;
        })
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<M: ChatModel> ChatModel for Timeout<M> {
    fn id(&self) -> &ModelId {
        self.inner.id()
    }

    fn settings(&self) -> &Settings {
        self.inner.settings()
    }

    async fn chat(&self, request: &ChatRequest, run: &Run) -> Result<ChatReply, ModelError> {
        let watched = Watched::over(run);
        let (asked, usual) = (&request.settings, self.inner.settings());
        let reasoning = asked.reasoning.or(usual.reasoning);
        let clock = Clock {
            limits: self.limits,
            reasons: !matches!(reasoning, None | Some(Reasoning::Off)),
            output_tokens: asked.max_output_tokens.or(usual.max_output_tokens),
            started: Instant::now(),
            watched: &watched,
        };
        self.within(request, &clock).await
    }
}

impl Timeouts {
    /// For models that always reason: the first piece may take as long as with reasoning asked for.
    pub fn reasoning() -> Self {
        let limits = Self::default();
        Self { first_delta: limits.first_delta_reasoning, ..limits }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            first_delta: Duration::from_mins(1),
            first_delta_reasoning: Duration::from_mins(5),
            idle: Duration::from_mins(2),
            output_token: Duration::from_millis(50),
            attempt: Duration::from_mins(10),
        }
    }
}

/// Knows which limit of an attempt comes next.
struct Clock<'a> {
    limits: Timeouts,
    reasons: bool,
    /// The most that the answer may have, if that is said.
    output_tokens: Option<u32>,
    started: Instant,
    watched: &'a Watched,
}

/// When an attempt ends if nothing happens until then, and why.
struct Due {
    at: Instant,
    end: End,
}

#[derive(Clone, Copy)]
enum End {
    Overdue(TimeoutPhase, Duration),
    RunIsOver,
}

impl Clock<'_> {
    /// When a limit may be met at the earliest: the pause after a piece that comes from now on is shorter, as a rule, than
    /// what was waited for the first.
    fn look_again(&self, now: Instant) -> Instant {
        let next = self.next().at;
        if self.watched.is_told() { next.min(Due::of(TimeoutPhase::Idle, now, self.limits.idle).at) } else { next }
    }

    fn next(&self) -> Due {
        let attempt = Due::of(TimeoutPhase::Attempt, self.started, self.limits.attempt);
        let run = self.watched.run().deadline().map(|at| Due { at, end: End::RunIsOver });
        [self.next_piece(), run].into_iter().flatten().fold(
            attempt,
            |first, due| {
                if due.at < first.at { due } else { first }
            },
        )
    }

    /// When the next piece must be there; the whole answer, if that is the only one.
    fn next_piece(&self) -> Option<Due> {
        let Timeouts { first_delta, first_delta_reasoning, idle, output_token, .. } = self.limits;
        let first = if self.reasons { first_delta_reasoning } else { first_delta };
        if !self.watched.is_told() {
            let whole = first.saturating_add(output_token.saturating_mul(self.output_tokens?));
            return Some(Due::of(TimeoutPhase::Attempt, self.started, whole));
        }
        Some(match self.watched.latest() {
            Some(latest) => Due::of(TimeoutPhase::Idle, latest, idle),
            None => Due::of(TimeoutPhase::FirstDelta, self.started, first),
        })
    }
}

impl Due {
    fn of(phase: TimeoutPhase, since: Instant, limit: Duration) -> Self {
        // A configured "for ever" must not overflow; a day is for ever here.
        let at = since + limit.min(Duration::from_hours(24));
        Self { at, end: End::Overdue(phase, limit) }
    }
}

#[cfg(test)]
mod tests;
