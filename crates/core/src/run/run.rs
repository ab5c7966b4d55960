//! The context of one request.

use std::{
    fmt,
    future::Future,
    hash::Hash,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Span, level_filters::LevelFilter};

use crate::{
    Blackboard, Bus, Charge, Degradation, Delta, Effect, Event, Ledger, LocalBus, ModelErrorKind, ModelId, Observer,
    RunId, Scope, Spender, TraceId, run::counts::Counts, run::mailbox::Mailboxes, run::until_stopped::UntilStopped,
    sync::unpoisoned,
};

pub use super::builder::RunBuilder;
use super::in_flight::InFlight;

/// The context of one request: who runs, on whose behalf, until when, at whose cost, and who watches.
///
/// Cheap to clone. A clone is the same run; [`Run::child`] is a run below it.
#[derive(Clone)]
pub struct Run {
    pub(super) inner: Arc<Inner>,
    /// Why the call that it was made for is given up; absent outside of a call.
    pub(super) given_up: Option<Arc<OnceLock<ModelErrorKind>>>,
}

pub(super) struct Inner {
    pub(super) id: RunId,
    pub(super) parent: Option<RunId>,
    pub(super) agent: Arc<str>,
    pub(super) depth: u32,
    pub(super) deadline: Option<Instant>,
    pub(super) cancellation: CancellationToken,
    pub(super) ledger: Ledger,
    pub(super) observers: Vec<Arc<dyn Observer>>,
    pub(super) wants_deltas: bool,
    pub(super) wrapping_up: bool,
    pub(super) in_flight: Option<Arc<InFlight>>,
    pub(super) span: OnceLock<Span>,
    pub(super) shared: Arc<Shared>,
}

/// What all runs of one request have in common.
pub(super) struct Shared {
    pub(super) trace: TraceId,
    /// Made when it is first asked for, as few runs have a use for it.
    pub(super) bus: OnceLock<Arc<dyn Bus>>,
    pub(super) mailboxes: Mailboxes,
    /// Made when it is first asked for, like the bus.
    pub(super) blackboard: OnceLock<Blackboard>,
    pub(super) scope: Scope,
    pub(super) degraded: Mutex<Vec<Degradation>>,
    pub(super) counts: Counts,
    pub(super) max_depth: u32,
    pub(super) is_append_only: bool,
}

/// Why a run cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interruption {
    /// Somebody cancelled it.
    Cancelled,
    /// Its time is up.
    Deadline,
}

/// One effectful step of a run: a model turn, or a tool call.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// The turn of the agent, counted from 1.
    pub turn: u32,
    /// Which of the turn's tool calls, counted from 0; absent for the model turn itself.
    pub tool: Option<usize>,
    /// Whether it may be done again.
    pub effect: Effect,
}

impl Run {
    /// A run without limits and without observers.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Sets a run up.
    pub fn builder() -> RunBuilder {
        RunBuilder::default()
    }

    /// This run's id.
    pub fn id(&self) -> RunId {
        self.inner.id
    }

    /// The id that all runs of one request share.
    pub fn trace(&self) -> TraceId {
        self.inner.shared.trace
    }

    /// The run that this one is a [`child`](Run::child) of; absent at the top.
    pub fn parent(&self) -> Option<RunId> {
        self.inner.parent
    }

    /// The path of the agent that runs, such as `desk/researcher`; empty at the top.
    pub fn agent(&self) -> &Arc<str> {
        &self.inner.agent
    }

    /// How many agents are above this one.
    pub fn depth(&self) -> u32 {
        self.inner.depth
    }

    /// How many levels below this run agents may still delegate.
    pub(crate) fn depth_left(&self) -> u32 {
        self.inner.shared.max_depth.saturating_sub(self.inner.depth)
    }

    /// When the run must end.
    pub fn deadline(&self) -> Option<Instant> {
        self.inner.deadline
    }

