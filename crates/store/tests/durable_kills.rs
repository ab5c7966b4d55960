//! Kills a process that carries on a durable run, at each of its commits, and carries the run on.
//!
//! The process is this test binary itself; its environment says at which commit it stops, so that the test can kill it.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::indexing_slicing, reason = "a test")]

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use brigade_core::{
    Agent, Arguments, ChatModel, ChatReply, ChatRequest, Effect, Message, ModelError, ModelId, Part, Role, Run, RunId,
    Settings, StepState, ToolCall, ToolOutput, Usage, Worker, async_trait, tool_fn,
};
use brigade_durable::{
    Durable, RunState, RunStore, StoredRun, Submission, Submitted,
    testing::{Moment, StoppingStore},
};
use brigade_store::{Database, SqliteRunStore};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const FOLDER: &str = "BRIGADE_KILLS_FOLDER";
/// The number of the commit at which the process stops, from 1.
const COMMIT: &str = "BRIGADE_KILLS_COMMIT";
/// Whether the commit is on disk when the process is killed, or is being written.
const MOMENT: &str = "BRIGADE_KILLS_MOMENT";

/// The process prints this when it is to be killed.
const STOPPED: &str = "stopped at a commit";
/// The process prints this when the run has ended.
const ENDED: &str = "the run has ended";

/// The database, if the store is in PostgreSQL.
const DATABASE: &str = "BRIGADE_KILLS_DATABASE";

/// What really happened: the paths of the steps that were executed, in a file that survives the process.
#[derive(Debug, Clone)]
struct World(PathBuf);

impl World {
    fn new(folder: &Path) -> Self {
        Self(folder.join("world"))
    }

    fn execute(&self, run: &Run) {
        let key = run.idempotency_key().unwrap();
        let path = key.split_once('/').unwrap().1;
        let mut file = OpenOptions::new().create(true).append(true).open(&self.0).unwrap();
        file.write_all(format!("{path}\n").as_bytes()).unwrap();
    }

    fn executions(&self) -> BTreeMap<String, u32> {
        let mut executions = BTreeMap::new();
        for path in std::fs::read_to_string(&self.0).unwrap_or_default().lines() {
            *executions.entry(path.to_owned()).or_default() += 1;
        }
        executions
    }
}

/// A model that replies by the number of its turn, so that it needs no memory of its own.
#[derive(Debug)]
struct Scripted {
    id: ModelId,
    turns: Vec<Vec<Part>>,
    world: World,
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
        let turn = request.transcript.messages().iter().filter(|message| message.role() == Role::Assistant).count();
        let reply = ChatReply::new(Message::new(Role::Assistant, self.turns[turn].clone()));
        Ok(reply.usage(Some(Usage::new(100, 10))))
    }
}

fn call(id: &str, tool: &str, arguments: &str) -> Part {
    Part::ToolCall(ToolCall::new(id, tool, Arguments::parse(arguments.to_owned())))
}

fn agent(name: &str, turns: Vec<Vec<Part>>, world: &World) -> Agent {
    let model = Scripted { id: ModelId::new("acme", name.to_owned()), turns, world: world.clone() };
    let tools = [("read", Effect::Repeatable), ("put", Effect::Keyed), ("pay", Effect::Once)];
    tools.into_iter().fold(Agent::new(name.to_owned(), model), |agent, (tool, effect)| {
        let world = world.clone();
        let tool = tool_fn(tool, "Acts.", move |_: serde_json::Map<String, serde_json::Value>, run: Run| {
            world.execute(&run);
            async { Ok(ToolOutput::text("done")) }
        });
        agent.tool(tool.effect(effect))
    })
}

/// A desk with two workers, which use tools of each effect.
fn durable(store: impl RunStore, world: &World) -> Durable {
    let answer = |text: &str| vec![Part::text(text)];
    let reader = vec![vec![call("a", "read", "{}"), call("b", "put", "{}")], answer("read")];
    let payer = vec![vec![call("a", "pay", "{}")], answer("paid")];
    let delegate = |name: &str| call(name, name, r#"{"task": "work"}"#);
    let desk = vec![
        vec![delegate("reader"), delegate("payer")],
        vec![call("p", "pay", "{\"n\": 4}"), call("q", "pay", "{\"n\": 5}")],
        answer("All in all."),
    ];
    let workers = [("reader", reader), ("payer", payer)];
    let desk = workers
        .into_iter()
        .fold(agent("desk", desk, world), |desk, (name, turns)| desk.worker(Worker::new(agent(name, turns, world))));
    Durable::new(store).agent("desk", desk)
}

/// The body of the killed process, not a test by itself.
#[tokio::test]
async fn the_process_that_is_killed() {
    let Ok(folder) = std::env::var(FOLDER).map(PathBuf::from) else { return };
    #[cfg(all(feature = "postgres", feature = "testing"))]
    if let Ok(url) = std::env::var(DATABASE) {
        return first_life(&folder, in_postgres::open(&url).await).await;
    }
    first_life(&folder, SqliteRunStore::new(Database::open(folder.join("test.db")).unwrap())).await;
}

async fn first_life(folder: &Path, store: impl RunStore) {
    let moment = if std::env::var(MOMENT).unwrap() == "after" { Moment::After } else { Moment::During };
    let store = StoppingStore::new(store, std::env::var(COMMIT).unwrap().parse().unwrap(), moment);
    let stopped = store.stopped().clone();
    let reports_stop = async {
        stopped.cancelled().await;
        println!("{STOPPED}");
        std::future::pending::<()>().await;
    };
    let durable = durable(store, &World::new(folder));
    let run = durable.submit(Submission::new("desk", "Go.").key("ada", "the run")).await.unwrap().id();
    tokio::select! {
        () = durable.work(CancellationToken::new()) => {}
        () = reports_stop => {}
        ended = durable.wait(run) => {
            assert_eq!(ended.unwrap().status, RunState::Finished);
            println!("{ENDED}");
        }
    }
}

/// Runs the process until it stops at a commit or the run ends, and kills it. Returns whether the run has ended.
fn has_ended(folder: &Path, database: Option<&str>, commit: usize, moment: &str) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.envs(database.map(|database| (DATABASE, database)));
    command.args(["the_process_that_is_killed", "--exact", "--nocapture"]);
    command.env(FOLDER, folder).env(COMMIT, commit.to_string()).env(MOMENT, moment);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let last = lines.find(|line| line.contains(STOPPED) || line.contains(ENDED));
    child.kill().unwrap();
    child.wait().unwrap();
    last.unwrap().contains(ENDED)
}

