//! Events of spans, for what has no span of its own: retries, fallbacks, refusals, notices.

use brigade_core::{Event, ModelErrorKind, ModelId, Quantity};
use opentelemetry::{KeyValue, Value};

use super::{names, span::integer};
use crate::metrics::labels::error_type;

/// An event of a span.
pub(super) struct SpanEvent {
    pub(super) name: &'static str,
    pub(super) attributes: Vec<KeyValue>,
}

/// An event as a span event; `None` if it has a span of its own or is of no use in a trace. Whatever may quote a prompt
/// or an answer is left out: reasons of failures and rejections, and names of tools that a model made up.
pub(super) fn span_event(event: &Event) -> Option<SpanEvent> {
    let (name, attributes) = match event {
        Event::Retrying { model, attempt, reason, delay } => {
            let delay = attribute("brigade.delay_seconds", delay.as_secs_f64());
            ("brigade.retry", vec![of_model(model), error(*reason), number(names::ATTEMPT, *attempt), delay])
        }
        Event::RetrySuppressed { model, reason } => ("brigade.retry_suppressed", vec![of_model(model), error(*reason)]),
        Event::FellBack { from, to, reason } => {
            let models = [attribute("brigade.from", from.to_string()), attribute("brigade.to", to.to_string())];
            ("brigade.fallback", models.into_iter().chain([error(*reason)]).collect())
        }
        Event::BreakerChanged { model, state } => {
            ("brigade.breaker_changed", vec![of_model(model), attribute("brigade.state", state.name())])
        }
        Event::ReplyRestarted => ("brigade.reply_restarted", Vec::new()),
        Event::WireQuirk { provider, kind } => {
            let provider = attribute(names::PROVIDER, provider.clone());
            ("brigade.wire_quirk", vec![provider, attribute("brigade.kind", kind.clone())])
        }
        Event::UnknownTool { .. } => ("brigade.unknown_tool", Vec::new()),
        Event::Trimmed { hidden, tokens_before, tokens_after } => {
            let tokens =
                [number("brigade.tokens_before", *tokens_before), number("brigade.tokens_after", *tokens_after)];
            ("brigade.trimmed", [number("brigade.messages_hidden", *hidden)].into_iter().chain(tokens).collect())
        }
        Event::AnswerRejected { attempt, .. } => ("brigade.answer_rejected", vec![number(names::ATTEMPT, *attempt)]),
        Event::LoopNoticed { kind, count } => {
            ("brigade.loop_noticed", vec![attribute("brigade.kind", kind.clone()), number("brigade.count", *count)])
        }
        Event::BudgetRefused { scope, quantity, .. } => ("brigade.budget_refused", budget(scope, *quantity)),
        Event::BudgetWarning { scope, quantity, .. } => ("brigade.budget_warning", budget(scope, *quantity)),
        Event::Resumed { steps, saved } => {
            let saved = attribute("brigade.saved_usd", saved.as_usd_lossy());
            ("brigade.resumed", vec![number("brigade.steps", *steps), saved])
        }
        Event::HandedOff { to } => ("brigade.handed_off", vec![attribute("brigade.to", to.clone())]),
        Event::Degraded { part, .. } => ("brigade.degraded", vec![attribute("brigade.part", part.clone())]),
        Event::WorkerFailed { worker, policy, .. } => {
            let worker = attribute(names::AGENT_NAME, worker.clone());
            ("brigade.worker_failed", vec![worker, attribute("brigade.policy", policy.clone())])
        }
        // These start or end a span, or are one. Deltas are content; rate limits come with every answer.
        Event::RunStarted
        | Event::RunEnded { .. }
        | Event::RunFailed { .. }
        | Event::RunWaiting { .. }
        | Event::TurnStarted { .. }
        | Event::TurnEnded { .. }
        | Event::AttemptStarted { .. }
        | Event::AttemptEnded { .. }
        | Event::RateLimitWaited { .. }
        | Event::ToolStarted { .. }
        | Event::ToolEnded { .. }
        | Event::Delta(_)
        | Event::RateLimitsReported { .. } => return None,
    };
    Some(SpanEvent { name, attributes })
}

fn budget(scope: &str, quantity: Option<Quantity>) -> Vec<KeyValue> {
    let quantity = quantity.map(|quantity| attribute("brigade.quantity", quantity.name()));
    [attribute("brigade.scope", scope.to_owned())].into_iter().chain(quantity).collect()
}

fn of_model(id: &ModelId) -> KeyValue {
    attribute(names::MODEL, id.to_string())
}

fn error(kind: ModelErrorKind) -> KeyValue {
    attribute(names::ERROR_TYPE, error_type(kind))
}

fn number(name: &'static str, number: impl TryInto<i64>) -> KeyValue {
    attribute(name, integer(number))
}

fn attribute(name: &'static str, value: impl Into<Value>) -> KeyValue {
    KeyValue::new(name, value)
}
