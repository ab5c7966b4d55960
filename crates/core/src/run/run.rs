//! The context of one request.

use std::{
    any::Any,
    fmt,
    future::Future,
    hash::Hash,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{Span, level_filters::LevelFilter};

use crate::{
    Charge, Degradation, Delta, Event, Ledger, ModelErrorKind, ModelId, Observer, RunId, Scope, StopReason, TraceId,
    run::counts::{Counts, digest},
    run::journal_scope::JournalScope,
    run::shared_values::SharedValues,
    sync::unpoisoned,
};

use super::{
    builder::RunBuilder,
    in_flight::InFlight,
    log::{self, count},
};

/// The context of one request: its ids, its deadline, the account that it spends from, and its observers.
///
/// Cheap to clone. A clone is the same run; [`Run::child`] opens a run below it.
///
/// ```
/// use std::time::Duration;
/// use brigade_core::{Budget, Run};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let budget = Budget::default().usd("0.50")?.wall(Duration::from_mins(5));
/// let run = Run::builder().budget(budget).build();
/// let worker = run.child("researcher", Budget::default().turns(10))?;
/// assert_eq!(worker.trace(), run.trace());
///
/// // Cancelling a run reaches everything below it.
/// run.cancel();
/// assert!(worker.until_stopped(std::future::pending::<()>()).await.is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Run {
    pub(super) inner: Arc<Inner>,
    /// Why the current model call is dropped; absent outside of a call. See [`Run::for_call`].
    pub(super) drop_reason: Option<Arc<OnceLock<ModelErrorKind>>>,
}

#[derive(Clone)]
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
    pub(super) journal: Option<Arc<JournalScope>>,
    /// Created on first use, when the name of the agent is known.
    pub(super) span: OnceLock<Span>,
    pub(super) shared: Arc<Shared>,
}

/// The state that all runs of one request share.
pub(super) struct Shared {
    pub(super) trace: TraceId,
    pub(super) values: SharedValues,
    pub(super) scope: Scope,
    pub(super) degraded: Mutex<Vec<Degradation>>,
    pub(super) counts: Counts,
    pub(super) max_depth: u32,
    pub(super) append_only: bool,
}

/// Why a run was stopped from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interruption {
    /// The run was cancelled.
    Cancelled,
    /// The deadline has passed.
    Deadline,
}

/// A run was not started because agents delegated deeper than is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{agent} was not started: delegation may go {} deep; answer without delegating further", count((*limit).into(), "level"))]
#[non_exhaustive]
pub struct DepthExceeded {
    /// The path of the agent that was not started.
    pub agent: Arc<str>,
    /// How many levels deep agents may delegate.
    pub limit: u32,
}

impl Run {
    /// A run without limits and without observers.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Configures a run.
    pub fn builder() -> RunBuilder {
        RunBuilder::default()
    }

    /// The id of this run.
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

    /// The path of the running agent, such as `desk/researcher`; empty before an agent has started.
    pub fn agent(&self) -> &Arc<str> {
        &self.inner.agent
    }

    /// The name of the agent: the last part of its path.
    pub fn agent_name(&self) -> &str {
        self.agent().rsplit('/').next().unwrap_or_default()
    }

    /// How many agents are above this one.
    pub fn depth(&self) -> u32 {
        self.inner.depth
    }

    /// How many levels below this run agents may still delegate.
    pub fn depth_left(&self) -> u32 {
        self.inner.shared.max_depth.saturating_sub(self.inner.depth)
    }

    /// When the run must end.
    pub fn deadline(&self) -> Option<Instant> {
        self.inner.deadline
    }

