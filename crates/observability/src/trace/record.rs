//! Events as lines of a file.

use std::{sync::Arc, time::Duration};

use brigade_core::{BudgetExceeded, Charge, Event, ModelErrorKind, ModelId, Money, Run, RunId, Usage};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::mask;

/// One line of a run log: when, in which run, and what happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When it was recorded.
    pub at: Timestamp,
    /// The trace id, 32 hexadecimal digits.
    pub trace: String,
    /// The run.
    pub run: RunId,
    /// The agent's path.
    pub agent: Arc<str>,
    /// What happened.
    #[serde(flatten)]
    pub entry: Entry,
}

/// What happened: an [`Event`] as it is written down. Prompts, answers and arguments are not; times are in
/// microseconds, money is a decimal in US dollars.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the variants and fields are those of `Event`, which explains them")]
pub enum Entry {
    RunStarted,
    RunEnded {
        stop: String,
        turns: u32,
        usage: Usage,
        cost: Option<Money>,
        elapsed_us: u64,
    },
    RunFailed {
        error: Option<String>,
        message: String,
        elapsed_us: u64,
    },
    TurnStarted {
        turn: u32,
        model: String,
    },
    TurnEnded {
        turn: u32,
        model: String,
        usage: Option<Usage>,
        cost: Option<Money>,
        stop: String,
        tool_calls: usize,
        elapsed_us: u64,
    },
    AttemptStarted {
        model: String,
    },
    AttemptEnded {
        model: String,
        error: Option<String>,
        charge: Option<Spent>,
        elapsed_us: u64,
    },
    ReplyRestarted,
    RateLimitWaited {
        model: String,
        waited_us: u64,
    },
    Retrying {
        model: String,
        attempt: u32,
        reason: String,
        delay_us: u64,
    },
    RetrySuppressed {
        model: String,
        reason: String,
    },
    FellBack {
        from: String,
        to: String,
        reason: String,
    },
    BreakerChanged {
        model: String,
        state: String,
    },
    ToolStarted {
        tool: String,
        call_id: String,
    },
    ToolEnded {
        tool: String,
        call_id: String,
        outcome: String,
        elapsed_us: u64,
    },
    UnknownTool {
        name: String,
    },
    Trimmed {
        hidden: usize,
        tokens_before: u64,
        tokens_after: u64,
    },
    AnswerRejected {
        attempt: u32,
    },
    LoopNoticed {
        kind: String,
        count: u32,
    },
    BudgetRefused {
        limit: String,
    },
    BudgetWarning {
        limit: String,
    },
    HandedOff {
        to: String,
    },
    WorkerFailed {
        worker: String,
        policy: String,
        reason: String,
    },
    WireQuirk {
        provider: String,
        kind: String,
    },
    /// Written by a newer version.
    #[serde(other)]
    Unknown,
}

/// What an attempt used and cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// How sure the amounts are: `charged`, `estimated`, `uncertain`.
    pub certainty: String,
    /// Tokens.
    pub usage: Usage,
    /// Money; absent for a model without a price.
    pub cost: Option<Money>,
}

/// Enough of a message to know what went wrong; what a provider or a model wrote may be long.
const MOST_TEXT_CHARS: usize = 500;

impl Entry {
    /// An event as it is written down; nothing for pieces of answers, which are content, and for rate limits, which come
    /// with every answer.
    pub fn of(event: &Event) -> Option<Self> {
        call_entry(event).or_else(|| way_entry(event)).or_else(|| agent_entry(event))
    }
}

impl Record {
    /// An event as a line, where [`Entry::of`] writes it down.
    pub fn of(run: &Run, event: &Event) -> Option<Self> {
        let entry = Entry::of(event)?;
        Some(Self {
            at: Timestamp::now(),
            trace: run.trace().to_string(),
            run: run.id(),
            agent: Arc::clone(run.agent()),
            entry,
        })
    }
}

