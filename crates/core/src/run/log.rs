//! The log lines of a run, one place for all of them.
//!
//! INFO tells the story of a run in a handful of lines and ends it with a summary; DEBUG is for development. A message
//! says everything in words; the fields beside it, always with an `event`, repeat the amounts for machines. Where no
//! subscriber of `tracing` reads them, lines are not even looked for.

use std::time::Duration;

use crate::{BudgetExceeded, Charge, CostSummary, Event, ModelErrorKind, ModelId, Money, Run, Usage};

/// Writes the line that belongs to an event.
pub(crate) fn event(run: &Run, event: &Event) {
    match event {
        Event::RunStarted | Event::RunEnded { .. } | Event::RunFailed { .. } => run_line(run, event),
        Event::TurnStarted { turn, model } => {
            tracing::debug!(target: "brigade_core::agent", event = "turn_started", turn, "turn {turn}: asking {model}");
        }
        Event::TurnEnded { .. } => turn_line(event),
        Event::AttemptStarted { model } => {
            tracing::debug!(target: "brigade_core::attempt", event = "attempt_started", %model, "asking {model}");
        }
        Event::AttemptEnded { model, error, charge, elapsed } => {
            attempt_line(model, *error, charge.as_ref(), *elapsed);
        }
        Event::ReplyRestarted
        | Event::RateLimitWaited { .. }
        | Event::Retrying { .. }
        | Event::RetrySuppressed { .. }
        | Event::FellBack { .. }
        | Event::BreakerChanged { .. }
        | Event::WireQuirk { .. } => way_line(event),
        Event::ToolStarted { tool, .. } => {
            tracing::debug!(target: "brigade_core::tool", event = "tool_started", %tool, "{tool} started");
        }
        Event::ToolEnded { tool, outcome, elapsed, .. } => tool_line(tool, outcome, *elapsed),
        Event::BudgetRefused(exceeded) => budget_line(exceeded, "refused"),
        Event::BudgetWarning(exceeded) => budget_line(exceeded, "soft limit"),
        Event::WorkerFailed { worker, policy, reason } => tracing::warn!(
            target: "brigade_core::worker", event = "worker_failed", %worker, policy,
            "{worker} failed, policy {policy}: {reason}",
        ),
        // Pieces of an answer are content, and many; rate limits come with every answer and are for metrics.
        Event::Delta(_) | Event::RateLimitsReported { .. } => {}
        _ => conversation_line(event),
    }
}

/// Where a run begins and ends. A worker's start is not part of the story: its supervisor's tool line names it.
fn run_line(run: &Run, event: &Event) {
    let top = run.depth() == 0;
    match event {
        Event::RunStarted if top => tracing::info!(target: "brigade_core::run", event = "run_started", "started"),
        Event::RunStarted => tracing::debug!(target: "brigade_core::run", event = "run_started", "started"),
        Event::RunEnded { stop, turns, usage, cost, elapsed } => tracing::info!(
            target: "brigade_core::run", event = "run_ended", outcome = stop.name(), turns,
            input_tokens = usage.input_tokens, output_tokens = usage.output_tokens, cost_usd = usd(*cost),
            elapsed_ms = millis(*elapsed),
            "{}: {}, {} tokens in, {} out, {}{}, {elapsed:.1?}", stop.name(), count(u64::from(*turns), "turn"),
            usage.input_tokens, usage.output_tokens, money(*cost), shares(&run.ledger().summary()),
        ),
        // A worker's failure is its supervisor's to judge, and giving up is no fault.
        Event::RunFailed { kind, message, elapsed } if top && *kind != Some(ModelErrorKind::Cancelled) => {
            tracing::error!(
                target: "brigade_core::run", event = "run_failed", error = kind.map(ModelErrorKind::name),
                cost_usd = usd(spent(run)), elapsed_ms = millis(*elapsed),
                "failed after {elapsed:.1?}, {}{}: {message}", money(spent(run)), shares(&run.ledger().summary()),
            );
        }
        Event::RunFailed { kind, message, elapsed } => tracing::warn!(
            target: "brigade_core::run", event = "run_failed", error = kind.map(ModelErrorKind::name),
            cost_usd = usd(spent(run)), elapsed_ms = millis(*elapsed),
            "failed after {elapsed:.1?}, {}{}: {message}", money(spent(run)), shares(&run.ledger().summary()),
        ),
        _ => {}
    }
}

fn turn_line(event: &Event) {
    if let Event::TurnEnded { turn, model, usage, cost, stop, tool_calls, elapsed } = event {
        let asked = || if *tool_calls > 0 { count(*tool_calls as u64, "tool call") } else { stop.name().to_owned() };
        tracing::info!(
            target: "brigade_core::agent", event = "turn_ended", turn, %model, stop = stop.name(), tool_calls,
            input_tokens = usage.map(|usage| usage.input_tokens),
            output_tokens = usage.map(|usage| usage.output_tokens),
            cost_usd = usd(*cost), elapsed_ms = millis(*elapsed),
            "turn {turn}: {model}, {}, {}, {}, {elapsed:.1?}", asked(), tokens(*usage), money(*cost),
        );
    }
}

