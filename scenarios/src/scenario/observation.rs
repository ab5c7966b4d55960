//! The records of a scenario, from both ends of the wire.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use brigade_core::{
    Certainty, Charge, Event, ModelError, ModelErrorKind, Money, Observer, Outcome, Run, RunError, RunId, Spending,
    StopReason, TraceId, Usage,
};
use brigade_rehearsal::{CallRecord, WireDialect};
use parking_lot::Mutex;
use tokio::time::Instant;

/// The records of one scenario in one dialect.
#[derive(Debug, Clone)]
pub struct Observation {
    /// The dialect of the provider.
    pub dialect: WireDialect,
    /// How the runs ended, in the order in which they were started.
    pub ends: Vec<ObservedEnd>,
    /// The trace ids of the runs.
    pub traces: Vec<TraceId>,
    /// The time from the first question to the last end.
    pub elapsed: Duration,
    /// Every event of the runs.
    pub events: Vec<RecordedEvent>,
    /// Every request in the provider's own record.
    pub calls: Vec<CallRecord>,
    /// The sum that the provider bills.
    pub billed: Money,
    /// The spending of all runs in our ledger.
    pub spending: Spending,
    /// Reservations that were not released.
    pub outstanding: u64,
    /// The money in these reservations.
    pub reserved: Money,
    /// Total spending plus reservations, sampled at every event and in between.
    pub samples: Vec<Money>,
    /// The name of the tool of each tool run, in order.
    pub tool_runs: Vec<&'static str>,
    /// Tasks that still run after everything was dropped.
    pub tasks_left: usize,
    /// The log at level DEBUG.
    pub log_lines: Vec<String>,
    /// A run at the same time in which nothing fails.
    pub control: Control,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObservedEnd {
    /// With an outcome.
    Outcome {
        /// The stop reason.
        stop: StopReason,
        /// The answer.
        text: String,
        /// The parts that were missing or replaced.
        degraded: Vec<String>,
    },
    /// With an error.
    Failed {
        /// The kind of the model error, if a model call failed.
        kind: Option<ModelErrorKind>,
        /// The error with its causes.
        message: String,
    },
    /// It was dropped.
    Dropped,
}

/// The control run: it happens at the same time as the scenario, and nothing fails in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// How it ended.
    pub ended: ObservedEnd,
    /// How long it took.
    pub elapsed: Duration,
    /// Its spending in our ledger.
    pub spent: Money,
    /// The sum that its provider bills.
    pub billed: Money,
}

/// One event with its run.
#[derive(Debug, Clone)]
pub struct RecordedEvent {
    /// The time since the start of the scenario.
    pub at: Duration,
    /// The run that emitted it.
    pub run: RunId,
    /// The run's trace id.
    pub trace: TraceId,
    /// The agent's path.
    pub agent: Arc<str>,
    /// What happened.
    pub event: Event,
}

/// Records every event.
#[derive(Debug)]
pub(crate) struct EventRecorder {
    started: Instant,
    events: Mutex<Vec<RecordedEvent>>,
}

/// A text without the provider's port, which another play does not have.
fn without_port(text: &str) -> String {
    const ADDRESS: &str = "127.0.0.1:";
    let mut parts = text.split(ADDRESS);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + ADDRESS + part.trim_start_matches(|digit: char| digit.is_ascii_digit()))
}

impl Observation {
    /// The error and the charge of every attempt that ended.
    pub fn attempts(&self) -> impl Iterator<Item = (Option<ModelErrorKind>, Option<Charge>)> {
        self.events.iter().filter_map(|entry| {
            let Event::AttemptEnded { error, charge, .. } = &entry.event else { return None };
            Some((*error, *charge))
        })
    }

    /// The number of attempts that were booked with this certainty.
    pub fn attempts_booked_as(&self, certainty: Certainty) -> usize {
        self.attempts().filter(|(_, charge)| charge.is_some_and(|charge| charge.certainty == certainty)).count()
    }

    /// The number of attempts that ended with this kind of error.
    pub fn failed_with(&self, kind: ModelErrorKind) -> usize {
        self.attempts().filter(|(error, _)| *error == Some(kind)).count()
    }

