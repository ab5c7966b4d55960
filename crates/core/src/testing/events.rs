//! An example of every event.

use std::time::Duration;

use crate::{
    BreakerState, Certainty, Charge, Delta, Event, FinishReason, ModelErrorKind, ModelId, Money, Quantity,
    RateLimitStatus, RateLimits, StopReason, ToolStatus, Usage,
};

/// One event of each kind, in the order in which a run with many faults could emit them. For tests of observers: a new
/// kind of event appears here by itself.
///
/// ```
/// use brigade_core::testing::all_events;
///
/// let stored = all_events().into_iter().filter(|event| event.is_stored());
/// assert!(stored.count() > 20);
/// ```
pub fn all_events() -> Vec<Event> {
    std::iter::successors(Some(Event::RunStarted), next).collect()
}

const SECOND: Duration = Duration::from_secs(1);

/// The example that follows this one. It matches every kind, so that a new one must be given a place.
fn next(event: &Event) -> Option<Event> {
    let reason = ModelErrorKind::Overloaded;
    Some(match event {
        Event::RunStarted => Event::Resumed { steps: 4, saved: Money::from_cents(1) },
        Event::Resumed { .. } => Event::TurnStarted { turn: 1, model: model() },
        Event::TurnStarted { .. } => Event::RateLimitWaited { model: model(), waited: SECOND },
        Event::RateLimitWaited { .. } => Event::AttemptStarted { model: model() },
        Event::AttemptStarted { .. } => Event::Delta(Delta::Text("private text".to_owned())),
        Event::Delta(_) => attempt_ended(),
        Event::AttemptEnded { .. } => Event::Retrying { model: model(), attempt: 2, reason, delay: SECOND },
        Event::Retrying { .. } => Event::ReplyRestarted,
        Event::ReplyRestarted => Event::RetrySuppressed { model: model(), reason },
        Event::RetrySuppressed { .. } => Event::BreakerChanged { model: model(), state: BreakerState::Open },
        Event::BreakerChanged { .. } => {
            Event::FellBack { from: model(), to: ModelId::new("anthropic", "claude-sonnet-4-5"), reason }
        }
        Event::FellBack { .. } => Event::RateLimitsReported { model: model(), limits: limits() },
        Event::RateLimitsReported { .. } => {
            Event::WireQuirk { provider: "openai".into(), kind: "unknown_event".into() }
        }
        Event::WireQuirk { .. } => turn_ended(),
        Event::TurnEnded { .. } => Event::ToolStarted { tool: "lookup".into(), call_id: "1".into() },
        Event::ToolStarted { .. } => Event::ToolEnded {
            tool: "lookup".into(),
            call_id: "1".into(),
            outcome: ToolStatus::Timeout,
            reason: Some("no answer within 30s".into()),
            elapsed: SECOND,
        },
        Event::ToolEnded { .. } => Event::UnknownTool { name: "rm -rf".into() },
        Event::UnknownTool { .. } => {
            Event::WorkerFailed { worker: "critic".into(), policy: "fallback".into(), reason: "late".into() }
        }
        Event::WorkerFailed { .. } => Event::LoopNoticed { kind: "tool_call".into(), count: 3 },
        Event::LoopNoticed { .. } => Event::Trimmed { hidden: 2, tokens_before: 9, tokens_after: 3 },
        Event::Trimmed { .. } => Event::AnswerRejected { reason: "private text".into(), attempt: 1 },
        Event::AnswerRejected { .. } => Event::HandedOff { to: "critic".into() },
        Event::HandedOff { .. } => Event::Degraded { part: "session".into(), reason: "disk full".into() },
        Event::Degraded { .. } => {
            let limit = "9 of 10 turns".into();
            Event::BudgetWarning { scope: "process".into(), quantity: Some(Quantity::Turns), limit }
        }
        Event::BudgetWarning { .. } => {
            let limit = "10 of 10 turns".into();
            Event::BudgetRefused { scope: "process".into(), quantity: Some(Quantity::Turns), limit }
        }
        Event::BudgetRefused { .. } => run_ended(),
        Event::RunEnded { .. } => {
            Event::RunFailed { kind: Some(reason), message: "no capacity".into(), elapsed: SECOND }
        }
        Event::RunFailed { .. } => {
            let reason = "`refund` waits for an approval (step `1/tool:1`)".into();
            Event::RunWaiting { reason, elapsed: SECOND }
        }
        Event::RunWaiting { .. } => return None,
    })
}

fn model() -> ModelId {
    ModelId::new("openai", "gpt-5-mini")
}

fn attempt_ended() -> Event {
    let usage = Usage::new(100, 10).cache_read_tokens(Some(60)).cache_write_tokens(Some(20)).reasoning_tokens(Some(5));
    let charge = Charge::new(Certainty::Charged, usage, Some(Money::from_nano(1_500_000_001)));
    Event::AttemptEnded { model: model(), error: None, charge: Some(charge), elapsed: SECOND }
}

fn limits() -> RateLimits {
    RateLimits {
        requests: RateLimitStatus { remaining: Some(7), ..RateLimitStatus::default() },
        ..RateLimits::default()
    }
}

fn turn_ended() -> Event {
    Event::TurnEnded {
        turn: 1,
        model: model(),
        served: Some("gpt-5-mini-2025-08-07".into()),
        usage: None,
        cost: None,
        stop: FinishReason::ToolCalls,
        tool_calls: 2,
        elapsed: SECOND,
    }
}

fn run_ended() -> Event {
    Event::RunEnded {
        stop: StopReason::Finished,
        turns: 2,
        usage: Usage::new(100, 10),
        cost: Some(Money::from_nano(1_500_000_001)),
        elapsed: SECOND,
    }
}
