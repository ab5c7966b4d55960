//! A worker whose store does not answer, or answers too late.

#![expect(clippy::unwrap_used, reason = "a failure of a test is a panic")]

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use brigade_core::{
    Agent, Effect, Run, RunId, StepRecord, StepState, ToolOutput, async_trait,
    testing::{ScriptedModel, Turn},
    tool_fn,
};
use brigade_durable::{
    Answered, Approval, ApprovalAnswer, ApprovalQuery, Claim, ClaimRequest, Commit, CommitError, Committed, Durable,
    Fence, MemoryRunStore, NewApproval, NewSignal, QueuedRun, Renewed, RunQuery, RunState, RunStore, RunStoreError,
    Signal, Signalled, StoredRun, Submission, Submitted,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// A store behind a network that fails.
#[derive(Debug, Clone)]
struct Remote {
    store: MemoryRunStore,
    is_cut_off: Arc<AtomicBool>,
    /// The commits whose first answer is lost after they were written; absent if no answers are lost.
    lost_answers: Option<Arc<Mutex<BTreeSet<u64>>>>,
}

impl Remote {
    fn new(store: &MemoryRunStore) -> Self {
        Self { store: store.clone(), is_cut_off: Arc::default(), lost_answers: None }
    }

    fn check(&self) -> Result<(), RunStoreError> {
        if self.is_cut_off.load(Ordering::Relaxed) { Err(RunStoreError::new("the network is down")) } else { Ok(()) }
    }
}

#[async_trait]
impl RunStore for Remote {
    async fn submit(&self, run: QueuedRun) -> Result<Submitted, RunStoreError> {
        self.check()?;
        self.store.submit(run).await
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Vec<Claim>, RunStoreError> {
        self.check()?;
        self.store.claim(request).await
    }

    async fn renew(&self, fences: &[Fence], lease: Duration) -> Result<Vec<Renewed>, RunStoreError> {
        self.check()?;
        self.store.renew(fences, lease).await
    }

    async fn commit(&self, commit: &Commit) -> Result<Committed, CommitError> {
        self.check()?;
        let committed = self.store.commit(commit).await;
        match &self.lost_answers {
            Some(lost) if lost.lock().unwrap().insert(commit.number) => {
                Err(CommitError::Unavailable(RunStoreError::new("the answer is lost")))
            }
            _ => committed,
        }
    }

    async fn signal(&self, run: RunId, signal: NewSignal) -> Result<Signalled, RunStoreError> {
        self.check()?;
        self.store.signal(run, signal).await
    }

    async fn signals(&self, run: RunId) -> Result<Vec<Signal>, RunStoreError> {
        self.check()?;
        self.store.signals(run).await
    }

    async fn request_approval(&self, approval: NewApproval) -> Result<Approval, RunStoreError> {
        self.check()?;
        self.store.request_approval(approval).await
    }

    async fn answer_approval(&self, id: &str, answer: ApprovalAnswer) -> Result<Answered, RunStoreError> {
        self.check()?;
        self.store.answer_approval(id, answer).await
    }

    async fn approvals(&self, query: &ApprovalQuery) -> Result<Vec<Approval>, RunStoreError> {
        self.check()?;
        self.store.approvals(query).await
    }

    async fn resume(&self, run: RunId, removed: &[String]) -> Result<bool, RunStoreError> {
        self.check()?;
        self.store.resume(run, removed).await
    }

    async fn find(&self, run: RunId) -> Result<Option<StoredRun>, RunStoreError> {
        self.check()?;
        self.store.find(run).await
    }

    async fn journal(&self, run: RunId) -> Result<Vec<StepRecord>, RunStoreError> {
        self.check()?;
        self.store.journal(run).await
    }

    async fn list(&self, filter: &RunQuery) -> Result<Vec<StoredRun>, RunStoreError> {
        self.check()?;
        self.store.list(filter).await
    }
}

/// A worker process with a desk that looks something up, which takes `time`, and then answers.
struct Process {
    durable: Durable,
    model: ScriptedModel,
    lookups: Arc<AtomicUsize>,
}

impl Process {
    fn new(store: impl RunStore, effect: Effect, time: Duration) -> Self {
        // The model is asked for the second turn in another process if the first turn was recorded there.
        let model = ScriptedModel::new([Turn::call("1", "look_up", json!({})), Turn::text("It is.")]);
        Self::with_model(store, model, effect, time)
    }

    fn with_model(store: impl RunStore, model: ScriptedModel, effect: Effect, time: Duration) -> Self {
        let lookups = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&lookups);
        let look_up =
            tool_fn("look_up", "Looks it up.", move |_: serde_json::Map<String, serde_json::Value>, _: Run| {
                counted.fetch_add(1, Ordering::Relaxed);
                async move {
                    tokio::time::sleep(time).await;
                    Ok(ToolOutput::text("found"))
                }
            });
        let desk = Agent::new("desk", model.clone()).tool(look_up.effect(effect));
        Self { durable: Durable::new(store).agent("desk", desk), model, lookups }
    }

    fn lookups(&self) -> usize {
        self.lookups.load(Ordering::Relaxed)
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_answer_is_lost_is_repeated_and_changes_nothing() {
    let kept = MemoryRunStore::new();
    let lost = Arc::new(Mutex::new(BTreeSet::new()));
    let store = Remote { lost_answers: Some(Arc::clone(&lost)), ..Remote::new(&kept) };
    let process = Process::new(store, Effect::Once, Duration::from_secs(1));
    let run = process.durable.submit(Submission::new("desk", "Is it?")).await.unwrap().id();
    let ended = tokio::select! {
        () = process.durable.work(CancellationToken::new()) => unreachable!("the worker stopped"),
        ended = process.durable.wait(run) => ended.unwrap(),
    };
    assert_eq!((ended.status, ended.attempt), (RunState::Finished, 1), "{ended:?}");
    assert_eq!((process.lookups(), process.model.requests().len()), (1, 2));
    let answers = lost.lock().unwrap().len() as u64;
    assert!(answers > 4 && answers == ended.commit_number, "each commit was sent twice: {answers}");
    let journal = kept.journal(run).await.unwrap();
    assert!(journal.iter().all(|record| record.state == StepState::Done), "{journal:?}");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_lost_its_lease_records_nothing_and_begins_nothing_more() {
    let kept = MemoryRunStore::new();
    let store = Remote::new(&kept);
    // The lookup ends after the lease, in both processes.
    let time = Duration::from_secs(40);
    let first = Process::new(store.clone(), Effect::Repeatable, time);
    let second =
        Process::with_model(kept.clone(), ScriptedModel::new([Turn::text("It is.")]), Effect::Repeatable, time);
    let run = first.durable.submit(Submission::new("desk", "Is it?")).await.unwrap().id();
    let cut_off = async {
        first.durable.wait_until(run, |run| run.commit_number >= 2).await.unwrap();
        store.is_cut_off.store(true, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(kept.find(run).await.unwrap().unwrap().epoch, 2, "the second worker has the run");
        store.is_cut_off.store(false, Ordering::Relaxed);
        second.durable.wait(run).await.unwrap()
    };
    let stop = CancellationToken::new();
    let second_works = async {
        // After the first has claimed the run.
        tokio::time::sleep(Duration::from_secs(5)).await;
        second.durable.work(stop.clone()).await;
    };
    let ended = tokio::select! {
        () = first.durable.work(stop.clone()) => unreachable!("the worker stopped"),
        () = second_works => unreachable!("the worker stopped"),
        ended = cut_off => ended,
    };
    assert_eq!((ended.status, ended.epoch), (RunState::Finished, 2), "{ended:?}");
    assert_eq!((first.lookups(), first.model.requests().len()), (1, 1), "the first asks no model after the lookup");
    assert_eq!((second.lookups(), second.model.requests().len()), (1, 1), "the first turn is not repeated");
}
