//! The texts of the tree's lines.

use std::time::Duration;

use brigade_core::{Certainty, Charge, Event, FinishReason, ModelErrorKind, Money, Usage};

/// The title of an event's line: all there is to say about an event without a duration.
pub(super) fn title(event: &Event) -> String {
    match event {
        Event::TurnEnded { turn, model, served: Some(name), .. } => format!("turn {turn} {model} ({name})"),
        Event::TurnStarted { turn, model } | Event::TurnEnded { turn, model, .. } => format!("turn {turn} {model}"),
        Event::AttemptStarted { model } | Event::AttemptEnded { model, .. } => format!("attempt {model}"),
        Event::ToolStarted { tool, .. } | Event::ToolEnded { tool, .. } => format!("tool {tool}"),
        Event::ReplyRestarted => "the reply starts again".to_owned(),
        Event::RateLimitWaited { waited, .. } => format!("rate limit: waited {}", time(*waited)),
        Event::Retrying { attempt, reason, delay, .. } => {
            format!("retry: attempt {attempt} in {}, because {}", time(*delay), reason.name())
        }
        Event::RetrySuppressed { reason, .. } => {
            format!("no retry after {}: the retry budget is used up", reason.name())
        }
        Event::FellBack { to, reason, .. } => format!("fallback to {to}, because {}", reason.name()),
        Event::BreakerChanged { model, state } => format!("breaker of {model} is {}", state.name()),
        Event::UnknownTool { name } => format!("asked for an unknown tool {name:?}"),
        Event::Trimmed { hidden, tokens_before, tokens_after } => {
            format!("hid {}: {tokens_before} tokens, now {tokens_after}", count(*hidden as u64, "old message"))
        }
        Event::AnswerRejected { attempt, .. } => format!("answer rejected ({attempt})"),
        Event::LoopNoticed { kind, count: times } => {
            format!("repeated {kind} seen {}", count(u64::from(*times), "time"))
        }
        Event::BudgetRefused { limit, .. } => format!("refused: {limit}"),
        Event::BudgetWarning { limit, .. } => format!("soft limit: {limit}"),
        Event::Resumed { steps, saved } => {
            format!("resumed: {} answered from the journal, {saved} not paid again", count(*steps, "step"))
        }
        Event::HandedOff { to } => format!("handed off to {to}"),
        Event::Degraded { part, reason } => format!("degraded ({part}): {reason}"),
        Event::WorkerFailed { worker, policy, reason } => format!("worker {worker} failed, policy {policy}: {reason}"),
        Event::WireQuirk { provider, kind } => format!("quirk of {provider}: {kind}"),
        // A run's line is titled with the agent's path; deltas and rate limits have no line.
        Event::RunStarted
        | Event::RunEnded { .. }
        | Event::RunFailed { .. }
        | Event::RunWaiting { .. }
        | Event::Delta(_)
        | Event::RateLimitsReported { .. } => String::new(),
    }
}

/// The result of a turn.
pub(super) fn turn(usage: Option<&Usage>, cost: Option<Money>, stop: FinishReason, tool_calls: usize) -> Vec<String> {
    let asked = if tool_calls > 0 { count(tool_calls as u64, "tool call") } else { stop.name().to_owned() };
    vec![asked, tokens(usage), money(cost)]
}

/// The result of an attempt.
pub(super) fn attempt(error: Option<ModelErrorKind>, charge: Option<&Charge>) -> Vec<String> {
    let mut facts = vec![error.map_or("ok", ModelErrorKind::name).to_owned()];
    if let Some(Charge { certainty, usage, cost, .. }) = charge {
        let unsure = match certainty {
            Certainty::Charged => String::new(),
            Certainty::Estimated | Certainty::Uncertain => format!(" {}", certainty.name()),
        };
        facts.extend([tokens(Some(usage)), money(*cost) + &unsure]);
    }
    facts
}

pub(super) fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

pub(super) fn tokens(usage: Option<&Usage>) -> String {
    usage.map_or_else(
        || "tokens unknown".to_owned(),
        |usage| format!("{} tokens in, {} out", usage.input_tokens, usage.output_tokens),
    )
}

pub(super) fn money(cost: Option<Money>) -> String {
    cost.map_or_else(|| "no price".to_owned(), |cost| cost.to_string())
}

pub(super) fn time(duration: Duration) -> String {
    format!("{duration:.1?}")
}
