//! The log lines of a run, one place for all of them.

use crate::{Event, Money, Run, Usage};

/// Writes the line that belongs to an event. INFO tells the story of a run; the rest is for development.
pub(crate) fn event(run: &Run, event: &Event) {
    let agent = &**run.agent();
    match event {
        Event::RunStarted => tracing::info!(target: "brigade_core::run", "started"),
        Event::RunEnded { stop, turns, usage, cost, elapsed } => tracing::info!(
            target: "brigade_core::run",
            "{}: {turns} turns, {}, {}, {elapsed:.1?}", stop.name(), tokens(Some(*usage)), money(*cost),
        ),
        Event::RunFailed { message, elapsed, .. } => {
            tracing::error!(target: "brigade_core::run", "failed after {elapsed:.1?}: {message}");
        }
        Event::TurnStarted { turn, model } => {
            tracing::debug!(target: "brigade_core::agent", "turn {turn}: asking {model}");
        }
        Event::TurnEnded { turn, model, usage, cost, stop, tool_calls, elapsed } => tracing::info!(
            target: "brigade_core::agent",
            "turn {turn}: {model} {}, {tool_calls} tool calls, {}, {}, {elapsed:.1?}",
            stop.name(), tokens(*usage), money(*cost),
        ),
        Event::AttemptStarted { model } => tracing::debug!(target: "brigade_core::attempt", "asking {model}"),
        Event::AttemptEnded { model, error: Some(error), elapsed, .. } => {
            tracing::warn!(target: "brigade_core::attempt", "{model} failed after {elapsed:.1?}: {}", error.name());
        }
        Event::AttemptEnded { model, elapsed, .. } => {
            tracing::debug!(target: "brigade_core::attempt", "{model} answered after {elapsed:.1?}");
        }
        Event::Delta(_) => {}
        Event::ReplyRestarted => tracing::info!(target: "brigade_core::attempt", "the reply starts again"),
        Event::RateLimitWaited { model, waited } => {
            tracing::info!(target: "brigade_core::attempt", "waited {waited:.1?} for the rate limit of {model}");
        }
        Event::Retrying { model, attempt, reason, delay } => tracing::warn!(
            target: "brigade_core::attempt",
            "{model}: {}, attempt {attempt} in {delay:.1?}", reason.name(),
        ),
        Event::RetrySuppressed { model, reason } => tracing::warn!(
            target: "brigade_core::attempt",
            "{model}: {}, not tried again: the retry budget is used up", reason.name(),
        ),
        Event::FellBack { from, to, reason } => {
            tracing::warn!(target: "brigade_core::attempt", "{from}: {}, falling back to {to}", reason.name());
        }
        Event::BreakerChanged { model, state } => {
            tracing::warn!(target: "brigade_core::attempt", "the breaker of {model} is {state}");
        }
        Event::ToolStarted { tool, .. } => tracing::debug!(target: "brigade_core::tool", "{tool} started"),
        Event::ToolEnded { tool, outcome, elapsed, .. } => {
            tracing::info!(target: "brigade_core::tool", "{tool}: {outcome}, {elapsed:.1?}");
        }
        Event::UnknownTool { name } => {
            tracing::warn!(target: "brigade_core::tool", "{agent} has no tool called {name:?}");
        }
        Event::Trimmed { hidden, tokens_before, tokens_after } => tracing::info!(
            target: "brigade_core::memory",
            "hid {hidden} old messages: about {tokens_before} tokens, now {tokens_after}",
        ),
        Event::AnswerRejected { reason, attempt } => {
            tracing::warn!(target: "brigade_core::agent", "answer rejected ({attempt}): {reason}");
        }
        Event::LoopNoticed { kind, count } => {
            tracing::warn!(target: "brigade_core::agent", "repeated {kind} seen {count} times");
        }
        Event::BudgetRefused(refusal) => tracing::warn!(target: "brigade_core::budget", "{refusal}"),
        Event::BudgetWarning(refusal) => tracing::warn!(target: "brigade_core::budget", "soft limit: {refusal}"),
        Event::HandedOff { to } => tracing::info!(target: "brigade_core::agent", "handed off to {to}"),
        Event::WorkerFailed { worker, policy, reason } => {
            tracing::warn!(target: "brigade_core::worker", "{worker} failed, policy {policy}: {reason}");
        }
        Event::WireQuirk { provider, kind } => tracing::debug!(target: "brigade_core::attempt", "{provider}: {kind}"),
    }
}

fn tokens(usage: Option<Usage>) -> String {
    usage.map_or_else(|| "tokens unknown".to_owned(), |usage| format!("{} tokens", usage.total_tokens()))
}

fn money(cost: Option<Money>) -> String {
    cost.map_or_else(|| "no price".to_owned(), |cost| cost.to_string())
}
