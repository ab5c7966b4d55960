//! A worker that dies at each commit of a run, and what the next worker makes of it.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failure of a test is a panic")]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use brigade_core::{
    Agent, Arguments, ChatModel, ChatReply, ChatRequest, Effect, Message, ModelError, ModelExt, ModelId, Money, Part,
    PriceCeiling, Pricing, Rate, Rates, Role, Run, RunId, ServedCall, Settings, StepState, ToolCall, ToolOutput, Usage,
    Worker, async_trait, tool_fn,
};
use brigade_durable::{
    Durable, MemoryRunStore, RunState, RunStore, StoredRun, Submission,
    testing::{Moment, StoppingStore},
};
use tokio_util::sync::CancellationToken;

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

/// Runs a worker until its store stops or the run has ended. Returns the number of commits.
async fn first_life(store: &MemoryRunStore, world: &Arc<World>, commit: usize, moment: Moment) -> (RunId, usize) {
    let store = Arc::new(StoppingStore::new(store.clone(), commit, moment));
    let durable = Durable::shared(Arc::clone(&store) as Arc<dyn RunStore>).agent("desk", team(world));
    let run = durable.submit(Submission::new("desk", "Go.")).await.unwrap().id();
    tokio::select! {
        () = durable.work(CancellationToken::new()) => {}
        () = store.stopped().cancelled() => {}
        _ = durable.wait(run) => {}
    }
    (run, store.commits())
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

#[tokio::test(start_paused = true)]
async fn at_every_commit_a_killed_worker_costs_no_completed_step_and_the_bill_is_true() {
    let world = Arc::new(World::default());
    let (_, commits) = first_life(&MemoryRunStore::new(), &world, usize::MAX, Moment::After).await;
    assert!(commits > 30, "{commits}");
    for (commit, moment) in (1..=commits).flat_map(|commit| [(commit, Moment::Before), (commit, Moment::After)]) {
        let at = format!("{moment:?} commit {commit}");
        let (store, world) = (MemoryRunStore::new(), Arc::new(World::default()));
        let (run, _) = first_life(&store, &world, commit, moment).await;
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