    /// The time until the deadline; absent without a deadline, zero when it has passed.
    pub fn time_left(&self) -> Option<Duration> {
        self.inner.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// The account that this run spends from.
    pub fn ledger(&self) -> &Ledger {
        &self.inner.ledger
    }

    /// The tenant, user and agent whose notes in long-term memory this run may read and write.
    pub fn scope(&self) -> &Scope {
        &self.inner.shared.scope
    }

    /// The value of this type that all runs of one request share. It is the one given to [`RunBuilder::shared`], or else
    /// the default, created when it is first asked for. Use a type of your own, so that nothing else stores its value there.
    pub fn shared<T: Any + Send + Sync + Default>(&self) -> Arc<T> {
        self.inner.shared.values.get_or_default()
    }

    /// Whether the agent gives its one last answer, which may use what the budget has set aside.
    pub fn is_wrapping_up(&self) -> bool {
        self.inner.wrapping_up
    }

    /// Records why the model call that began with [`Run::for_call`] is about to be dropped. Only the first reason counts.
    /// A call that is dropped without a reason ends as cancelled.
    pub fn set_drop_reason(&self, reason: ModelErrorKind) {
        if let Some(drop_reason) = &self.drop_reason {
            let _ = drop_reason.set(reason);
        }
    }

    pub(crate) fn drop_reason(&self) -> ModelErrorKind {
        let reason = self.drop_reason.as_ref().and_then(|reason| reason.get());
        reason.copied().unwrap_or(ModelErrorKind::Cancelled)
    }

    /// Whether providers should stream their replies as [`Event::Delta`]s.
    pub fn wants_deltas(&self) -> bool {
        self.inner.wants_deltas
    }

    /// Whether text that was shown cannot be withdrawn: see [`RunBuilder::append_only`].
    pub fn is_append_only(&self) -> bool {
        self.inner.shared.append_only
    }

    /// The span of this run. It carries the ids that every log line of the run shows. Instrument spawned tasks with it:
    /// see [`tracing::Instrument`].
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

    /// Logs an event and notifies the observers. During the replay of a journal it does nothing, because the event was
    /// emitted before the crash.
    pub fn emit(&self, event: &Event) {
        if !self.inner.journal.as_ref().is_some_and(|scope| scope.is_replaying()) {
            self.publish(event);
        }
    }

    pub(crate) fn publish(&self, event: &Event) {
        if LevelFilter::current() != LevelFilter::OFF {
            log::event(self, event);
        }
        self.notify(event);
    }

    /// Notifies the observers of a piece of a reply, if deltas are wanted.
    pub fn emit_delta(&self, delta: impl FnOnce() -> Delta) {
        if self.inner.wants_deltas && !self.inner.observers.is_empty() {
            self.notify(&Event::Delta(delta()));
        }
    }

    /// Notifies the observers. A panic in one of them must neither fail the run nor, if the run is being dropped because of
    /// another panic, abort the process.
    fn notify(&self, event: &Event) {
        for observer in &self.inner.observers {
            if catch_unwind(AssertUnwindSafe(|| observer.on_event(self, event))).is_err() {
                tracing::error!(target: "brigade_core::run", "an observer panicked");
            }
        }
    }

    /// Charges the run for a call of `model` that was not reserved.
    pub fn charge(&self, model: &ModelId, charge: &Charge) {
        self.ledger().charge(&self.inner.agent, model, charge);
        self.emit_warnings();
    }

    /// Emits a warning for each soft limit that was crossed since the last call of this function.
    pub(crate) fn emit_warnings(&self) {
        for warning in self.ledger().take_warnings() {
            self.emit(&Event::budget_warning(&warning));
        }
    }

    /// Records that a part of the run failed and that the answer does without it.
    pub fn degrade(&self, degradation: Degradation) {
        if let Some(scope) = &self.inner.journal {
            scope.record_change(|changes| changes.degraded.push(degradation.clone()));
        }
        unpoisoned(&self.inner.shared.degraded).push(degradation);
    }

    /// Like [`Run::degrade`], and emits an event.
    pub(crate) fn report_degraded(&self, part: &'static str, reason: String) {
        self.emit(&Event::Degraded { part: part.into(), reason: reason.as_str().into() });
        self.degrade(Degradation::new(part, reason));
    }

    /// The parts of the whole request that have failed so far.
    pub fn degraded(&self) -> Vec<Degradation> {
        unpoisoned(&self.inner.shared.degraded).clone()
    }

    /// Counts one more `key` in the whole request, and returns how often it was counted by now.
    pub fn count(&self, key: impl Hash) -> u32 {
        self.restore_count(digest(key))
    }

    pub(super) fn restore_count(&self, digest: u64) -> u32 {
        if let Some(scope) = &self.inner.journal {
            scope.record_change(|changes| changes.counts.push(digest));
        }
        self.inner.shared.counts.add(digest)
    }

    /// How often `key` was counted.
    pub(crate) fn counted(&self, key: impl Hash) -> u32 {
        self.inner.shared.counts.get(key)
    }

    /// Cancels this run and everything below it.
    pub fn cancel(&self) {
        self.inner.cancellation.cancel();
    }

    /// Whether the run was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.inner.cancellation.is_cancelled()
    }

    /// Waits until the run is cancelled.
    pub async fn cancelled(&self) {
        self.inner.cancellation.cancelled().await;
    }

    /// Returns an error if the run was cancelled or its deadline has passed.
    pub fn check(&self) -> Result<(), Interruption> {
        if self.is_cancelled() {
            return Err(Interruption::Cancelled);
        }
        match self.inner.deadline {
            Some(deadline) if deadline <= Instant::now() => Err(Interruption::Deadline),
            _ => Ok(()),
        }
    }

    /// Runs `work` until it is done, the run is cancelled, or the deadline passes, whichever comes first.
    ///
    /// Work that is interrupted is polled once more before it is dropped, because it may watch the run too and have a
    /// partial result. If the run was cancelled before, the work is not started.
    pub fn until_stopped<T>(&self, work: impl Future<Output = T>) -> impl Future<Output = Result<T, Interruption>> {
        // Boxed, as each of the futures around it would otherwise hold the work twice.
        let work = Box::pin(work);
        async move {
            let work = self.inner.cancellation.run_until_cancelled(work);
            let done = match self.inner.deadline {
                Some(deadline) => timeout_at(deadline, work).await.map_err(|_| Interruption::Deadline)?,
                None => work.await,
            };
            done.ok_or(Interruption::Cancelled)
        }
    }
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

impl From<Interruption> for StopReason {
    fn from(interruption: Interruption) -> Self {
        match interruption {
            Interruption::Cancelled => Self::Cancelled,
            Interruption::Deadline => Self::Deadline,
        }
    }
}

impl Inner {
    /// The moment at which the run has been at work for this long, also before a crash.
    pub(super) fn after_work(&self, time: Duration) -> Option<Instant> {
        after(time.saturating_sub(self.journal.as_ref().map_or(Duration::ZERO, |scope| scope.worked())))
    }
}

/// The moment after this much time; absent if it is beyond what the clock can represent, which is as good as never.
pub(super) fn after(time: Duration) -> Option<Instant> {
    Instant::now().checked_add(time)
}

#[cfg(test)]
mod tests;