/// Carries the run on until it ends. Steps that need a decision are not repeated.
async fn second_life(durable: &Durable, run: RunId) -> StoredRun {
    let lives = async {
        loop {
            let found = durable.wait_until(run, |run| run.status.is_ended() || run.waiting.is_some()).await.unwrap();
            let Some(waiting) = found.waiting else { return found };
            durable.answer_step(run, &waiting.paths[0], "It is not known whether it was paid.").await.unwrap();
        }
    };
    tokio::select! {
        () = durable.work(CancellationToken::new()) => unreachable!("the worker stopped"),
        found = lives => found,
    }
}

/// A folder in which a process was killed at this commit; absent if the run has fewer commits.
async fn killed(database: Option<String>, commit: usize, moment: &'static str) -> Option<TempDir> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let run = move || has_ended(&path, database.as_deref(), commit, moment);
    let has_ended = tokio::task::spawn_blocking(run).await.unwrap();
    (!has_ended).then_some(folder)
}

/// Carries the run of a killed process on, and checks what was executed.
async fn check(folder: &Path, store: impl RunStore + Clone, at: &str) {
    let world = World::new(folder);
    let before = world.executions();
    let durable = durable(store.clone(), &world);
    let again = durable.submit(Submission::new("desk", "Go.").key("ada", "the run")).await.unwrap();
    let Submitted::Same(run) = again else { unreachable!("{at}: the run was lost: {again:?}") };
    let journal = store.journal(run).await.unwrap();

    let ended = second_life(&durable, run).await;
    assert_eq!(ended.status, RunState::Finished, "{at}: {ended:?}");
    let after = world.executions();
    for record in journal.iter().filter(|record| record.state == StepState::Done) {
        assert_eq!(before.get(&record.path), after.get(&record.path), "{at}: {} was repeated", record.path);
    }
    for record in store.journal(run).await.unwrap() {
        let executions = after.get(&record.path).copied().unwrap_or_default();
        assert!(record.name != "pay" || executions <= 1, "{at}: {} was paid {executions} times", record.path);
        assert!(executions <= 2, "{at}: {} was executed {executions} times", record.path);
    }
}

/// Kills the process at this commit, and carries the run on. Returns false if the run has fewer commits.
async fn kill(commit: usize, moment: &'static str) -> bool {
    let Some(folder) = killed(None, commit, moment).await else { return false };
    let store = SqliteRunStore::new(Database::open(folder.path().join("test.db")).unwrap());
    check(folder.path(), store, &format!("commit {commit}, {moment}")).await;
    true
}

#[tokio::test]
async fn at_every_commit_a_killed_process_costs_no_completed_step_and_pays_nothing_twice() {
    // Steps that end at the same time share a commit, so the number of commits is not the same in each process.
    let mut commits = 0;
    while tokio::join!(kill(commits + 1, "after"), kill(commits + 1, "during")) != (false, false) {
        commits += 1;
    }
    assert!(commits > 10, "{commits}");
}

#[cfg(all(feature = "postgres", feature = "testing"))]
mod in_postgres {
    use std::time::Duration;

    use brigade_durable::ClaimRequest;
    use brigade_store::{PostgresDatabase, PostgresRunStore, testing::postgres_database};

    use super::*;

    pub(super) async fn open(url: &str) -> PostgresRunStore {
        PostgresRunStore::new(PostgresDatabase::open(url).await.unwrap())
    }

    /// Ends the leases of all runs, as if their time had passed by the clock of the database.
    async fn end_leases(url: &str) {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
        let end =
            async move { client.batch_execute("UPDATE brigade.durable_runs SET due_us = 0 WHERE due_us > 0").await };
        let (ended, _) = tokio::join!(end, connection);
        ended.unwrap();
    }

    async fn kill(commit: usize, moment: &'static str) -> Option<bool> {
        let url = postgres_database("killed_processes_in_postgres").await?;
        let Some(folder) = killed(Some(url.clone()), commit, moment).await else { return Some(false) };
        let (store, at) = (open(&url).await, format!("commit {commit}, {moment}"));
        let request = ClaimRequest::new("another", vec!["desk".into()], 1, Duration::from_mins(1));
        assert!(store.claim(&request).await.unwrap().is_empty(), "{at}: the lease of the killed process still holds");
        end_leases(&url).await;
        check(folder.path(), store, &at).await;
        Some(true)
    }

    #[tokio::test]
    async fn at_every_commit_another_process_claims_the_run_of_a_killed_one_after_its_lease() {
        let mut commits = 0;
        loop {
            let kills = tokio::join!(kill(commits + 1, "after"), kill(commits + 1, "during"));
            let (Some(after), Some(during)) = kills else { return };
            if !after && !during {
                break;
            }
            commits += 1;
        }
        assert!(commits > 10, "{commits}");
    }
}
