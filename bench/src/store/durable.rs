//! Durable runs: what a journal costs, and many runs that wait.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use brigade_core::{
    Agent, Event, ModelExt, Observer, Outcome, RawJson, Run, RunError, RunId, Task, ToolOutput, tool_fn,
};
use brigade_durable::{
    CancellationToken, ClaimRequest, Commit, Durable, NewSignal, NextState, QueuedRun, RunQuery, RunState, RunStore,
    SignalKind, Submission, SubmittedTask, WaitReason, Waiting, WorkEnd,
};
use brigade_observability::PriceBook;
use brigade_providers::OpenAi;
use brigade_resilience::{Accounts, Policy};
use brigade_store::{Database, History, SqliteRunStore};
use futures::{StreamExt, TryStreamExt, stream};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::Instant;

use super::store::{Amount, Numbers};
use crate::process::provider::{Options, Provider};
use crate::process::resources::{cpu_time, memory_mib};
use crate::workload::{CLERK, LOOKUP, LOOKUP_PURPOSE, Workload, look_up};

/// The steps of a run of the workload: its calls, and a tool call in each turn but the last.
const STEPS: u32 = 21;

/// Writes in parallel, which share commits of the database.
const PARALLEL: usize = 100;

const LEASE: Duration = Duration::from_mins(10);

/// An agent with a history, and a store for its runs in the same file.
struct Setup {
    agent: Agent,
    durable: Durable,
    history: History,
    observer: Arc<dyn Observer>,
}

#[derive(Deserialize, JsonSchema)]
struct Topic {
    /// The subject, in a few words.
    topic: String,
}

pub(super) async fn measure(path: &Path, amount: Amount, numbers: &mut Numbers) -> Result<()> {
    let provider = Provider::start(Options::counting())?;
    let setup = Setup::open(path, provider.base_url()).await?;
    setup.measure_journal(amount, numbers).await?;
    setup.measure_waiting(amount, numbers).await
}

impl Setup {
    async fn open(path: &Path, base_url: &str) -> Result<Self> {
        let database = Database::open(path)?;
        let history = History::start(database.clone(), Event::clone).await?;
        let openai = OpenAi::builder().base_url(format!("{base_url}/v1")).api_key("simulated").build()?;
        let model = history.write_barrier(openai.model(CLERK.model)).metered(&PriceBook::bundled());
        let model = Policy::default().wrap(model, [], &Accounts::new());
        let look_up = async |Topic { topic }: Topic, _: Run| Ok(ToolOutput::text(look_up(&topic)));
        let agent = Agent::new(CLERK.name, model).instructions(CLERK.instructions);
        let agent = agent.tool(tool_fn(LOOKUP, LOOKUP_PURPOSE, look_up));
        let durable = Durable::new(SqliteRunStore::new(database)).agent(CLERK.name, agent.clone());
        let observer = history.of_account("bench");
        Ok(Self { agent, durable, history, observer })
    }

    /// One run with history alone.
    async fn run(&self) -> Result<()> {
        let run = Run::builder().observer(Arc::clone(&self.observer)).build();
        self.check(self.agent.run_in(&run, Workload::ToolLoop.task()).await).await
    }

    /// One run with history and a journal.
    async fn run_durably(&self) -> Result<()> {
        let submission = Submission::new(CLERK.name, Workload::ToolLoop.task());
        let claimed = self.durable.start(submission).await?.context("the run is claimed elsewhere")?;
        let run = claimed.prepare(Run::builder().observer(Arc::clone(&self.observer))).build();
        let work = self.agent.run_in(&run, Workload::ToolLoop.task());
        match claimed.carry_on(work, &CancellationToken::new()).await {
            WorkEnd::Ended(result) => self.check(*result).await,
            end => anyhow::bail!("the run did not end: {end:?}"),
        }
    }

