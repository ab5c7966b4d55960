//! Writes one log line for each event of a run.
//!
//! INFO summarizes a run in a few lines and ends with its cost; DEBUG is for development. The message of a line is
//! complete. Its fields, which always include `event`, repeat the amounts for machines.

use std::{fmt, fmt::Display, time::Duration};

use tracing::{Id, Span};

use crate::{Charge, CostSummary, Event, ModelErrorKind, Money, Quantity, Run, ToolStatus};

/// Counts the calls of a worker, with the run and the name of the worker.
pub(crate) const WORKER_CALLS: &str = "calls of worker";

/// Writes a line of a run at this level to this part of the target `brigade_core`.
macro_rules! line {
    ($level:ident, $run:ident, $part:literal, $event:literal, $($fields:tt)+) => {
        tracing::$level!(target: concat!("brigade_core::", $part), parent: span($run), event = $event, $($fields)+)
    };
}

const NO_REASON: &str = "no cause given; content logs have the message of the error";

/// The span of the run, or the current one if the subscriber has no spans of runs.
fn span(run: &Run) -> Option<Id> {
    run.span().id().or_else(|| Span::current().id())
}

/// Writes the line for an event.
#[expect(clippy::too_many_lines, reason = "the match names every event, so that a new one is not forgotten")]
pub(crate) fn event(run: &Run, event: &Event) {
    let (tenant, user) = (run.scope().tenant.as_deref(), run.scope().user.as_deref());
    match event {
        // The start of a worker is for development: its other lines name it.
        Event::RunStarted if run.depth() == 0 => {
            line!(info, run, "run", "run_started", tenant, user, "started{}", owner(run));
        }
        Event::RunStarted => line!(debug, run, "run", "run_started", "started"),
        Event::RunEnded { stop, turns, usage, cost, elapsed } => line!(
            info, run, "run", "run_ended", tenant, user, outcome = %stop.name(), turns,
            input_tokens = usage.input_tokens, output_tokens = usage.output_tokens,
            cost_usd = cost.map(Money::as_usd_lossy), elapsed_ms = millis(*elapsed),
            "{}: {}, {} tokens in, {} out, {}{}, {}{}",
            stop.name(), count(u64::from(*turns), "turn"), usage.input_tokens, usage.output_tokens,
            spent(run, *cost), by_agent(&run.ledger().summary()), time(*elapsed), owner(run)
        ),
        Event::Resumed { steps, saved } => line!(
            info,
            run,
            "run",
            "resumed",
            steps,
            saved_usd = saved.as_usd_lossy(),
            "resumed: {} answered from the journal, {saved} not paid again",
            count(*steps, "step")
        ),
        Event::RunFailed { kind, message, elapsed } => run_failed(run, *kind, message, *elapsed),
        // The calls of the worker that wait have lines of their own.
        Event::RunWaiting { reason, .. } if run.depth() > 0 => {
            line!(debug, run, "run", "run_waiting", "waits: {reason}");
        }
        Event::RunWaiting { reason, elapsed } => line!(
            info, run, "run", "run_waiting", tenant, user, %reason, elapsed_ms = millis(*elapsed), "waits after {}, {}{}: {reason}{}",
            time(*elapsed), spent(run, run.ledger().spending().cost()), by_agent(&run.ledger().summary()), owner(run)
        ),
        Event::TurnStarted { turn, model } => {
            line!(debug, run, "agent", "turn_started", turn, "turn {turn}: asking {model}");
        }
        Event::TurnEnded { turn, model, served, usage, cost, stop, tool_calls, elapsed } => line!(
            info, run, "agent", "turn_ended", turn, %model, served = served.as_deref(), stop = stop.name(), tool_calls,
            input_tokens = usage.map(|usage| usage.input_tokens),
            output_tokens = usage.map(|usage| usage.output_tokens), cost_usd = cost.map(Money::as_usd_lossy),
            elapsed_ms = millis(*elapsed),
            "turn {turn}: {model}{}, {}, {}, {}, {}",
            served.as_ref().map(|name| format!(" ({name})")).unwrap_or_default(),
            or((*tool_calls > 0).then(|| count(*tool_calls as u64, "tool call")), stop.name()),
            or(usage.map(|usage| count(usage.total_tokens(), "token")), "tokens unknown"), money(*cost), time(*elapsed)
        ),
        Event::AttemptStarted { model } => line!(debug, run, "attempt", "attempt_started", %model, "asking {model}"),
        // It took time, and perhaps money, that no other line shows.
        Event::AttemptEnded { model, error: Some(error), charge, elapsed } => line!(
            warn, run, "attempt", "attempt_ended", %model, error = error.name(), cost_usd = usd(charge.as_ref()),
            elapsed_ms = millis(*elapsed), "{model}: {} after {}{}", error.name(), time(*elapsed),
            charge.as_ref().map(|of| format!(", {} {}", money(of.cost), of.certainty.name())).unwrap_or_default()
        ),
        // The line of the turn covers it, so this one is for development.
        Event::AttemptEnded { model, error: None, charge, elapsed } => line!(
            debug, run, "attempt", "attempt_ended", %model, cost_usd = usd(charge.as_ref()),
            elapsed_ms = millis(*elapsed), "{model} answered after {}", time(*elapsed)
        ),
        Event::ReplyRestarted => line!(info, run, "attempt", "reply_restarted", "the reply starts again"),
        Event::RateLimitWaited { model, waited } => line!(
            info, run, "attempt", "rate_limit_waited", %model, elapsed_ms = millis(*waited),
            "waited {} for the rate limit of {model}", time(*waited)
        ),
        Event::Retrying { model, attempt, reason, delay } => line!(
            info, run, "attempt", "retrying", %model, attempt, error = reason.name(), delay_ms = millis(*delay),
            "{model}: {}, attempt {attempt} in {}", reason.name(), time(*delay)
        ),
        Event::RetrySuppressed { model, reason } => line!(
            warn, run, "attempt", "retry_suppressed", %model, error = reason.name(),
            "{model}: {}, not tried again: the retry budget is used up", reason.name()
        ),
        Event::FellBack { from, to, reason } => line!(
            warn, run, "attempt", "fell_back", %from, %to, error = reason.name(),
            "{from}: {}, falling back to {to}", reason.name()
        ),
        Event::BreakerChanged { model, state } => {
            line!(warn, run, "attempt", "breaker_changed", %model, state = state.name(), "the breaker of {model} is {}", state.name());
        }
        Event::WireQuirk { provider, kind } => {
            line!(debug, run, "attempt", "wire_quirk", %provider, %kind, "{provider}: {kind}");
        }
        Event::ToolStarted { tool, .. } => line!(debug, run, "tool", "tool_started", %tool, "{tool} started"),
        // A worker has written how it ended.
        Event::ToolEnded { tool, outcome: ToolStatus::Ok | ToolStatus::Waiting, .. }
            if run.counted((WORKER_CALLS, run.id(), tool)) > 0 => {}
        Event::ToolEnded { tool, outcome: ToolStatus::Ok, elapsed, .. } => line!(
            info, run, "tool", "tool_ended", %tool, outcome = "ok", elapsed_ms = millis(*elapsed), "{tool}: ok, {}", time(*elapsed)
        ),
        Event::ToolEnded { tool, outcome: ToolStatus::Waiting, reason, .. } => {
            line!(info, run, "tool", "tool_ended", %tool, outcome = "waiting", "{}", reason.as_deref().unwrap_or_default());
        }
        Event::ToolEnded { tool, outcome, reason, elapsed, .. } => line!(
            warn, run, "tool", "tool_ended", %tool, outcome = outcome.name(), reason = reason.as_deref(),
            elapsed_ms = millis(*elapsed), "{tool}: {} after {}: {}",
            outcome.name(), time(*elapsed), reason.as_deref().unwrap_or(NO_REASON)
        ),
        Event::UnknownTool { name } => {
            line!(warn, run, "tool", "unknown_tool", "the model called {name:?}, which is not one of its tools");
        }
        Event::Trimmed { hidden, tokens_before, tokens_after } => {
            let old = count(*hidden as u64, "old message");
            let what = format!("hid {old}: about {tokens_before} tokens, now {tokens_after}");
            line!(info, run, "memory", "trimmed", hidden, tokens_before, tokens_after, "{what}");
        }
        Event::AnswerRejected { reason, attempt } => {
            line!(warn, run, "agent", "answer_rejected", attempt, "answer rejected ({attempt}): {reason}");
        }
        Event::LoopNoticed { kind, count: times } => {
            let seen = count(u64::from(*times), "time");
            line!(warn, run, "agent", "loop_noticed", %kind, count = times, "repeated {kind} seen {seen}");
        }
        Event::BudgetRefused { scope, quantity, limit } => line!(
            warn, run, "budget", "budget", %scope, quantity = quantity.map(Quantity::name), "refused: {limit}"
        ),
        Event::BudgetWarning { scope, quantity, limit } => line!(
            warn, run, "budget", "budget", %scope, quantity = quantity.map(Quantity::name), "soft limit: {limit}"
        ),
        Event::HandedOff { to } => line!(info, run, "agent", "handed_off", %to, "handed off to {to}"),
        Event::Degraded { part, reason } => line!(error, run, "run", "degraded", %part, "degraded ({part}): {reason}"),
        Event::WorkerFailed { worker, policy, reason } => line!(
            warn, run, "worker", "worker_failed", %worker, %policy, "{worker} failed, policy {policy}: {reason}"
        ),
        // Deltas are content, and rate limits are for metrics.
        Event::Delta(_) | Event::RateLimitsReported { .. } => {}
    }
}

