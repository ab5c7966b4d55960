//! Scopes: the parts of a run with a journal, each with a prefix for the paths of its steps.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{
    Degradation, Effect, Event, Journal, JournalError, Ledger, ModelId, Money, RawJson, RunId, StepRecord, StepState,
    money::items::Items, run::digest, sync::unpoisoned,
};

/// A part of a run with a journal: an agent's run, or the inside of a step.
///
/// A run that goes on after a crash first replays its records. It is at the frontier when it does something that has no
/// record.
pub(super) struct JournalScope {
    pub(super) shared: Arc<Shared>,
    pub(super) parent: Option<Arc<JournalScope>>,
    /// The prefix of the paths of its steps: empty, or ending with a slash.
    pub(super) prefix: String,
    /// Present if this is the inside of a step.
    pub(super) step: Option<StepInfo>,
    /// False while steps are answered from records. Events are then not emitted, because they were before the crash.
    is_at_frontier: AtomicBool,
    /// Why a step in this scope could not be recorded. The steps around it must then not be recorded as done.
    blocked: OnceLock<JournalError>,
    /// The digest of the steps since the last turn, in any order.
    pub(super) since_turn: AtomicU64,
    /// How many child runs got each name.
    names: Mutex<BTreeMap<String, u32>>,
}

/// The state that all scopes of one journal share.
pub(super) struct Shared {
    journal: Arc<dyn Journal>,
    pub(super) records: BTreeMap<String, StepRecord>,
    pub(super) run: RunId,
    pub(super) failure: OnceLock<JournalError>,
    /// The changes of steps that are done, until the shared values have them.
    restored: Mutex<Vec<SharedChange>>,
    /// The number of the next change of a shared value.
    next_change: AtomicU64,
    /// How long the run had been at work before this process carried it on.
    worked_before: Duration,
    built: Instant,
}

/// The step that a scope is the inside of.
pub(super) struct StepInfo {
    pub(super) name: String,
    pub(super) effect: Effect,
    pub(super) digest: u64,
    /// The account of this step alone.
    pub(super) account: Ledger,
    pub(super) changes: Mutex<Changes>,
}

/// The changes of a step to the state that runs share.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(super) struct Changes {
    pub(super) items: Items,
    /// The digests of the keys that were counted; see [`Run::count`](crate::Run::count).
    pub(super) counts: Vec<u64>,
    pub(super) degraded: Vec<Degradation>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) shared: Vec<SharedChange>,
}

/// A change of a value that runs share.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SharedChange {
    /// Its place in the order of all changes of the run.
    number: u64,
    /// The value that is changed.
    kind: String,
    change: RawJson,
}

impl JournalScope {
    pub(super) fn root(journal: Arc<dyn Journal>, run: RunId) -> Arc<Self> {
        let records: BTreeMap<_, _> =
            journal.records().into_iter().map(|record| (record.path.clone(), record)).collect();
        let is_new = records.is_empty();
        let done = records.values().filter(|record| record.state == StepState::Done);
        // A record that cannot be read is an error when it is replayed.
        let changes = done.filter_map(|record| Changes::of(record).ok());
        let mut restored: Vec<_> = changes.flat_map(|changes| changes.shared).collect();
        restored.sort_unstable_by_key(|change| change.number);
        // A delegation has the changes of the steps inside it.
        restored.dedup_by_key(|change| change.number);
        let next_change = restored.last().map_or(0, |change| change.number + 1).into();
        let worked_ms = records.values().map(|record| record.worked_ms).max().unwrap_or_default();
        let shared = Arc::new(Shared {
            journal,
            records,
            run,
            failure: OnceLock::new(),
            restored: Mutex::new(restored),
            next_change,
            worked_before: Duration::from_millis(worked_ms),
            built: Instant::now(),
        });
        Arc::new(Self::new(shared, None, String::new(), is_new))
    }

    fn new(shared: Arc<Shared>, parent: Option<Arc<Self>>, prefix: String, is_new: bool) -> Self {
        Self {
            shared,
            parent,
            prefix,
            step: None,
            is_at_frontier: is_new.into(),
            blocked: OnceLock::new(),
            since_turn: 0.into(),
            names: Mutex::default(),
        }
    }

    /// The scope below this one whose paths begin with `name`.
    pub(super) fn below(self: &Arc<Self>, name: &str) -> Self {
        let prefix = [&self.prefix, name, "/"].concat();
        let first = self.shared.records.range(prefix.clone()..).next();
        let is_new = first.is_none_or(|(path, _)| !path.starts_with(&prefix));
        Self::new(Arc::clone(&self.shared), Some(Arc::clone(self)), prefix, is_new)
    }

    /// The scope of a child run. Children with the same name are numbered.
    pub(super) fn child(self: &Arc<Self>, name: &str) -> Arc<Self> {
        let count = {
            let mut names = unpoisoned(&self.names);
            let count = names.entry(name.to_owned()).or_default();
            *count += 1;
            *count
        };
        let child = if count == 1 { self.below(name) } else { self.below(&format!("{name}:{count}")) };
        // A group must not ask another agent in place of one that waits.
        Arc::new(Self { blocked: self.blocked.clone(), ..child })
    }

    /// The id of the run with this scope.
    pub(super) fn run_id(&self) -> RunId {
        digest::run_id(self.shared.run, &self.prefix)
    }

