//! A worker that dies at each commit of a run, and what the next worker makes of it.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failure of a test is a panic")]

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use brigade_core::{
    Agent, Arguments, ChatModel, ChatReply, ChatRequest, Effect, Message, ModelError, ModelExt, ModelId, Money, Part,
    PriceCeiling, Pricing, Rate, Rates, Role, Run, RunId, ServedCall, Settings, StepRecord, StepState, ToolCall,
    ToolOutput, Usage, Worker, async_trait, tool_fn,
};
use brigade_durable::{
    Claim, ClaimRequest, Commit, CommitError, Committed, Durable, Fence, MemoryRunStore, NewSignal, QueuedRun, Renewed,
    RunQuery, RunState, RunStore, RunStoreError, Signal, Signalled, StoredRun, Submission, Submitted,
};
use tokio_util::sync::CancellationToken;

/// A store whose process dies at one commit: the commit never returns.
#[derive(Debug)]
struct DyingStore {
    store: MemoryRunStore,
    commits: AtomicUsize,
    /// Counted from 1. With `true`, the commit is written before the end.
    dies_at: (usize, bool),
    died: CancellationToken,
}

#[async_trait]
impl RunStore for DyingStore {
    async fn submit(&self, run: QueuedRun) -> Result<Submitted, RunStoreError> {
        self.store.submit(run).await
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Vec<Claim>, RunStoreError> {
        self.store.claim(request).await
    }

    async fn renew(&self, fences: &[Fence], lease: Duration) -> Result<Vec<Renewed>, RunStoreError> {
        self.store.renew(fences, lease).await
    }

    async fn commit(&self, commit: &Commit) -> Result<Committed, CommitError> {
        let (dies_at, is_written) = self.dies_at;
        let number = self.commits.fetch_add(1, Ordering::Relaxed) + 1;
        if number < dies_at {
            return self.store.commit(commit).await;
        }
        if number == dies_at && is_written {
            self.store.commit(commit).await?;
        }
        self.died.cancel();
        std::future::pending().await
    }

    async fn signal(&self, run: RunId, signal: NewSignal) -> Result<Signalled, RunStoreError> {
        self.store.signal(run, signal).await
    }

    async fn signals(&self, run: RunId) -> Result<Vec<Signal>, RunStoreError> {
        self.store.signals(run).await
    }

    async fn resume(&self, run: RunId, removed: &[String]) -> Result<bool, RunStoreError> {
        self.store.resume(run, removed).await
    }

    async fn find(&self, run: RunId) -> Result<Option<StoredRun>, RunStoreError> {
        self.store.find(run).await
    }

    async fn journal(&self, run: RunId) -> Result<Vec<StepRecord>, RunStoreError> {
        self.store.journal(run).await
    }

    async fn list(&self, filter: &RunQuery) -> Result<Vec<StoredRun>, RunStoreError> {
        self.store.list(filter).await
    }
}

/// What really happened in the world: how often each step was executed, and what the provider bills.
#[derive(Debug, Default)]
struct World {
    executions: Mutex<BTreeMap<String, u32>>,
    /// Effects of keyed tools, by their keys, and of the others by their paths.
    effects: Mutex<BTreeMap<String, u32>>,
    bill: Mutex<Money>,
}

impl World {
    fn execute(&self, run: &Run) -> String {
        let key = run.idempotency_key().unwrap();
        let path = key.split_once('/').unwrap().1.to_owned();
        *self.executions.lock().unwrap().entry(path.clone()).or_default() += 1;
        path
    }
}

/// A model that replies by the number of its turn, so that it needs no memory of its own.
#[derive(Debug)]
struct Scripted {
    id: ModelId,
    turns: Vec<Vec<Part>>,
    world: Arc<World>,
}

#[derive(Debug, Clone)]
struct FlatPrice;

const RATES: Rates = Rates::new(Rate::per_million(Money::from_cents(100)), Rate::per_million(Money::from_cents(1_000)));

impl Pricing for FlatPrice {
    fn ceiling(&self, _: &ModelId, _: &Settings, _: u64) -> Option<PriceCeiling> {
        Some(PriceCeiling::new(RATES).max_output_tokens(Some(1_000)))
    }