/// Writes the line of a failed run. A failed worker is only a warning, because its supervisor decides what follows, and so
/// is a cancellation, because it is not a fault.
fn run_failed(run: &Run, kind: Option<ModelErrorKind>, message: &str, elapsed: Duration) {
    let cost = run.ledger().spending().cost();
    let (cost_usd, elapsed_ms, error) =
        (cost.map(Money::as_usd_lossy), millis(elapsed), kind.map(ModelErrorKind::name));
    let text =
        format!("failed after {}, {}{}: {message}", time(elapsed), spent(run, cost), by_agent(&run.ledger().summary()));
    let (tenant, user) = (run.scope().tenant.as_deref(), run.scope().user.as_deref());
    if run.depth() == 0 && kind != Some(ModelErrorKind::Cancelled) {
        line!(error, run, "run", "run_failed", tenant, user, error, cost_usd, elapsed_ms, "{text}{}", owner(run));
    } else {
        line!(warn, run, "run", "run_failed", tenant, user, error, cost_usd, elapsed_ms, "{text}{}", owner(run));
    }
}

/// Whose run it is, for the first and the last line of a run.
fn owner(run: &Run) -> String {
    match (&run.scope().tenant, &run.scope().user) {
        (Some(tenant), Some(user)) => format!(", for {tenant} (user {user})"),
        (Some(name), None) | (None, Some(name)) => format!(", for {name}"),
        (None, None) => String::new(),
    }
}