    /// How much time is left; absent without a deadline, zero when it has passed.
    pub fn time_left(&self) -> Option<Duration> {
        self.inner.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// The account that this run spends from.
    pub fn ledger(&self) -> &Ledger {
        &self.inner.ledger
    }

    /// Messages between the agents of this run.
    pub fn bus(&self) -> &Arc<dyn Bus> {
        self.inner.shared.bus.get_or_init(|| Arc::new(LocalBus::default()))
    }

    pub(crate) fn mailboxes(&self) -> &Mailboxes {
        &self.inner.shared.mailboxes
    }

    /// On whose behalf it runs: whose notes in long-term memory it may read and write.
    pub fn scope(&self) -> &Scope {
        &self.inner.shared.scope
    }

    /// Notes that all agents of this run can read and write.
    pub fn blackboard(&self) -> &Blackboard {
        self.inner.shared.blackboard.get_or_init(Blackboard::default)
    }

    /// Whether the one last answer is being asked for, which may use what the budget has set aside.
    pub fn is_wrapping_up(&self) -> bool {
        self.inner.wrapping_up
    }

    /// Says why the call that was begun with [`Run::for_call`] is about to be dropped. Without a word it ends as
    /// cancelled.
    pub fn set_drop_reason(&self, reason: ModelErrorKind) {
        if let Some(given_up) = &self.given_up {
            // The first reason is the one.
            let _ = given_up.set(reason);
        }
    }

    /// Why the call is dropped.
    pub(crate) fn drop_reason(&self) -> ModelErrorKind {
        let reason = self.given_up.as_ref().and_then(|given_up| given_up.get());
        reason.copied().unwrap_or(ModelErrorKind::Cancelled)
    }

    /// Whether a provider should stream its answer.
    pub fn wants_deltas(&self) -> bool {
        self.inner.wants_deltas
    }

    /// Whether words of an answer that were shown cannot be taken back.
    pub fn is_append_only(&self) -> bool {
        self.inner.shared.is_append_only
    }

    /// The span that this run's work is done in. It carries the ids that every log line of the run shows; what leaves
    /// the run's task, such as a spawned one, takes them along with [`tracing::Instrument`].
    pub fn span(&self) -> &Span {
        self.inner.span.get_or_init(|| {
            tracing::info_span!(
                target: "brigade_core::run",
                "run",
                trace = %self.trace(),
                run = %self.id(),
                agent = %self.agent(),
            )
        })
    }

    /// Tells the observers, and the log.
    pub fn emit(&self, event: &Event) {
        if LevelFilter::current() != LevelFilter::OFF {
            self.span().in_scope(|| crate::run::log::event(self, event));
        }
        self.tell(event);
    }

    /// Tells the observers about a piece of an answer, if deltas are wanted.
    pub fn emit_delta(&self, delta: impl FnOnce() -> Delta) {
        if self.inner.wants_deltas && !self.inner.observers.is_empty() {
            self.tell(&Event::Delta(delta()));
        }
    }

    /// Tells the observers. One that panics is no reason to lose the run, or to end the process if the run is being
    /// dropped because of another panic.
    fn tell(&self, event: &Event) {
        for observer in &self.inner.observers {
            if catch_unwind(AssertUnwindSafe(|| observer.on_event(self, event))).is_err() {
                tracing::error!(target: "brigade_core::run", "an observer panicked");
            }
        }
    }

    /// Charges the run with what was spent on `model` without a reservation.
    pub(crate) fn book(&self, model: &ModelId, charge: &Charge) {
        let who = Spender { agent: Arc::clone(&self.inner.agent), model: model.clone() };
        self.ledger().book(&who, charge);
        self.emit_warnings();
    }

    /// Tells the soft limits that were crossed since this was last done.
    pub(crate) fn emit_warnings(&self) {
        for warning in self.ledger().take_warnings() {
            self.emit(&Event::BudgetWarning(warning));
        }
    }

    /// Notes that a part of the run did not work and the answer had to do without it.
    pub fn degrade(&self, degraded: Degradation) {
        unpoisoned(&self.inner.shared.degraded).push(degraded);
    }

    /// Notes that a part of the run did not work, and tells observers that it goes on without.
    pub(crate) fn report_degraded(&self, part: &'static str, reason: String) {
        self.emit(&Event::Degraded { part, reason: reason.as_str().into() });
        self.degrade(Degradation { part: part.to_owned(), reason });
    }

    /// What did not work so far, in the whole request.
    pub fn degraded(&self) -> Vec<Degradation> {
        unpoisoned(&self.inner.shared.degraded).clone()
    }

    /// Counts one more of what `what` names in the whole request, and answers how many there are now.
    pub fn count(&self, what: impl Hash) -> u32 {
        self.inner.shared.counts.add(what)
    }

    /// How many there are by now.
    pub(crate) fn counted(&self, what: impl Hash) -> u32 {
        self.inner.shared.counts.get(what)
    }

    /// Stops this run and everything below it.
    pub fn cancel(&self) {
        self.inner.cancellation.cancel();
    }

    /// Whether the run was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.inner.cancellation.is_cancelled()
    }

    /// Resolves when the run is cancelled.
    pub async fn cancelled(&self) {
        self.inner.cancellation.cancelled().await;
    }

    /// Whether the run must stop now.
    pub fn check(&self) -> Result<(), Interruption> {
        if self.is_cancelled() {
            return Err(Interruption::Cancelled);
        }
        match self.inner.deadline {
            Some(deadline) if deadline <= Instant::now() => Err(Interruption::Deadline),
            _ => Ok(()),
        }
    }

    /// Does `work` until it is done, the run is cancelled or its time is up, whichever comes first. In the latter cases it
    /// is polled once more, as it may watch the run itself and have something to show, and then dropped. Where the run was
    /// cancelled before, it is not begun.
    pub fn until_stopped<T>(&self, work: impl Future<Output = T>) -> impl Future<Output = Result<T, Interruption>> {
        UntilStopped::new(work, Some(&self.inner.cancellation), self.inner.deadline)
    }

    /// Does one effectful step. Every model turn and tool call passes here, so that a journal can answer a step that
    /// was done before a crash instead of doing it, and paying for it, again.
    pub fn step<T>(&self, step: Step, work: impl Future<Output = T>) -> impl Future<Output = T> {
        tracing::trace!(agent = %self.inner.agent, ?step, "step");
        work
    }
}

/// Agents delegated deeper than is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{agent} was not started: delegation may go {limit} levels deep; answer without delegating further")]
pub struct DepthExceeded {
    /// The path of the agent that was not started.
    pub agent: Arc<str>,
    /// How deep delegation may go.
    pub limit: u32,
}

impl Default for Run {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("id", &self.id())
            .field("trace", &self.trace())
            .field("agent", &self.agent())
            .finish_non_exhaustive()
    }
}

pub(super) fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// When so much time has passed from now; absent if no clock goes that far, which is as good as never.
pub(super) fn after(time: Duration) -> Option<Instant> {
    Instant::now().checked_add(time)
}

#[cfg(test)]
mod tests;
