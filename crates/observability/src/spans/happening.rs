//! Events that have no span of their own: retries, detours, refusals, what an agent is told.

use brigade_core::{BudgetExceeded, Event, ModelErrorKind, ModelId};
use opentelemetry::{KeyValue, Value};

use super::{names, span::integer};
use crate::metrics::vocabulary::fault;

/// An event as a name and attributes; nothing for what spans tell already or nobody asks a trace for. Whatever may
/// quote a prompt or an answer is left out: reasons of failed workers and rejected answers, names of tools that a model
/// made up.
pub(super) fn happening(event: &Event) -> Option<(&'static str, Vec<KeyValue>)> {
    on_the_way(event).or_else(|| in_the_agent(event))
}

fn on_the_way(event: &Event) -> Option<(&'static str, Vec<KeyValue>)> {
    Some(match event {
        Event::Retrying { model: id, attempt, reason, delay } => (
            "brigade.retry",
            vec![
                model(id),
                error(*reason),
                say(names::ATTEMPT, i64::from(*attempt)),
                say("brigade.delay_seconds", delay.as_secs_f64()),
            ],
        ),
        Event::RetrySuppressed { model: id, reason } => ("brigade.retry_suppressed", vec![model(id), error(*reason)]),
        Event::FellBack { from, to, reason } => (
            "brigade.fallback",
            vec![say("brigade.from", from.to_string()), say("brigade.to", to.to_string()), error(*reason)],
        ),
        Event::BreakerChanged { model: id, state } => {
            ("brigade.breaker_changed", vec![model(id), say("brigade.state", *state)])
        }
        Event::ReplyRestarted => ("brigade.reply_restarted", Vec::new()),
        Event::WireQuirk { provider, kind } => {
            ("brigade.wire_quirk", vec![say(names::PROVIDER, provider.clone()), say("brigade.kind", *kind)])
        }
        _ => return None,
    })
}

fn in_the_agent(event: &Event) -> Option<(&'static str, Vec<KeyValue>)> {
    Some(match event {
        Event::UnknownTool { .. } => ("brigade.unknown_tool", Vec::new()),
        Event::Trimmed { hidden, tokens_before, tokens_after } => (
            "brigade.trimmed",
            vec![
                say("brigade.messages_hidden", integer(*hidden)),
                say("brigade.tokens_before", integer(*tokens_before)),
                say("brigade.tokens_after", integer(*tokens_after)),
            ],
        ),
        Event::AnswerRejected { attempt, .. } => {
            ("brigade.answer_rejected", vec![say(names::ATTEMPT, i64::from(*attempt))])
        }
        Event::LoopNoticed { kind, count } => {
            ("brigade.loop_noticed", vec![say("brigade.kind", *kind), say("brigade.count", i64::from(*count))])
        }
        Event::BudgetRefused(limit) => ("brigade.budget_refused", budget(limit)),
        Event::BudgetWarning(limit) => ("brigade.budget_warning", budget(limit)),
        Event::HandedOff { to } => ("brigade.handed_off", vec![say("brigade.to", to.clone())]),
        Event::WorkerFailed { worker, policy, .. } => {
            ("brigade.worker_failed", vec![say(names::AGENT_NAME, worker.clone()), say("brigade.policy", *policy)])
        }
        _ => return None,
    })
}

fn budget(limit: &BudgetExceeded) -> Vec<KeyValue> {
    vec![say("brigade.scope", limit.scope.clone()), say("brigade.quantity", limit.quantity.name())]
}

fn model(id: &ModelId) -> KeyValue {
    say(names::MODEL, id.to_string())
}

fn error(kind: ModelErrorKind) -> KeyValue {
    say(names::ERROR_TYPE, fault(kind))
}

fn say(name: &'static str, value: impl Into<Value>) -> KeyValue {
    KeyValue::new(name, value)
}
