//! The deadlines of one attempt.

use std::time::Duration;

use brigade_core::{Reasoning, Settings, TimeoutPhase};
use tokio::time::Instant;

use crate::{Timeouts, shared::reply_watch::ReplyWatch};

/// The deadlines of one attempt.
pub(crate) struct Deadlines {
    timeouts: Timeouts,
    started: Instant,
    reasons: bool,
    max_output_tokens: Option<u32>,
}

/// When an attempt expires unless it makes progress, and why.
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    pub(crate) reason: Expiry,
}

#[derive(Clone, Copy)]
pub(crate) enum Expiry {
    Timeout {
        phase: TimeoutPhase,
        limit: Duration,
        /// The field of [`Timeouts`] that sets the limit.
        setting: &'static str,
    },
    RunEnded,
}

impl Deadlines {
    /// The deadlines of an attempt that starts now. Where the request sets nothing, the model's own settings count.
    pub(crate) fn new(timeouts: Timeouts, request: &Settings, model: &Settings) -> Self {
        let reasoning = request.reasoning.or(model.reasoning);
        Self {
            timeouts,
            started: Instant::now(),
            reasons: !matches!(reasoning, None | Some(Reasoning::Off)),
            max_output_tokens: request.max_output_tokens.or(model.max_output_tokens),
        }
    }

    /// The deadline that comes first.
    pub(crate) fn next(&self, reply: &ReplyWatch) -> Deadline {
        let attempt = Deadline::timeout(TimeoutPhase::Attempt, self.started, self.timeouts.attempt, "attempt");
        let run = reply.run().deadline().map(|at| Deadline { at, reason: Expiry::RunEnded });
        let others = [self.progress(reply), run].into_iter().flatten();
        others.fold(attempt, |first, other| if other.at < first.at { other } else { first })
    }

    /// When the next delta is due, or the whole reply if it is not streamed.
    fn progress(&self, reply: &ReplyWatch) -> Option<Deadline> {
        let Timeouts { first_delta, first_delta_reasoning, idle, output_token, .. } = self.timeouts;
        let (first, setting) =
            if self.reasons { (first_delta_reasoning, "first_delta_reasoning") } else { (first_delta, "first_delta") };
        if !reply.is_streamed() {
            let whole = first.saturating_add(output_token.saturating_mul(self.max_output_tokens?));
            return Some(Deadline::timeout(TimeoutPhase::Attempt, self.started, whole, "output_token"));
        }
        Some(match reply.last_delta_at() {
            Some(last) => Deadline::timeout(TimeoutPhase::Idle, last, idle, "idle"),
            None => Deadline::timeout(TimeoutPhase::FirstDelta, self.started, first, setting),
        })
    }
}

impl Deadline {
    fn timeout(phase: TimeoutPhase, since: Instant, limit: Duration, setting: &'static str) -> Self {
        // A very long configured limit must not overflow; a day is as good as no limit.
        let at = since + limit.min(Duration::from_hours(24));
        Self { at, reason: Expiry::Timeout { phase, limit, setting } }
    }
}