/// An answered attempt is told by its turn; a failed one took time and perhaps money that no other line shows.
fn attempt_line(model: &ModelId, error: Option<ModelErrorKind>, charge: Option<&Charge>, elapsed: Duration) {
    let cost = charge.and_then(|charge| charge.cost);
    if let Some(error) = error {
        tracing::warn!(
            target: "brigade_core::attempt", event = "attempt_ended", %model, error = error.name(),
            cost_usd = usd(cost), elapsed_ms = millis(elapsed),
            "{model}: {} after {elapsed:.1?}{}", error.name(), lost(charge),
        );
    } else {
        tracing::debug!(
            target: "brigade_core::attempt", event = "attempt_ended", %model, cost_usd = usd(cost),
            elapsed_ms = millis(elapsed), "{model} answered after {elapsed:.1?}",
        );
    }
}

/// What happens on the way to an answer: waits, retries, detours.
fn way_line(event: &Event) {
    match event {
        Event::ReplyRestarted => {
            tracing::info!(target: "brigade_core::attempt", event = "reply_restarted", "the reply starts again");
        }
        Event::RateLimitWaited { model, waited } => tracing::info!(
            target: "brigade_core::attempt", event = "rate_limit_waited", %model, elapsed_ms = millis(*waited),
            "waited {waited:.1?} for the rate limit of {model}",
        ),
        Event::Retrying { model, attempt, reason, delay } => tracing::info!(
            target: "brigade_core::attempt", event = "retrying", %model, attempt, error = reason.name(),
            delay_ms = millis(*delay), "{model}: attempt {attempt} in {delay:.1?}",
        ),
        Event::RetrySuppressed { model, reason } => tracing::warn!(
            target: "brigade_core::attempt", event = "retry_suppressed", %model, error = reason.name(),
            "{model}: {}, not tried again: the retry budget is used up", reason.name(),
        ),
        Event::FellBack { from, to, reason } => tracing::warn!(
            target: "brigade_core::attempt", event = "fell_back", %from, %to, error = reason.name(),
            "{from}: {}, falling back to {to}", reason.name(),
        ),
        Event::BreakerChanged { model, state } => tracing::warn!(
            target: "brigade_core::attempt", event = "breaker_changed", %model, state,
            "the breaker of {model} is {state}",
        ),
        Event::WireQuirk { provider, kind } => tracing::debug!(
            target: "brigade_core::attempt", event = "wire_quirk", %provider, kind, "{provider}: {kind}",
        ),
        _ => {}
    }
}

fn tool_line(tool: &str, outcome: &str, elapsed: Duration) {
    if outcome == "ok" {
        tracing::info!(
            target: "brigade_core::tool", event = "tool_ended", tool, outcome, elapsed_ms = millis(elapsed),
            "{tool}: ok, {elapsed:.1?}",
        );
    } else {
        tracing::warn!(
            target: "brigade_core::tool", event = "tool_ended", tool, outcome, elapsed_ms = millis(elapsed),
            "{tool}: {outcome} after {elapsed:.1?}",
        );
    }
}

fn budget_line(exceeded: &BudgetExceeded, what: &str) {
    tracing::warn!(
        target: "brigade_core::budget", event = "budget", scope = %exceeded.scope,
        quantity = exceeded.quantity.name(), "{what}: {exceeded}",
    );
}

/// What the agent itself does with the conversation.
fn conversation_line(event: &Event) {
    match event {
        Event::UnknownTool { name } => tracing::warn!(
            target: "brigade_core::tool", event = "unknown_tool", "asked for {name:?}, which is not among its tools",
        ),
        Event::Trimmed { hidden, tokens_before, tokens_after } => tracing::info!(
            target: "brigade_core::memory", event = "trimmed", hidden, tokens_before, tokens_after,
            "hid {}: about {tokens_before} tokens, now {tokens_after}", count(*hidden as u64, "old message"),
        ),
        Event::AnswerRejected { reason, attempt } => tracing::warn!(
            target: "brigade_core::agent", event = "answer_rejected", attempt, "answer rejected ({attempt}): {reason}",
        ),
        Event::LoopNoticed { kind, count } => tracing::warn!(
            target: "brigade_core::agent", event = "loop_noticed", kind, count, "repeated {kind} seen {count} times",
        ),
        Event::Degraded { part, reason } => tracing::error!(
            target: "brigade_core::run", event = "degraded", part, "degraded ({part}): {reason}",
        ),
        Event::HandedOff { to } => {
            tracing::info!(target: "brigade_core::agent", event = "handed_off", %to, "handed off to {to}");
        }
        _ => {}
    }
}

fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn tokens(usage: Option<Usage>) -> String {
    usage.map_or_else(|| "tokens unknown".to_owned(), |usage| count(usage.total_tokens(), "token"))
}

fn money(cost: Option<Money>) -> String {
    cost.map_or_else(|| "no price".to_owned(), |cost| cost.to_string())
}

/// What a failed attempt cost all the same.
fn lost(charge: Option<&Charge>) -> String {
    charge.map_or_else(String::new, |charge| format!(", {} {}", money(charge.cost), charge.certainty.name()))
}

/// Who spent what, where more than one agent did: ` (desk $0.0290, desk/critic $0.0022)`.
fn shares(summary: &CostSummary) -> String {
    if summary.by_agent.len() < 2 {
        return String::new();
    }
    let shares = summary.by_agent.iter().map(|(agent, spending)| format!("{agent} {}", money(spending.cost())));
    format!(" ({})", shares.collect::<Vec<_>>().join(", "))
}

fn spent(run: &Run) -> Option<Money> {
    run.ledger().spending().cost()
}

fn usd(cost: Option<Money>) -> Option<f64> {
    cost.map(Money::as_usd_lossy)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
