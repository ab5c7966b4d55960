//! The work of one process on a run: from its claim to its end, its wait or its release.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use brigade_core::{JournalError, Outcome, RawJson, RunBuilder, RunError, RunFailure, StopReason};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    decision::decided, durable::Durable, held_runs::HeldRun, in_doubt::CallsInDoubt, submission::SubmittedTask,
};
use crate::{
    Approver, Claim, CommitError, Committed, NextState, SignalKind, StoredRun, WaitReason, Waiting,
    approval::{approver::Source, stored_approvals::StoredApprovals},
    journal::{lease::Lease, store_journal::StoreJournal},
    waiting::run_waits::{RunWaits, WaitSource},
};

/// A run that this process has claimed. [`Durable::work`] or [`Durable::work_with`] renews its lease. If it is dropped, the
/// lease runs out, and a worker claims the run again.
#[derive(Debug)]
pub struct ClaimedRun {
    run: StoredRun,
    journal: Arc<StoreJournal>,
    waits: Arc<RunWaits>,
    held: HeldRunGuard,
}

/// Lets a run go on without the client for which its calls [wait in this process](ClaimedRun::hold). Cheap to clone.
#[derive(Debug, Clone)]
pub struct ApprovalHold(Arc<RunWaits>);

impl ApprovalHold {
    /// If calls wait for approvals, lets them wait in the store from now on, as if the time of the hold was over. Returns
    /// whether any does.
    #[must_use]
    pub fn release(&self) -> bool {
        self.0.release()
    }
}

/// How the work on a run ended in this process.
#[derive(Debug)]
pub enum WorkEnd {
    /// The agent came to an end, which is stored.
    Ended(Box<Result<Outcome, RunError>>),
    /// The agent panicked. The run has failed.
    Panicked,
    /// The run waits.
    Waits(Waiting),
    /// The worker stops. Another one carries on the run.
    Released,
    /// Another worker has the run, or the store cannot be reached. The run is carried on from its journal.
    Lost,
}

/// Removes a run from the ones in progress in this process, also if its task panics.
#[derive(Debug)]
struct HeldRunGuard {
    durable: Durable,
    run: HeldRun,
}

impl Drop for HeldRunGuard {
    fn drop(&mut self) {
        self.durable.shared.held.remove(&self.run.fence);
        self.durable.shared.changed.notify_waiters();
    }
}

impl ClaimedRun {
    /// Handles the signals of a claimed run. Returns nothing if the run does not go on.
    pub(super) async fn open(durable: &Durable, claim: Claim, claimed: Instant) -> Result<Option<Self>, CommitError> {
        let Claim { run, fence, mut journal, signals, claimed_at } = claim;
        let lease = Arc::new(Lease::new(durable.settings.lease, claimed));
        let mut changed = decided(&mut journal, &signals);
        let held = HeldRun {
            fence: fence.clone(),
            lease: Arc::clone(&lease),
            cancel: CancellationToken::new(),
            drop: CancellationToken::new(),
            signal_number: run.signal_number,
        };
        durable.shared.held.add(held.clone());
        let held = HeldRunGuard { durable: durable.clone(), run: held };
        let asked = durable.store.approvals(&crate::ApprovalQuery::default().run(run.id)).await?;
        let asked: BTreeMap<_, _> = asked.into_iter().map(|approval| (approval.path, approval.tool)).collect();
        let doubt = durable.in_doubt.as_ref().map_or(Ok(Vec::new()), |policy| {
            CallsInDoubt { tools: &asked }.settle(&mut journal, |tool| policy(&run, tool))
        });
        let asked = asked.into_keys().collect();
        let (store, woken) = (Arc::clone(&durable.store), Arc::clone(&durable.shared.woken));
        let waits = Arc::new(RunWaits::new(store, run.id, woken, (claimed_at, claimed)));
        let (store, records) = (Arc::clone(&durable.store), (journal, run.commit_number));
        let journal = StoreJournal::new(store, (fence, lease), records, asked, Arc::clone(&waits));
        let claimed = Self { run, journal: Arc::new(journal), waits, held };
        let numbers = |kind| {
            let signals = signals.iter().filter(move |signal| signal.kind == kind);
            signals.map(|signal| signal.number).collect::<Vec<_>>()
        };
        let (cancels, decisions) = (numbers(SignalKind::Cancel), numbers(SignalKind::Decision));
        if !cancels.is_empty() {
            let output = json!({ "text": "", "stop": StopReason::Cancelled, "notice": "The run was cancelled." });
            let output = RawJson::of(&output).unwrap_or_else(|_| RawJson::empty_object());
            claimed.commit(NextState::Cancel(output), cancels).await?;
            return Ok(None);
        }
        match doubt {
            Ok(told) => changed.extend(told),
            Err(why) => {
                tracing::error!(run = %claimed.run.id, "the run failed: {why}");
                claimed.commit(NextState::Fail(why), decisions).await?;
                return Ok(None);
            }
        }
        if !decisions.is_empty() || !changed.is_empty() {
            claimed.journal.decide(changed, decisions).await?;
        }
        if claimed.run.attempt > durable.settings.max_attempts {
            let why = format!("it was started {} times without completing a step", claimed.run.attempt - 1);
            tracing::error!(run = %claimed.run.id, "the run was set aside: {why}");
            claimed.commit(NextState::SetAside(why), Vec::new()).await?;
            return Ok(None);
        }
        Ok(Some(claimed))
    }

    /// The run as it is stored.
    pub const fn run(&self) -> &StoredRun {
        &self.run
    }

    /// The task; absent if it cannot be read, because another version of the program has submitted it.
    pub fn task(&self) -> Option<SubmittedTask> {
        serde_json::from_str(self.run.input.get()).ok()
    }

