//! The open waits of a claimed run.

use std::{
    collections::BTreeMap,
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use brigade_core::{Run, RunId};
use jiff::{SignedDuration, Timestamp};
use tokio::{
    sync::{Notify, futures::Notified},
    time::Instant,
};

use crate::{ClientCall, RunStore, RunStoreError, Signal, WaitReason, Waiting};

/// The open waits of a claimed run. A step that waits registers itself here and suspends its branch of the run. When every
/// branch has ended or waits, this says what the run waits for, and for how long.
pub(crate) struct RunWaits {
    store: Arc<dyn RunStore>,
    run: RunId,
    /// Signals or answers may have come in this process.
    woken: Arc<Notify>,
    claimed_at: Timestamp,
    claimed: Instant,
    /// Until when steps wait in this process before the run waits in the store.
    hold_until: Mutex<Option<Instant>>,
    open: Mutex<BTreeMap<String, OpenWait>>,
    /// The paths of the steps that use a signal, by its number.
    used: Mutex<BTreeMap<u64, String>>,
    has_failed: AtomicBool,
}

/// A step that waits.
#[derive(Debug)]
pub(crate) struct OpenWait {
    pub(crate) reason: WaitReason,
    /// The name of the tool or the signal.
    pub(crate) name: String,
    /// Absent if it waits for ever.
    pub(crate) time_left: Option<Duration>,
    /// The call that the client makes.
    pub(crate) call: Option<ClientCall>,
}

/// The waits of the run that a step belongs to. Empty for a run that cannot wait in a store.
#[derive(Debug, Clone, Default)]
pub(crate) struct WaitSource(pub(crate) Option<Arc<RunWaits>>);

/// How often the store is asked for signals that were sent in another process, while a step waits in this one.
const POLL: Duration = Duration::from_secs(1);

/// A wait that is shorter stays in this process, because a worker looks for runs that are due no more often.
const SHORT: Duration = Duration::from_secs(1);

/// A step that waits in this process leaves this much time until the deadline of its agent.
const MARGIN: Duration = Duration::from_secs(1);

impl RunWaits {
    pub(crate) fn new(
        store: Arc<dyn RunStore>,
        run: RunId,
        woken: Arc<Notify>,
        (claimed_at, claimed): (Timestamp, Instant),
    ) -> Self {
        Self {
            store,
            run,
            woken,
            claimed_at,
            claimed,
            hold_until: Mutex::default(),
            open: Mutex::default(),
            used: Mutex::default(),
            has_failed: AtomicBool::new(false),
        }
    }

    pub(crate) fn run(&self) -> RunId {
        self.run
    }

    pub(crate) fn store(&self) -> &dyn RunStore {
        &*self.store
    }

    /// The time by the store's clock.
    pub(crate) fn now(&self) -> Timestamp {
        later(self.claimed_at, self.claimed.elapsed())
    }

    /// The time until then by the store's clock; zero if it has passed.
    pub(crate) fn time_left(&self, until: Timestamp) -> Duration {
        Duration::try_from(until.duration_since(self.now())).unwrap_or_default()
    }

    /// Lets steps wait in this process for this long before the run waits in the store.
    pub(crate) fn hold(&self, hold: Duration) {
        *lock(&self.hold_until) = Instant::now().checked_add(hold);
    }

    /// If calls wait for approvals, lets steps wait in the store from now on. Returns whether any such call waits.
    pub(crate) fn release(&self) -> bool {
        let waits = lock(&self.open).values().any(|open| open.reason == WaitReason::Approval);
        if waits {
            *lock(&self.hold_until) = None;
            self.woken.notify_waiters();
        }
        waits
    }

    /// Listens for signals and answers that come from now on. Call it before the store is asked for earlier ones.
    pub(crate) fn listen(&self) -> Pin<Box<Notified<'_>>> {
        let mut woken = Box::pin(self.woken.notified());
        woken.as_mut().enable();
        woken
    }

    /// Registers a step that waits. Returns true once there may be a change, and false if the branch must be suspended.
    pub(crate) async fn stays(&self, path: &str, open: OpenWait, run: &Run, woken: Pin<Box<Notified<'_>>>) -> bool {
        let time = self.time_in_process(&open, run);
        lock(&self.open).insert(path.to_owned(), open);
        if time.is_zero() {
            return false;
        }
        let _ = tokio::time::timeout(time.min(POLL), woken).await;
        true
    }

    /// The step at this path waits no longer.
    pub(crate) fn close(&self, path: &str) {
        lock(&self.open).remove(path);
    }

    /// The store has failed, so the run must not wait: its lease runs out, and a worker claims it again.
    pub(crate) fn fail(&self, error: &RunStoreError) {
        tracing::warn!(run = %self.run, "a step cannot learn whether it still waits: {error}");
        self.has_failed.store(true, Ordering::Relaxed);
    }

    /// The first open signal that `read` reads and no other step uses. It is consumed with the record of the step at this
    /// path.
    pub(crate) async fn take_signal<T>(
        &self,
        path: &str,
        read: impl Fn(&Signal) -> Option<T>,
    ) -> Result<Option<T>, RunStoreError> {
        let signals = self.store.signals(self.run).await?;
        let mut used = lock(&self.used);
        let is_free = |signal: &&Signal| used.get(&signal.number).is_none_or(|user| user == path);
        let found = signals.iter().filter(is_free).find_map(|signal| Some((signal.number, read(signal)?)));
        Ok(found.map(|(number, value)| {
            used.insert(number, path.to_owned());
            value
        }))
    }

    /// The numbers of the signals that the step at this path uses.
    pub(crate) fn used_at(&self, path: &str) -> Vec<u64> {
        let used = lock(&self.used);
        used.iter().filter(|(_, user)| *user == path).map(|(number, _)| *number).collect()
    }

    /// What the run waits for, and for how long at most. Absent if the store failed.
    pub(crate) fn waiting(&self) -> Option<(Waiting, Option<Duration>)> {
        if self.has_failed.load(Ordering::Relaxed) {
            return None;
        }
        let open = lock(&self.open);
        let reason = open.values().map(|wait| wait.reason).min().unwrap_or(WaitReason::Approval);
        let notes = WaitReason::ALL.into_iter().filter_map(|reason| self.note(reason, &open));
        let note = notes.collect::<Vec<_>>().join("; ");
        let calls = open.values().filter_map(|wait| wait.call.clone()).collect();
        let waiting = Waiting::new(reason, open.keys().cloned().collect(), note).calls(calls);
        Some((waiting, open.values().filter_map(|wait| wait.time_left).min()))
    }

    /// A part of the sentence for people.
    fn note(&self, reason: WaitReason, open: &BTreeMap<String, OpenWait>) -> Option<String> {
        let waits: Vec<_> = open.values().filter(|wait| wait.reason == reason).collect();
        let first = waits.first()?;
        let names = waits.iter().map(|wait| format!("`{}`", wait.name)).collect::<Vec<_>>().join(", ");
        let count = waits.len();
        Some(match (reason, count) {
            (WaitReason::NeedsDecision, _) => return None,
            (WaitReason::Approval, 1) => format!("the call of {names} waits for an approval"),
            (WaitReason::Approval, _) => format!("{count} calls wait for approvals: {names}"),
            (WaitReason::ClientTool, 1) => format!("the client runs {names} and sends the result"),
            (WaitReason::ClientTool, _) => format!("the client makes {count} calls and sends the results: {names}"),
            (WaitReason::Signal, _) => format!("a step waits for the signal {names}"),
            (WaitReason::Timer, _) => {
                let time_left = waits.iter().filter_map(|wait| wait.time_left).min();
                let until = later(self.now(), time_left.or(first.time_left).unwrap_or_default());
                format!("the step {names} waits until {until:.0}")
            }
        })
    }

    /// How long a step may still wait in this process.
    fn time_in_process(&self, open: &OpenWait, run: &Run) -> Duration {
        let until = *lock(&self.hold_until);
        let hold = until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
        let time = match (open.reason, open.time_left) {
            (_, Some(time_left)) if time_left <= SHORT => time_left,
            // The client sees its calls only when the run waits.
            (WaitReason::ClientTool, _) => Duration::ZERO,
            (_, time_left) => time_left.map_or(hold, |time_left| time_left.min(hold)),
        };
        run.time_left().map_or(time, |left| time.min(left.saturating_sub(MARGIN)))
    }
}