fn usd(charge: Option<&Charge>) -> Option<f64> {
    charge?.cost.map(Money::as_usd_lossy)
}

/// `1 call`, `2 calls`.
pub(crate) fn count(number: u64, noun: &str) -> impl Display {
    fmt::from_fn(move |f| write!(f, "{number} {noun}{}", if number == 1 { "" } else { "s" }))
}

/// Shows the value, or this text if it is absent.
fn or(value: Option<impl Display>, absent: &str) -> impl Display {
    fmt::from_fn(move |f| value.as_ref().map_or(&absent as &dyn Display, |value| value).fmt(f))
}

fn money(cost: Option<Money>) -> impl Display {
    or(cost, "no price")
}

fn time(duration: Duration) -> impl Display {
    fmt::from_fn(move |f| write!(f, "{duration:.1?}"))
}

/// The text of the cost of a run. Failed calls that cost nothing are not calls without a price.
fn spent(run: &Run, cost: Option<Money>) -> String {
    let is_nothing = cost.unwrap_or_default() == Money::ZERO && run.ledger().spending().calls == 0;
    if is_nothing { "nothing charged".to_owned() } else { money(cost).to_string() }
}

/// The cost of each agent, if there are several: ` (desk $0.0290, desk/critic $0.0022)`.
fn by_agent(summary: &CostSummary) -> String {
    if summary.by_agent.len() < 2 {
        return String::new();
    }
    let costs = summary.by_agent.iter().map(|(agent, spending)| format!("{agent} {}", money(spending.cost())));
    format!(" ({})", costs.collect::<Vec<_>>().join(", "))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