    /// Sets the id, the journal, the cancellation and the [`Approver`] of the run, and lets its steps wait.
    pub fn prepare(&self, builder: RunBuilder) -> RunBuilder {
        let journal = Arc::clone(&self.journal);
        let approvals = StoredApprovals::new(Arc::clone(&self.waits), self.held.durable.on_approval.clone());
        let approver = Approver(Source::Stored(Arc::new(approvals)));
        let waits = WaitSource(Some(Arc::clone(&self.waits)));
        let builder = builder.id(self.run.id).journal(journal).cancellation(self.held.run.cancel.clone());
        builder.shared(approver).shared(waits)
    }

    /// Lets steps that wait do so in this process for this long before the run waits in the store, for a client that keeps its
    /// request open. By default, they do not. Calls of a [`ClientTool`](crate::ClientTool) never do, because the client sees
    /// them when the run waits.
    #[must_use]
    pub fn hold(self, hold: Duration) -> Self {
        self.waits.hold(hold);
        self
    }

    /// The means to let the run go on without its client while calls wait in this process.
    pub fn approval_hold(&self) -> ApprovalHold {
        ApprovalHold(Arc::clone(&self.waits))
    }

    /// Does the work of the agent, with the run that was [prepared](Self::prepare), and stores how it ends. When `stop` is
    /// cancelled, the work is dropped and the run released, so that another worker claims it at once.
    pub async fn carry_on(
        self,
        work: impl Future<Output = Result<Outcome, RunError>>,
        stop: &CancellationToken,
    ) -> WorkEnd {
        let (next, end) = tokio::select! {
            biased;
            () = self.held.run.drop.cancelled() => return WorkEnd::Lost,
            () = stop.cancelled() => (NextState::Release, WorkEnd::Released),
            result = unwound(work) => match result {
                Some(result) => match self.next_state(&result) {
                    Some(NextState::Wait { waiting, seen, within }) => {
                        (NextState::Wait { waiting: waiting.clone(), seen, within }, WorkEnd::Waits(waiting))
                    }
                    Some(next) => (next, WorkEnd::Ended(Box::new(result))),
                    None => return WorkEnd::Lost,
                },
                None => (NextState::Fail("the agent panicked, which is a bug".to_owned()), WorkEnd::Panicked),
            },
        };
        match self.end(next).await {
            // A run that was signalled meanwhile is ready at once. Its client still learns what it waited for.
            Ok(Committed::Written | Committed::Signalled) => end,
            Err(error) => {
                tracing::warn!(run = %self.run.id, "this worker stops its work on the run: {error}");
                WorkEnd::Lost
            }
        }
    }

    /// Fails the run, for this reason.
    pub async fn fail(self, why: impl Into<String>) {
        self.end_with(NextState::Fail(why.into())).await;
    }

    /// Sets the run aside, for this reason: no worker claims it until it is resumed.
    pub async fn set_aside(self, why: impl Into<String>) {
        self.end_with(NextState::SetAside(why.into())).await;
    }

    /// Hands the run over, so that a worker claims it at once.
    pub async fn release(self) {
        self.end_with(NextState::Release).await;
    }

    async fn end_with(self, next: NextState) {
        if let Err(error) = self.end(next).await {
            tracing::warn!(run = %self.run.id, "this worker stops its work on the run: {error}");
        }
    }

    async fn end(&self, next: NextState) -> Result<Committed, CommitError> {
        let committed = self.commit(next, Vec::new()).await?;
        if committed == Committed::Signalled {
            self.commit(NextState::Release, Vec::new()).await?;
            self.held.durable.shared.ready.notify_waiters();
        }
        Ok(committed)
    }

    async fn commit(&self, next: NextState, consumed: Vec<u64>) -> Result<Committed, CommitError> {
        let needs_content =
            self.held.durable.settings.keep_content || !matches!(next, NextState::Finish(_) | NextState::Cancel(_));
        self.journal.end(next, consumed, !needs_content).await
    }

    /// The state of the run after its agent has ended with `result`. Absent if this worker must not write for it any more.
    fn next_state(&self, result: &Result<Outcome, RunError>) -> Option<NextState> {
        let error = match result {
            Ok(outcome) => {
                let settings = &self.held.durable.settings;
                let output = if settings.keep_content || settings.keep_answer {
                    RawJson::of(outcome)
                } else {
                    RawJson::of(&json!({ "text": "", "stop": outcome.stop }))
                };
                let is_cancelled = outcome.stop == StopReason::Cancelled;
                return Some(match output {
                    Ok(output) if is_cancelled => NextState::Cancel(output),
                    Ok(output) => NextState::Finish(output),
                    Err(error) => NextState::Fail(format!("the outcome cannot be stored: {error}")),
                });
            }
            Err(error) => error,
        };
        match error.cause() {
            RunFailure::Journal(JournalError::NeedsDecision { path, .. }) => {
                let note = error.cause().to_string();
                let waiting = Waiting::new(WaitReason::NeedsDecision, vec![path.clone()], note);
                Some(NextState::Wait { waiting, seen: self.run.signal_number, within: None })
            }
            RunFailure::Journal(JournalError::Waiting(_)) => {
                let (waiting, within) = self.waits.waiting()?;
                Some(NextState::Wait { waiting, seen: self.run.signal_number, within })
            }
            RunFailure::Journal(JournalError::Fenced | JournalError::Unavailable(_)) => None,
            _ => Some(NextState::Fail(error.chain())),
        }
    }
}

/// The result of the work; absent if it panicked.
async fn unwound<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    std::future::poll_fn(|context| {
        catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)))
            .map_or(Poll::Ready(None), |polled| polled.map(Some))
    })
    .await
}