    /// The number of events that match.
    pub fn count(&self, matches: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|entry| matches(&entry.event)).count()
    }

    /// The number of reports of this departure from the protocol.
    pub fn quirks(&self, name: &str) -> usize {
        self.count(|event| matches!(event, Event::WireQuirk { kind, .. } if kind == name))
    }

    /// The number of answers that were restarted.
    pub fn restarts(&self) -> usize {
        self.count(|event| matches!(event, Event::ReplyRestarted))
    }

    /// The outcome of every tool call.
    pub fn tool_ends(&self) -> Vec<&'static str> {
        let ends = self.events.iter().filter_map(|entry| {
            let Event::ToolEnded { outcome, .. } = &entry.event else { return None };
            Some(outcome.name())
        });
        ends.collect()
    }

    /// The degraded parts of the first run.
    pub fn degraded(&self) -> Vec<&str> {
        let Some(ObservedEnd::Outcome { degraded, .. }) = self.ends.first() else { return Vec::new() };
        degraded.iter().map(String::as_str).collect()
    }

    /// A hash of every event with its time, except events that depend on the wall clock. Two plays with the same events at
    /// the same times have the same hash.
    pub fn digest(&self) -> u64 {
        let mut ordinals: HashMap<RunId, usize> = HashMap::new();
        let mut hasher = DefaultHasher::new();
        for entry in &self.events {
            // Anthropic's headers state resets as times of day.
            if matches!(entry.event, Event::RateLimitsReported { .. }) {
                continue;
            }
            let next = ordinals.len();
            let run = *ordinals.entry(entry.run).or_insert(next);
            (entry.at, run, &entry.agent, without_port(&format!("{:?}", entry.event))).hash(&mut hasher);
        }
        (self.elapsed, without_port(&format!("{:?}", self.ends))).hash(&mut hasher);
        hasher.finish()
    }

    /// All events and calls as text, for the report of a failure.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        for entry in self
            .events
            .iter()
            .filter(|entry| !matches!(entry.event, Event::Delta(_) | Event::RateLimitsReported { .. }))
        {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{:>10.3?} {:<12} {:?}", entry.at, entry.agent, entry.event);
        }
        for call in &self.calls {
            let _ = writeln!(
                text,
                "provider: {} {} turn {} status {} {:?} {:?} fault {:?} at {:?} for {:?}",
                call.number,
                call.model,
                call.turn,
                call.status,
                call.state,
                call.usage,
                call.fault,
                call.arrived,
                call.took
            );
        }
        let _ = writeln!(text, "ends: {:?}", self.ends);
        text
    }

    /// The events of each run.
    pub fn by_run(&self) -> BTreeMap<RunId, Vec<&Event>> {
        let mut runs: BTreeMap<RunId, Vec<&Event>> = BTreeMap::new();
        for entry in &self.events {
            runs.entry(entry.run).or_default().push(&entry.event);
        }
        runs
    }
}

/// The usage that the provider recorded, as a [`Usage`].
pub(crate) fn recorded_usage(call: &CallRecord) -> Usage {
    let some = |tokens: u64| (tokens > 0).then_some(tokens);
    Usage::new(call.usage.input, call.usage.output)
        .cache_read_tokens(some(call.usage.cached))
        .cache_write_tokens(some(call.usage.cache_write))
        .reasoning_tokens(some(call.usage.reasoning))
}

impl ObservedEnd {
    /// The end of a run with this result.
    pub fn of(result: &Result<Outcome, RunError>) -> Self {
        match result {
            Ok(outcome) => Self::Outcome {
                stop: outcome.stop,
                text: outcome.text.clone(),
                degraded: outcome.degraded.iter().map(|part| part.part.clone()).collect(),
            },
            Err(error) => Self::Failed { kind: error.model_error().map(ModelError::kind), message: error.chain() },
        }
    }

    /// The stop reason or the error kind.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Outcome { stop, .. } => stop.name(),
            Self::Failed { kind: Some(kind), .. } => kind.name(),
            Self::Failed { kind: None, .. } => "failed",
            Self::Dropped => "dropped",
        }
    }
}

impl EventRecorder {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), events: Mutex::default() }
    }

    pub(crate) fn events(&self) -> Vec<RecordedEvent> {
        self.events.lock().clone()
    }
}

impl Observer for EventRecorder {
    fn on_event(&self, run: &Run, event: &Event) {
        let entry = RecordedEvent {
            at: self.started.elapsed(),
            run: run.id(),
            trace: run.trace(),
            agent: Arc::clone(run.agent()),
            event: event.clone(),
        };
        self.events.lock().push(entry);
    }
}