impl fmt::Debug for RunWaits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunWaits").field("run", &self.run).field("open", &lock(&self.open)).finish_non_exhaustive()
    }
}

impl WaitSource {
    /// The waits of a durable run.
    pub(crate) fn of(run: &Run) -> Option<Arc<RunWaits>> {
        run.shared::<Self>().0.clone()
    }
}

/// The path of the innermost step that `run` belongs to.
pub(crate) fn path_of(run: &Run) -> Option<String> {
    run.idempotency_key().and_then(|key| key.split_once('/').map(|(_, path)| path.to_owned()))
}

/// This much time after that time.
pub(crate) fn later(time: Timestamp, duration: Duration) -> Timestamp {
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    time.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// Locks a value even if a thread panicked while it held the lock: each change is one operation.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use brigade_core::RawJson;

    use super::*;
    use crate::{MemoryRunStore, NewSignal, QueuedRun};

    #[tokio::test]
    async fn a_signal_that_a_step_uses_is_not_used_by_another_one_before_it_is_consumed() {
        let store = Arc::new(MemoryRunStore::new());
        let run = store.submit(QueuedRun::new("desk", RawJson::empty_object())).await.unwrap().id();
        for payload in [1, 2] {
            store.signal(run, NewSignal::named("paid", &payload).unwrap()).await.unwrap();
        }
        let waits = RunWaits::new(store, run, Arc::default(), (Timestamp::now(), Instant::now()));
        let mut taken = Vec::new();
        for path in ["one", "two", "one", "three"] {
            let signal = waits.take_signal(path, |signal| signal.named("paid")).await.unwrap();
            taken.push(signal.map(|payload| payload.get().to_owned()));
        }
        assert_eq!(taken.iter().map(Option::as_deref).collect::<Vec<_>>(), [Some("1"), Some("2"), Some("1"), None]);
        assert_eq!((waits.used_at("one"), waits.used_at("two"), waits.used_at("three")), (vec![1], vec![2], vec![]));
    }
}