    async fn check(&self, result: Result<Outcome, RunError>) -> Result<()> {
        self.history.flush().await?;
        let outcome = result?;
        ensure!(outcome.is_finished() && outcome.degraded.is_empty(), "the run did not finish: {}", outcome.notice);
        Ok(())
    }

    /// Both ways take turns, so that a disturbance affects both.
    async fn measure_journal(&self, amount: Amount, numbers: &mut Numbers) -> Result<()> {
        let (mut ratios, mut added) = (Vec::new(), Vec::new());
        self.run().await?;
        self.run_durably().await?;
        for _ in 0..amount.repetitions {
            let (cpu, start) = (cpu_time(), Instant::now());
            self.run().await?;
            let (alone, alone_took, cpu, start) =
                (cpu_time().saturating_sub(cpu), start.elapsed(), cpu_time(), Instant::now());
            self.run_durably().await?;
            ratios.push(cpu_time().saturating_sub(cpu).as_secs_f64() / alone.as_secs_f64());
            added.push(start.elapsed().saturating_sub(alone_took) / STEPS);
        }
        numbers.add_ratio_at_most(1.3, "CPU of a run with a journal, to one with history alone", &ratios);
        numbers.add_at_most(Duration::from_millis(5), "time that a durable step adds, synced", &added);
        Ok(())
    }

    async fn measure_waiting(&self, amount: Amount, numbers: &mut Numbers) -> Result<()> {
        let store = self.durable.store().as_ref();
        let stop = CancellationToken::new();
        let memory = memory_mib(std::process::id())?;
        let runs = wait_with(store, amount.waiting).await?;
        let waits = amount.waiting;
        let measuring = async {
            // Until the worker has looked for runs.
            tokio::time::sleep(Duration::from_secs(2)).await;
            let grown = memory_mib(std::process::id())? - memory;
            numbers.add_mib_at_most(32.0, format!("memory for {waits} waiting runs and a worker"), grown);
            let (mut lists, mut answers) = (Vec::new(), Vec::new());
            for run in runs.iter().take(amount.repetitions) {
                let start = Instant::now();
                store.list(&RunQuery::default().status(RunState::Waiting).limit(50)).await?;
                lists.push(start.elapsed());
                let start = Instant::now();
                self.durable.signal(*run, NewSignal::new(SignalKind::Message, RawJson::empty_object())).await?;
                let ended = self.durable.wait(*run).await?;
                answers.push(start.elapsed());
                ensure!(ended.status == RunState::Finished, "the run did not finish: {:?}", ended.error);
            }
            numbers.add_at_most(Duration::from_millis(20), format!("list 50 of {waits} waiting runs"), &lists);
            let name = format!("one of {waits} waiting runs, from its signal to its end after {STEPS} steps");
            numbers.add(name, &answers);
            anyhow::Ok(())
        };
        tokio::select! {
            () = self.durable.work(stop.clone()) => anyhow::bail!("the worker has ended"),
            measured = measuring => measured,
        }
    }
}

/// Stores so many runs that wait.
async fn wait_with(store: &dyn RunStore, count: usize) -> Result<Vec<RunId>> {
    let task = SubmittedTask::from(Task::from(Workload::ToolLoop.task()));
    let input = RawJson::of(&task)?;
    let waits = async |_| {
        let id = store.submit(QueuedRun::new(CLERK.name, input.clone())).await?.id();
        let request = ClaimRequest::new("bench", vec![CLERK.name.into()], 1, LEASE).run(id);
        let claim = store.claim(&request).await?.pop().context("the run is claimed elsewhere")?;
        let waiting = Waiting::new(WaitReason::Approval, vec!["1/tool:1".to_owned()], "Approve it.");
        let wait = NextState::Wait { waiting, seen: 0, within: None };
        store.commit(&Commit::new(claim.fence, 1, wait, LEASE)).await?;
        anyhow::Ok(id)
    };
    stream::iter(0..count).map(waits).buffer_unordered(PARALLEL).try_collect().await
}
