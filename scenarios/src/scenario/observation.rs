//! What was seen of a scenario, from both ends of the wire.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use brigade_core::{
    Certainty, Charge, Event, ModelError, ModelErrorKind, Money, Observer, Outcome, Run, RunError, RunId, Spending,
    StopReason, TraceId,
};
use brigade_rehearsal::{CallRecord, WireDialect};
use tokio::time::Instant;

/// Everything that the judge looks at.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The protocol that was spoken.
    pub dialect: WireDialect,
    /// How the runs ended, in the order in which they were asked.
    pub ends: Vec<Ended>,
    /// The traces that the runs were given.
    pub traces: Vec<TraceId>,
    /// From the first question to the last end.
    pub elapsed: Duration,
    /// Every event of the runs.
    pub entries: Vec<Entry>,
    /// Every request, as the provider knows it.
    pub calls: Vec<CallRecord>,
    /// What the provider bills.
    pub truth: Money,
    /// What the key has paid for.
    pub spending: Spending,
    /// Reservations that are left.
    pub outstanding: u64,
    /// Money that is left reserved.
    pub reserved: Money,
    /// What the key owed, with what was reserved, at every moment it was looked at.
    pub samples: Vec<Money>,
    /// Tools that were run, in order.
    pub tool_runs: Vec<&'static str>,
    /// Tasks that were left when everything was dropped.
    pub tasks_left: usize,
    /// The log at DEBUG.
    pub lines: Vec<String>,
    /// The healthy run beside it.
    pub control: Control,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// With an outcome.
    Outcome {
        /// Why.
        stop: StopReason,
        /// The answer.
        text: String,
        /// What had to be done without.
        degraded: Vec<String>,
    },
    /// With an error.
    Failed {
        /// What went wrong with the model, if that was it.
        kind: Option<ModelErrorKind>,
        /// In words.
        message: String,
    },
    /// It was dropped.
    Dropped,
}

/// The healthy run beside a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// How it ended.
    pub ended: Ended,
    /// How long it took.
    pub elapsed: Duration,
    /// What it paid.
    pub spent: Money,
    /// What its provider bills.
    pub truth: Money,
}

/// One event.
#[derive(Debug, Clone)]
pub struct Entry {
    /// From the start.
    pub at: Duration,
    /// Whose.
    pub run: RunId,
    /// Of which request.
    pub trace: TraceId,
    /// The agent's path.
    pub agent: Arc<str>,
    /// What happened.
    pub event: Event,
}

/// Remembers every event.
#[derive(Debug)]
pub(crate) struct Witness {
    started: Instant,
    entries: Mutex<Vec<Entry>>,
}

impl Seen {
    /// The attempts that ended: what went wrong, and what was charged.
    pub fn attempts(&self) -> impl Iterator<Item = (Option<ModelErrorKind>, Option<Charge>)> {
        self.entries.iter().filter_map(|entry| match &entry.event {
            Event::AttemptEnded { error, charge, .. } => Some((*error, *charge)),
            _ => None,
        })
    }

    /// How many attempts were booked with this certainty.
    pub fn booked(&self, certainty: Certainty) -> usize {
        self.attempts().filter(|(_, charge)| charge.is_some_and(|charge| charge.certainty == certainty)).count()
    }

    /// How many attempts ended with this kind of failure.
    pub fn failed_with(&self, kind: ModelErrorKind) -> usize {
        self.attempts().filter(|(error, _)| *error == Some(kind)).count()
    }

    /// How many events `matches` holds for.
    pub fn count(&self, matches: impl Fn(&Event) -> bool) -> usize {
        self.entries.iter().filter(|entry| matches(&entry.event)).count()
    }

    /// How often a departure from the protocol was noticed.
    pub fn quirks(&self, name: &str) -> usize {
        self.count(|event| matches!(event, Event::WireQuirk { kind, .. } if *kind == name))
    }

    /// How often an answer began again.
    pub fn restarts(&self) -> usize {
        self.count(|event| matches!(event, Event::ReplyRestarted))
    }

    /// How tool calls ended.
    pub fn tool_ends(&self) -> Vec<&'static str> {
        let ends = self.entries.iter().filter_map(|entry| match &entry.event {
            Event::ToolEnded { outcome, .. } => Some(*outcome),
            _ => None,
        });
        ends.collect()
    }

    /// The parts that the first run had to do without.
    pub fn degraded(&self) -> Vec<&str> {
        match self.ends.first() {
            Some(Ended::Outcome { degraded, .. }) => degraded.iter().map(String::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// A number that is the same if the same happened: every event with its time, save what depends on the wall clock.
    pub fn digest(&self) -> u64 {
        let mut ordinals: HashMap<RunId, usize> = HashMap::new();
        let mut hasher = DefaultHasher::new();
        for entry in &self.entries {
            // Anthropic's headers tell resets as times of day.
            if matches!(entry.event, Event::RateLimitsReported { .. }) {
                continue;
            }
            let next = ordinals.len();
            let run = *ordinals.entry(entry.run).or_insert(next);
            (entry.at, run, &entry.agent, format!("{:?}", entry.event)).hash(&mut hasher);
        }
        (self.elapsed, format!("{:?}", self.ends)).hash(&mut hasher);
        hasher.finish()
    }

    /// The events as a story, for the report of a failure.
    pub fn story(&self) -> String {
        let mut story = String::new();
        for entry in self
            .entries
            .iter()
            .filter(|entry| !matches!(entry.event, Event::Delta(_) | Event::RateLimitsReported { .. }))
        {
            // Writing to a string cannot fail.
            let _ = writeln!(story, "{:>10.3?} {:<12} {:?}", entry.at, entry.agent, entry.event);
        }
        for call in &self.calls {
            let _ = writeln!(
                story,
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
        let _ = writeln!(story, "ends: {:?}", self.ends);
        story
    }

    /// The events of each run.
    pub fn by_run(&self) -> BTreeMap<RunId, Vec<&Event>> {
        let mut runs: BTreeMap<RunId, Vec<&Event>> = BTreeMap::new();
        for entry in &self.entries {
            runs.entry(entry.run).or_default().push(&entry.event);
        }
        runs
    }
}

impl Ended {
    /// How a run ended.
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

    /// In a word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Outcome { stop, .. } => stop.name(),
            Self::Failed { kind: Some(kind), .. } => kind.name(),
            Self::Failed { kind: None, .. } => "failed",
            Self::Dropped => "dropped",
        }
    }
}

impl Witness {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), entries: Mutex::default() }
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Observer for Witness {
    fn on_event(&self, run: &Run, event: &Event) {
        let entry = Entry {
            at: self.started.elapsed(),
            run: run.id(),
            trace: run.trace(),
            agent: Arc::clone(run.agent()),
            event: event.clone(),
        };
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }
}
