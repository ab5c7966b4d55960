//! One life of a run: from its claim to its end, its wait or its release.

use std::sync::Arc;

use brigade_core::{
    JournalError, Outcome, RawJson, Run, RunError, RunFailure, StepRecord, StepState, StopReason, Task,
};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    durable::{Decision, Durable},
    held_runs::HeldRun,
    submission::SubmittedTask,
};
use crate::{
    Claim, CommitError, Committed, Fence, NextState, SignalKind, WaitReason, Waiting,
    journal::{lease::Lease, store_journal::StoreJournal},
};

/// How the work on a run ended.
enum Ended {
    /// The agent came to an end.
    Result(Box<Result<Outcome, RunError>>),
    /// The worker stops.
    Stopped,
    /// Another worker has the run.
    Lost,
}

/// Removes a run from the ones in progress in this process, also if its task panics.
struct Held<'a>(&'a Durable, Fence);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.shared.held.remove(&self.1);
        self.0.shared.changed.notify_waiters();
    }
}

/// Carries on a claimed run.
pub(super) async fn carry_on(durable: &Durable, claim: Claim, claimed: Instant, stop: &CancellationToken) {
    let lease = Arc::new(Lease::new(durable.settings.lease, claimed));
    let fence = claim.fence.clone();
    let held = HeldRun {
        fence: fence.clone(),
        lease: Arc::clone(&lease),
        cancel: CancellationToken::new(),
        drop: CancellationToken::new(),
        signal_number: claim.run.signal_number,
    };
    durable.shared.held.add(held.clone());
    let _held = Held(durable, fence.clone());
    if let Err(error) = live(durable, claim, &held, stop).await {
        tracing::warn!(run = %fence.run, "the run was given up here: {error}");
    }
}

async fn live(durable: &Durable, claim: Claim, held: &HeldRun, stop: &CancellationToken) -> Result<(), CommitError> {
    let (run, mut records) = (&claim.run, claim.journal);
    let changed = decided(&mut records, &claim.signals);
    let (store, fence) = (Arc::clone(&durable.store), claim.fence.clone());
    let journal = StoreJournal::new(store, fence, Arc::clone(&held.lease), records, run.commit_number);
    let journal = Arc::new(journal);
    let consumed = |kind| {
        let signals = claim.signals.iter().filter(move |signal| signal.kind == kind);
        signals.map(|signal| signal.number).collect::<Vec<_>>()
    };
    if claim.signals.iter().any(|signal| signal.kind == SignalKind::Cancel) {
        let output = json!({ "text": "", "stop": StopReason::Cancelled, "notice": "The run was cancelled." });
        let output = RawJson::of(&output).unwrap_or_else(|_| RawJson::empty_object());
        journal.end(NextState::Cancel(output), consumed(SignalKind::Cancel)).await?;
        return Ok(());
    }
    let decisions = consumed(SignalKind::Decision);
    if !decisions.is_empty() {
        journal.decide(changed, decisions).await?;
    }
    if run.attempt > durable.settings.max_attempts {
        let why = format!("it was started {} times without completing a step", run.attempt - 1);
        journal.end(NextState::SetAside(why), Vec::new()).await?;
        return Ok(());
    }
    let task = serde_json::from_str::<SubmittedTask>(run.input.get());
    let (Ok(task), Some(agent)) = (task, durable.agents.get(&run.queue)) else {
        let why = format!("there is no agent `{}` for it, or its task cannot be read", run.queue);
        journal.end(NextState::Fail(why), Vec::new()).await?;
        return Ok(());
    };
    let mut builder = Run::builder();
    if let Some(prepare) = &durable.prepare {
        builder = prepare(run, &task, builder);
    }
    let builder = builder.id(run.id).journal(Arc::clone(&journal) as _).cancellation(held.cancel.clone());
    let running = builder.build();
    let ended = tokio::select! {
        biased;
        () = held.drop.cancelled() => Ended::Lost,
        () = stop.cancelled() => Ended::Stopped,
        result = agent.run(&running, Task::from(task)) => Ended::Result(Box::new(result)),
    };
    let next = match ended {
        Ended::Lost => return Err(CommitError::Fenced),
        Ended::Stopped => NextState::Release,
        Ended::Result(result) => match next_state(*result, run.signal_number) {
            Some(next) => next,
            None => return Err(CommitError::Fenced),
        },
    };
    if journal.end(next, Vec::new()).await? == Committed::Signalled {
        // The signal is handled by the next life of the run.
        journal.end(NextState::Release, Vec::new()).await?;
        durable.shared.ready.notify_waiters();
    }
    Ok(())
}

/// What becomes of a run whose agent came to an end. Absent if this worker must not write for it any more.
fn next_state(result: Result<Outcome, RunError>, seen: u64) -> Option<NextState> {
    let error = match result {
        Ok(outcome) => {
            let output = match RawJson::of(&outcome) {
                Ok(output) => output,
                Err(error) => return Some(NextState::Fail(format!("its outcome cannot be stored: {error}"))),
            };
            let is_cancelled = outcome.stop == StopReason::Cancelled;
            return Some(if is_cancelled { NextState::Cancel(output) } else { NextState::Finish(output) });
        }
        Err(error) => error,
    };
    match error.cause() {
        RunFailure::Journal(JournalError::NeedsDecision { path, .. }) => {
            let note = error.cause().to_string();
            let waiting = Waiting::new(WaitReason::NeedsDecision, vec![path.clone()], note);
            Some(NextState::Wait { waiting, seen, within: None })
        }
        RunFailure::Journal(JournalError::Fenced | JournalError::Unavailable(_)) => None,
        _ => Some(NextState::Fail(error.chain())),
    }
}

/// Applies decisions to the records, and returns the records that they change.
fn decided(records: &mut [StepRecord], signals: &[crate::Signal]) -> Vec<StepRecord> {
    let decisions = signals.iter().filter(|signal| signal.kind == SignalKind::Decision);
    let decisions = decisions.filter_map(|signal| serde_json::from_str::<Decision>(signal.payload.get()).ok());
    let mut changed = Vec::new();
    for Decision { path, answer } in decisions {
        let open = records.iter_mut().find(|record| record.path == path && record.state == StepState::Began);
        let Some(record) = open else { continue };
        match answer.map(|answer| record.clone().answered(answer)) {
            Some(Ok(answered)) => *record = answered,
            Some(Err(error)) => tracing::error!("a decision was not applied: {error}"),
            // A step that failed is done again.
            None => record.state = StepState::Failed,
        }
        changed.push(record.clone());
    }
    changed
}