    pub(super) fn is_replaying(&self) -> bool {
        !self.is_at_frontier.load(Ordering::Relaxed)
    }

    /// Ends the replay of this scope and the scopes around it. Later events are new and are emitted.
    pub(super) fn reach_frontier(&self) {
        self.lineage().for_each(|scope| scope.is_at_frontier.store(true, Ordering::Relaxed));
    }

    /// Stops the run: the steps around this scope cannot be recorded any more. If a step waits, other branches go on.
    pub(super) fn fail(&self, error: JournalError) -> JournalError {
        let waits = matches!(error, JournalError::Waiting(_));
        let error = if waits { error } else { self.shared.failure.get_or_init(|| error).clone() };
        self.lineage().for_each(|scope| drop(scope.blocked.set(error.clone())));
        error
    }

    /// Why steps in this scope cannot be recorded.
    pub(super) fn blocked(&self) -> Option<&JournalError> {
        self.blocked.get().map(|own| self.shared.failure.get().unwrap_or(own))
    }

    /// This scope and the scopes around it, from the innermost to the outermost.
    fn lineage(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |scope| scope.parent.as_deref())
    }

    /// The innermost step around this scope, with its path.
    pub(super) fn step(&self) -> Option<(&Self, &StepInfo, &str)> {
        let (scope, step) = self.lineage().find_map(|scope| Some((scope, scope.step.as_ref()?)))?;
        Some((scope, step, scope.prefix.trim_end_matches('/')))
    }

    /// Adds a change to the records of all steps around this scope.
    pub(super) fn record_change(&self, change: impl Fn(&mut Changes)) {
        for step in self.lineage().filter_map(|scope| scope.step.as_ref()) {
            change(&mut unpoisoned(&step.changes));
        }
    }

    pub(super) fn record_shared(&self, kind: &str, change: &RawJson) {
        let number = self.shared.next_change.fetch_add(1, Ordering::Relaxed);
        let change = SharedChange { number, kind: kind.to_owned(), change: change.clone() };
        self.record_change(|changes| changes.shared.push(change.clone()));
    }

    pub(super) fn take_restored(&self, kind: &str) -> Vec<RawJson> {
        let mut restored = unpoisoned(&self.shared.restored);
        restored.extract_if(.., |change| change.kind == kind).map(|change| change.change).collect()
    }

    /// How long the run with this scope had been at work before a crash, as its records say.
    pub(super) fn worked(&self) -> Duration {
        let records = &self.shared.records;
        let inside = records.range(self.prefix.clone()..).take_while(|(path, _)| path.starts_with(&self.prefix));
        let Some(last) = inside.map(|(_, record)| record.worked_ms).max() else { return Duration::ZERO };
        // A child run begins after the turn that called it.
        let mut around = self.prefix.rmatch_indices('/').filter_map(|(end, _)| records.get(self.prefix.get(..end)?));
        Duration::from_millis(last - around.next().map_or(0, |turn| turn.worked_ms.min(last)))
    }

    pub(super) fn add_to_digest(&self, path: &str, output: &str) {
        self.since_turn.fetch_add(digest::of([path, output]), Ordering::Relaxed);
    }

    /// The event with the number and the cost of the steps that are answered from the journal. Steps inside a delegation
    /// that is done are answered with it.
    pub(super) fn resumed(&self) -> Option<Event> {
        let records = &self.shared.records;
        let is_covered = |path: &str| {
            let above = path.match_indices('/').filter_map(|(end, _)| records.get(path.get(..end)?));
            above.into_iter().any(|record| record.effect == Effect::Composite && record.state == StepState::Done)
        };
        let answered = records.values().filter(|record| record.state == StepState::Done && !is_covered(&record.path));
        let (mut steps, mut saved) = (0, Money::ZERO);
        for record in answered {
            steps += 1;
            saved += record.cost.total();
        }
        (!records.is_empty()).then_some(Event::Resumed { steps, saved })
    }

    pub(super) async fn write(
        &self,
        state: StepState,
        output: Option<RawJson>,
        in_flight: Option<&ModelId>,
    ) -> Result<(), JournalError> {
        let Some((scope, step, path)) = self.step() else { return Ok(()) };
        // A delegation that ends after a failure elsewhere in the run may have ended because of it.
        let in_doubt = self.shared.failure.get().filter(|_| step.effect == Effect::Composite);
        if let Some(error) = scope.blocked().or(in_doubt) {
            return Err(error.clone());
        }
        let mut changes = unpoisoned(&step.changes).clone();
        changes.items = step.account.items(in_flight);
        let not_json = |error: serde_json::Error| scope.fail(JournalError::unavailable(error));
        let worked = scope.shared.worked_before + scope.shared.built.elapsed();
        let record = StepRecord {
            path: path.to_owned(),
            name: step.name.clone(),
            effect: step.effect,
            digest: step.digest,
            state,
            output,
            cost: changes.items.total(),
            changes: RawJson::of(&changes).map_err(not_json)?,
            worked_ms: u64::try_from(worked.as_millis()).unwrap_or(u64::MAX),
        };
        self.shared.journal.write(record).await.map_err(|error| scope.fail(error))
    }
}

impl Changes {
    pub(super) fn of(record: &StepRecord) -> Result<Self, JournalError> {
        serde_json::from_str(record.changes.get())
            .map_err(|error| JournalError::diverged(&record.path, format!("its record cannot be read: {error}")))
    }
}
