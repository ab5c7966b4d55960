//! What a line of the tree says.

use std::time::Duration;

use brigade_core::{Money, Usage};

use crate::Entry;

/// What is known when it begins, or all there is to say.
pub(super) fn title(entry: &Entry) -> String {
    match entry {
        Entry::TurnStarted { turn, model } | Entry::TurnEnded { turn, model, .. } => format!("turn {turn} {model}"),
        Entry::AttemptStarted { model } | Entry::AttemptEnded { model, .. } => format!("attempt {model}"),
        Entry::ToolStarted { tool, .. } | Entry::ToolEnded { tool, .. } => format!("tool {tool}"),
        Entry::ReplyRestarted => "the reply starts again".to_owned(),
        Entry::RateLimitWaited { waited_us, .. } => format!("rate limit: waited {}", time(*waited_us)),
        Entry::Retrying { attempt, reason, delay_us, .. } => {
            format!("retry: attempt {attempt} in {}, because {reason}", time(*delay_us))
        }
        Entry::RetrySuppressed { reason, .. } => format!("no retry after {reason}: the retry budget is used up"),
        Entry::FellBack { to, reason, .. } => format!("fallback to {to}, because {reason}"),
        Entry::BreakerChanged { model, state } => format!("breaker of {model} is {state}"),
        Entry::UnknownTool { name } => format!("asked for an unknown tool {name:?}"),
        Entry::Trimmed { hidden, tokens_before, tokens_after } => {
            format!("hid {hidden} old messages: {tokens_before} tokens, now {tokens_after}")
        }
        Entry::AnswerRejected { attempt } => format!("answer rejected ({attempt})"),
        Entry::LoopNoticed { kind, count } => format!("repeated {kind} seen {count} times"),
        Entry::BudgetRefused { limit } => format!("refused: {limit}"),
        Entry::BudgetWarning { limit } => format!("soft limit: {limit}"),
        Entry::HandedOff { to } => format!("handed off to {to}"),
        Entry::WorkerFailed { worker, policy, reason } => format!("worker {worker} failed, policy {policy}: {reason}"),
        Entry::WireQuirk { provider, kind } => format!("quirk of {provider}: {kind}"),
        Entry::RunStarted | Entry::RunEnded { .. } | Entry::RunFailed { .. } | Entry::Unknown => String::new(),
    }
}

/// What is known when it is over.
pub(super) fn facts(entry: &Entry) -> Vec<String> {
    match entry {
        Entry::RunEnded { stop, turns, usage, cost, elapsed_us } => {
            let turns = format!("{turns} turn{}", if *turns == 1 { "" } else { "s" });
            vec![stop.clone(), turns, tokens(Some(usage)), money(*cost), time(*elapsed_us)]
        }
        Entry::RunFailed { message, elapsed_us, .. } => vec![format!("failed: {message}"), time(*elapsed_us)],
        Entry::TurnEnded { usage, cost, stop, tool_calls, elapsed_us, .. } => {
            let calls = format!("{tool_calls} tool call{}", if *tool_calls == 1 { "" } else { "s" });
            let asked = if *tool_calls > 0 { calls } else { stop.clone() };
            vec![asked, tokens(usage.as_ref()), money(*cost), time(*elapsed_us)]
        }
        Entry::AttemptEnded { error, charge, elapsed_us, .. } => {
            let mut facts = vec![error.clone().unwrap_or_else(|| "ok".to_owned())];
            if let Some(charge) = charge {
                let unsure =
                    if charge.certainty == "charged" { String::new() } else { format!(" {}", charge.certainty) };
                facts.extend([tokens(Some(&charge.usage)), money(charge.cost) + &unsure]);
            }
            facts.push(time(*elapsed_us));
            facts
        }
        Entry::ToolEnded { outcome, elapsed_us, .. } => vec![outcome.clone(), time(*elapsed_us)],
        _ => Vec::new(),
    }
}

fn tokens(usage: Option<&Usage>) -> String {
    usage.map_or_else(
        || "tokens unknown".to_owned(),
        |usage| format!("{} tokens in, {} out", usage.input_tokens, usage.output_tokens),
    )
}

fn money(cost: Option<Money>) -> String {
    cost.map_or_else(|| "no price".to_owned(), |cost| cost.to_string())
}

fn time(micros: u64) -> String {
    format!("{:.1?}", Duration::from_micros(micros))
}