/// Beginnings and ends.
fn call_entry(event: &Event) -> Option<Entry> {
    Some(match event {
        Event::RunStarted => Entry::RunStarted,
        Event::RunEnded { stop, turns, usage, cost, elapsed } => Entry::RunEnded {
            stop: stop.name().to_owned(),
            turns: *turns,
            usage: *usage,
            cost: *cost,
            elapsed_us: micros(*elapsed),
        },
        Event::RunFailed { kind, message, elapsed } => {
            Entry::RunFailed { error: kind.map(error), message: text(message), elapsed_us: micros(*elapsed) }
        }
        Event::TurnStarted { turn, model } => Entry::TurnStarted { turn: *turn, model: model.to_string() },
        Event::TurnEnded { turn, model, usage, cost, stop, tool_calls, elapsed } => Entry::TurnEnded {
            turn: *turn,
            model: model.to_string(),
            usage: *usage,
            cost: *cost,
            stop: stop.name().to_owned(),
            tool_calls: *tool_calls,
            elapsed_us: micros(*elapsed),
        },
        Event::AttemptStarted { model } => Entry::AttemptStarted { model: model.to_string() },
        Event::AttemptEnded { model, error: kind, charge, elapsed } => Entry::AttemptEnded {
            model: model.to_string(),
            error: kind.map(error),
            charge: charge.as_ref().map(Spent::from),
            elapsed_us: micros(*elapsed),
        },
        Event::ToolStarted { tool, call_id } => Entry::ToolStarted { tool: text(tool), call_id: text(call_id) },
        Event::ToolEnded { tool, call_id, outcome, elapsed } => Entry::ToolEnded {
            tool: text(tool),
            call_id: text(call_id),
            outcome: (*outcome).to_owned(),
            elapsed_us: micros(*elapsed),
        },
        _ => return None,
    })
}

/// Waits, retries and detours.
fn way_entry(event: &Event) -> Option<Entry> {
    let name = ModelId::to_string;
    Some(match event {
        Event::ReplyRestarted => Entry::ReplyRestarted,
        Event::RateLimitWaited { model, waited } => {
            Entry::RateLimitWaited { model: name(model), waited_us: micros(*waited) }
        }
        Event::Retrying { model, attempt, reason, delay } => {
            Entry::Retrying { model: name(model), attempt: *attempt, reason: error(*reason), delay_us: micros(*delay) }
        }
        Event::RetrySuppressed { model, reason } => {
            Entry::RetrySuppressed { model: name(model), reason: error(*reason) }
        }
        Event::FellBack { from, to, reason } => {
            Entry::FellBack { from: name(from), to: name(to), reason: error(*reason) }
        }
        Event::BreakerChanged { model, state } => {
            Entry::BreakerChanged { model: name(model), state: (*state).to_owned() }
        }
        Event::WireQuirk { provider, kind } => Entry::WireQuirk { provider: text(provider), kind: (*kind).to_owned() },
        _ => return None,
    })
}

/// What agents and limits decide. Why an answer was rejected may quote the answer, so it is left out.
fn agent_entry(event: &Event) -> Option<Entry> {
    Some(match event {
        Event::UnknownTool { name } => Entry::UnknownTool { name: text(name) },
        Event::Trimmed { hidden, tokens_before, tokens_after } => {
            Entry::Trimmed { hidden: *hidden, tokens_before: *tokens_before, tokens_after: *tokens_after }
        }
        Event::AnswerRejected { attempt, .. } => Entry::AnswerRejected { attempt: *attempt },
        Event::LoopNoticed { kind, count } => Entry::LoopNoticed { kind: (*kind).to_owned(), count: *count },
        Event::BudgetRefused(limit) => Entry::BudgetRefused { limit: BudgetExceeded::to_string(limit) },
        Event::BudgetWarning(limit) => Entry::BudgetWarning { limit: BudgetExceeded::to_string(limit) },
        Event::HandedOff { to } => Entry::HandedOff { to: text(to) },
        Event::WorkerFailed { worker, policy, reason } => {
            Entry::WorkerFailed { worker: text(worker), policy: (*policy).to_owned(), reason: text(reason) }
        }
        _ => return None,
    })
}

impl From<&Charge> for Spent {
    fn from(charge: &Charge) -> Self {
        Self { certainty: charge.certainty.name().to_owned(), usage: charge.usage, cost: charge.cost }
    }
}

fn error(kind: ModelErrorKind) -> String {
    kind.name().to_owned()
}

/// Cut to a useful length and without credentials, which providers like to quote in errors.
fn text(text: &str) -> String {
    let text = mask(text);
    match text.char_indices().nth(MOST_TEXT_CHARS) {
        Some((end, _)) => text.split_at(end).0.to_owned() + "…",
        None => text.into_owned(),
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