    fn cost(&self, _: &ServedCall<'_>, usage: &Usage) -> Option<Money> {
        Some(RATES.cost(usage.input_tokens, usage.output_tokens))
    }
}

#[async_trait]
impl ChatModel for Scripted {
    fn id(&self) -> &ModelId {
        &self.id
    }

    fn settings(&self) -> &Settings {
        Settings::none()
    }

    async fn chat(&self, request: &ChatRequest, run: &Run) -> Result<ChatReply, ModelError> {
        self.world.execute(run);
        *self.world.bill.lock().unwrap() += RATES.cost(100, 10);
        tokio::time::sleep(Duration::from_millis(10)).await;
        let turn = request.transcript.messages().iter().filter(|message| message.role() == Role::Assistant).count();
        let reply = ChatReply::new(Message::new(Role::Assistant, self.turns[turn].clone()));
        Ok(reply.usage(Some(Usage::new(100, 10))))
    }
}

fn call(id: &str, tool: &str, arguments: &str) -> Part {
    Part::ToolCall(ToolCall::new(id, tool, Arguments::parse(arguments.to_owned())))
}

fn agent(name: &str, turns: Vec<Vec<Part>>, world: &Arc<World>) -> Agent {
    let model = Scripted { id: ModelId::new("acme", name.to_owned()), turns, world: Arc::clone(world) };
    let tools = [("read", Effect::Repeatable), ("put", Effect::Keyed), ("pay", Effect::Once)];
    tools.into_iter().fold(Agent::new(name.to_owned(), model.metered(&FlatPrice)), |agent, (tool, effect)| {
        let world = Arc::clone(world);
        let tool = tool_fn(tool, "Acts.", move |_: serde_json::Map<String, serde_json::Value>, run: Run| {
            let world = Arc::clone(&world);
            async move {
                let path = world.execute(&run);
                tokio::time::sleep(Duration::from_millis(10)).await;
                *world.effects.lock().unwrap().entry(path).or_default() += 1;
                Ok(ToolOutput::text("done"))
            }
        });
        agent.tool(tool.effect(effect))
    })
}

/// A desk with three workers, which use tools of each effect, in several turns.
fn team(world: &Arc<World>) -> Agent {
    let answers = |text: &str| vec![Part::text(text)];
    let workers = [
        ("reader", vec![vec![call("a", "read", "{}"), call("b", "put", "{}")], answers("read")]),
        ("payer", vec![vec![call("a", "pay", "{}")], vec![call("b", "read", "{\"n\": 2}")], answers("paid")]),
        ("writer", vec![vec![call("a", "put", "{\"n\": 3}"), call("b", "no such tool", "{}")], answers("written")]),
    ];
    let delegate = |name: &str| call(name, name, r#"{"task": "work"}"#);
    let desk = vec![
        vec![delegate("reader"), delegate("payer"), delegate("writer")],
        vec![call("p", "pay", "{\"n\": 4}"), call("q", "pay", "{\"n\": 5}")],
        answers("All in all."),
    ];
    workers
        .into_iter()
        .fold(agent("desk", desk, world), |desk, (name, turns)| desk.worker(Worker::new(agent(name, turns, world))))
}

/// Runs a worker until it dies or the run has ended. Returns the number of commits.
async fn first_life(store: &MemoryRunStore, world: &Arc<World>, dies_at: (usize, bool)) -> (RunId, usize) {
    let died = CancellationToken::new();
    let dying = Arc::new(DyingStore { store: store.clone(), commits: 0.into(), dies_at, died: died.clone() });
    let durable = Durable::new(Shared(Arc::clone(&dying))).agent("desk", team(world));
    let run = durable.submit(Submission::new("desk", "Go.")).await.unwrap().id();
    let stop = CancellationToken::new();
    tokio::select! {
        () = durable.work(stop.clone()) => {}
        () = died.cancelled() => {}
        _ = durable.wait(run) => {}
    }
    (run, dying.commits.load(Ordering::Relaxed))
}

/// Carries the run on until it ends. Steps that need a decision are not repeated.
async fn second_life(store: &MemoryRunStore, world: &Arc<World>, run: RunId) -> StoredRun {
    let durable = Durable::new(store.clone()).agent("desk", team(world));
    let stop = CancellationToken::new();
    let lives = async {
        loop {
            let found = durable.wait_until(run, |run| run.status.is_ended() || run.waiting.is_some()).await.unwrap();
            let Some(waiting) = found.waiting else { return found };
            durable.answer_step(run, &waiting.paths[0], "It is not known whether it was paid.").await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = durable.work(stop) => panic!("the worker stopped"),
        found = lives => found,
    }
}

/// Shares a store between tests and a library front.
#[derive(Debug)]
struct Shared<S>(Arc<S>);

#[async_trait]
impl<S: RunStore> RunStore for Shared<S> {
    async fn submit(&self, run: QueuedRun) -> Result<Submitted, RunStoreError> {
        self.0.submit(run).await
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Vec<Claim>, RunStoreError> {
        self.0.claim(request).await
    }

    async fn renew(&self, fences: &[Fence], lease: Duration) -> Result<Vec<Renewed>, RunStoreError> {
        self.0.renew(fences, lease).await
    }

    async fn commit(&self, commit: &Commit) -> Result<Committed, CommitError> {
        self.0.commit(commit).await
    }

    async fn signal(&self, run: RunId, signal: NewSignal) -> Result<Signalled, RunStoreError> {
        self.0.signal(run, signal).await
    }

    async fn signals(&self, run: RunId) -> Result<Vec<Signal>, RunStoreError> {
        self.0.signals(run).await
    }

    async fn resume(&self, run: RunId, removed: &[String]) -> Result<bool, RunStoreError> {
        self.0.resume(run, removed).await
    }

    async fn find(&self, run: RunId) -> Result<Option<StoredRun>, RunStoreError> {
        self.0.find(run).await
    }

    async fn journal(&self, run: RunId) -> Result<Vec<StepRecord>, RunStoreError> {
        self.0.journal(run).await
    }

    async fn list(&self, filter: &RunQuery) -> Result<Vec<StoredRun>, RunStoreError> {
        self.0.list(filter).await
    }
}

#[tokio::test(start_paused = true)]
async fn at_every_commit_a_killed_worker_costs_no_completed_step_and_the_bill_is_true() {
    let world = Arc::new(World::default());
    let (_, commits) = first_life(&MemoryRunStore::new(), &world, (usize::MAX, true)).await;
    assert!(commits > 30, "{commits}");
    for (commit, is_written) in (1..=commits).flat_map(|commit| [(commit, false), (commit, true)]) {
        let at = format!("commit {commit}, written: {is_written}");
        let (store, world) = (MemoryRunStore::new(), Arc::new(World::default()));
        let (run, _) = first_life(&store, &world, (commit, is_written)).await;
        let before = world.executions.lock().unwrap().clone();
        let journal = store.journal(run).await.unwrap();
        let ended = second_life(&store, &world, run).await;
        assert_eq!(ended.status, RunState::Finished, "{at}: {ended:?}");

        let after = world.executions.lock().unwrap().clone();
        for record in journal.iter().filter(|record| record.state == StepState::Done) {
            assert_eq!(before.get(&record.path), after.get(&record.path), "{at}: {} was repeated", record.path);
        }
        let names: BTreeMap<_, _> =
            store.journal(run).await.unwrap().into_iter().map(|record| (record.path, record.name)).collect();
        for (path, effects) in world.effects.lock().unwrap().iter().filter(|(path, _)| names[*path] == "pay") {
            assert_eq!(*effects, 1, "{at}: {path} was paid more than once");
        }
        let (bill, cost) = (*world.bill.lock().unwrap(), ended.cost);
        let sure = cost.total() - cost.uncertain;
        assert!(sure <= bill && bill <= cost.total(), "{at}: the bill is {bill}, the run has {cost:?}");
    }
}
