//! Runs that wait for their client, for named signals and for a time.

#![expect(clippy::unwrap_used, reason = "a failure of a test is a panic")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use brigade_core::{
    Agent, Effect, JournalError, Run, RunId, Schema, Tool, ToolError, ToolLimits, ToolOutput, ToolSpec,
    testing::{ScriptedModel, Turn},
    tool_fn,
};
use brigade_durable::{
    CancellationToken, ClientCall, ClientCallError, ClientResult, ClientTool, Durable, MemoryRunStore, NewSignal,
    RunState, RunStore as _, StoredRun, Submission, WaitReason, WorkEnd, WorkerSettings, sleep, sleep_until,
    testing::{Moment, StoppingStore},
    wait_for_signal,
};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

const HOUR: Duration = Duration::from_hours(1);
/// Longer than a worker needs to start a run, or to store that it waits.
const SOON: Duration = Duration::from_secs(5);
/// Longer than a lease.
const LATER: Duration = Duration::from_secs(20);

#[derive(schemars::JsonSchema)]
#[expect(dead_code, reason = "it is a schema")]
struct OpenFile {
    path: String,
}

/// What several processes share.
#[derive(Debug, Clone)]
struct World {
    store: MemoryRunStore,
    model: ScriptedModel,
    /// The names of the tools that ran here, and what steps received.
    done: Arc<Mutex<Vec<String>>>,
}

impl World {
    fn new(turns: impl IntoIterator<Item = Turn>) -> Self {
        Self { store: MemoryRunStore::new(), model: ScriptedModel::new(turns), done: Arc::default() }
    }

    fn done(&self) -> Vec<String> {
        self.done.lock().unwrap().clone()
    }

    /// An agent with a tool of its client.
    fn desk(&self) -> Agent {
        Agent::new("desk", self.model.clone()).tool(client_tool())
    }

    /// An agent with a tool that does this.
    fn with_tool<F>(&self, work: impl Fn(Run) -> F + Send + Sync + 'static) -> Agent
    where
        F: Future<Output = Result<String, JournalError>> + Send + 'static,
    {
        let done = Arc::clone(&self.done);
        let tool = tool_fn("work", "Works.", move |_: Map<String, Value>, run: Run| {
            let (work, done) = (work(run), Arc::clone(&done));
            async move {
                let received = work.await.map_err(|error| ToolError::new(error.to_string()))?;
                done.lock().unwrap().push(received.clone());
                Ok(ToolOutput::text(received))
            }
        });
        Agent::new("desk", self.model.clone()).tool(tool.effect(Effect::Composite))
    }

    /// A tool of the server that takes this long.
    fn slow(&self, time: Duration) -> impl Tool {
        let done = Arc::clone(&self.done);
        let tool = tool_fn("look_up", "Looks it up.", move |_: Map<String, Value>, _: Run| {
            let done = Arc::clone(&done);
            async move {
                tokio::time::sleep(time).await;
                done.lock().unwrap().push("look_up".to_owned());
                Ok(ToolOutput::text("found"))
            }
        });
        tool.effect(Effect::Repeatable)
    }

    /// Works in a process until `work` is done. Then the process is killed.
    async fn during<T>(&self, desk: Agent, work: impl AsyncFnOnce(Durable) -> T) -> T {
        let durable = Durable::new(self.store.clone()).agent("desk", desk);
        tokio::select! {
            () = durable.work(CancellationToken::new()) => panic!("the worker stopped"),
            result = work(durable.clone()) => result,
        }
    }

    /// What the model has read, in all requests.
    fn requests(&self) -> String {
        format!("{:?}", self.model.requests())
    }
}

fn client_tool() -> ClientTool {
    ClientTool::new(ToolSpec::new("open_file", "Opens a file.", Schema::generate::<OpenFile>()))
}

fn open_file(id: &str, path: &str) -> Turn {
    Turn::call(id, "open_file", json!({ "path": path }))
}

async fn submit(durable: &Durable) -> RunId {
    let mut submission = Submission::new("desk", "What is in the file?");
    submission.account = "ada".into();
    durable.submit(submission).await.unwrap().id()
}

async fn waits(durable: &Durable, run: RunId, reason: WaitReason) -> StoredRun {
    let found = durable.wait_until(run, |run| run.status != RunState::Running && run.status != RunState::Ready);
    let found = found.await.unwrap();
    assert_eq!(found.waiting.as_ref().map(|waiting| waiting.reason), Some(reason), "{found:?}");
    found
}

/// The calls of a run that waits for its client, by path.
async fn calls(durable: &Durable, run: RunId) -> Vec<ClientCall> {
    waits(durable, run, WaitReason::ClientTool).await;
    durable.open_calls(run).await.unwrap()
}

async fn ends(durable: &Durable, run: RunId) {
    let ended = durable.wait(run).await.unwrap();
    assert_eq!(ended.status, RunState::Finished, "{ended:?}");
    assert!(ended.output.as_ref().unwrap().get().contains("The end."), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_of_the_client_waits_under_an_id_of_ours_and_goes_on_with_the_result() {
    let world = World::new([open_file("toolu_1", "a.txt"), Turn::text("The end.")]);
    let run = world
        .during(world.desk(), async |durable| {
            let run = submit(&durable).await;
            let waiting = waits(&durable, run, WaitReason::ClientTool).await.waiting.unwrap();
            assert_eq!(waiting.note, "the client runs `open_file` and sends the result");
            run
        })
        .await;
    tokio::time::sleep(HOUR / 2).await;
    world
        .during(world.desk(), async |durable| {
            let call = calls(&durable, run).await.remove(0);
            assert!(call.id.len() <= 40 && !call.id.contains("toolu_1"), "{call:?}");
            assert_eq!(
                (&*call.tool, call.arguments.get(), &*call.path),
                ("open_file", r#"{"path":"a.txt"}"#, "1/tool:1")
            );
            let result = ClientResult::text(&*call.id, "It says hello.");
            assert_eq!(durable.answer_calls("ada", vec![result]).await.unwrap(), run);
            ends(&durable, run).await;
            assert!(durable.open_calls(run).await.unwrap().is_empty());
        })
        .await;
    assert_eq!(world.model.requests().len(), 2, "no turn was repeated");
    assert!(world.requests().contains("It says hello.") && !world.requests().contains("call_0"), "the model's own id");
    assert!(world.store.signals(run).await.unwrap().is_empty(), "the result was consumed");
}

#[tokio::test(start_paused = true)]
async fn the_tools_of_the_server_run_first_and_then_the_run_waits_for_the_client_only() {
    let turn =
        open_file("1", "a.txt").and_call("2", "look_up", "{}").and_call("3", "open_file", r#"{"path": "b.txt"}"#);
    let world = World::new([turn, Turn::text("The end.")]);
    let desk = world.desk().tool(world.slow(HOUR / 2)).tool_limits(ToolLimits::default().timeout(HOUR));
    world
        .during(desk, async |durable| {
            let run = submit(&durable).await;
            tokio::time::sleep(SOON).await;
            assert_eq!(world.store.find(run).await.unwrap().unwrap().status, RunState::Running);
            let calls = calls(&durable, run).await;
            assert_eq!(world.done(), ["look_up"]);
            assert_eq!(calls.iter().map(|call| &*call.path).collect::<Vec<_>>(), ["1/tool:1", "1/tool:3"]);

            // One result is not enough, and the other call keeps its id.
            durable.answer_calls("ada", vec![ClientResult::text(&*calls[1].id, "second")]).await.unwrap();
            tokio::time::sleep(SOON).await;
            assert_eq!(self::calls(&durable, run).await, [calls[0].clone()]);
            durable.answer_calls("ada", vec![ClientResult::text(&*calls[0].id, "first")]).await.unwrap();
            ends(&durable, run).await;
            assert_eq!(world.done(), ["look_up"], "it was not run again");
            assert_eq!(world.model.requests().len(), 2);
            let read = world.requests();
            assert!(read.find("first") < read.find("found") && read.find("found") < read.find("second"), "{read}");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn results_of_unknown_and_foreign_calls_are_refused_and_wake_no_run() {
    let world = World::new([open_file("1", "a.txt"), Turn::text("The end.")]);
    world
        .during(world.desk(), async |durable| {
            let (run, other) = (submit(&durable).await, RunId::new());
            let call = calls(&durable, run).await.remove(0);
            // With the id of the run, and a random part that is guessed.
            let guessed = format!("{}0000000000000", &call.id[..27]);
            for (account, id) in [
                ("bob", &*call.id),
                ("", &*call.id),
                ("ada", &*guessed),
                ("ada", "toolu_1"),
                ("ada", ""),
                ("ada", &other.to_string()),
            ] {
                let refused = durable.answer_calls(account, vec![ClientResult::text(id, "forged")]).await.unwrap_err();
                assert!(matches!(&refused, ClientCallError::Unknown(unknown) if unknown == id), "{refused:?}");
            }
            let both = vec![ClientResult::text(&*call.id, "real"), ClientResult::text(&*guessed, "forged")];
            let refused = durable.answer_calls("ada", both).await.unwrap_err();
            assert!(matches!(refused, ClientCallError::Unknown(_)), "{refused:?}");
            let none = durable.answer_calls("ada", Vec::new()).await;
            assert!(matches!(none, Err(ClientCallError::Unknown(_))), "{none:?}");
            assert_eq!(world.store.find(run).await.unwrap().unwrap().signal_number, 0, "nothing was stored");
            durable.answer_calls("ada", vec![ClientResult::text(&*call.id, "real")]).await.unwrap();
            ends(&durable, run).await;
            assert!(!world.requests().contains("forged"));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_same_result_again_is_the_same_run_and_another_one_is_refused() {
    for keep_content in [true, false] {
        let world = World::new([open_file("1", "a.txt"), Turn::text("The end.")]);
        let desk = world.desk();
        let durable = Durable::new(world.store.clone())
            .agent("desk", desk)
            .settings(WorkerSettings::default().keep_content(keep_content).keep_answer(true));
        let work = async {
            let run = submit(&durable).await;
            let call = calls(&durable, run).await.remove(0);
            let result = ClientResult::text(&*call.id, "hello");
            durable.answer_calls("ada", vec![result.clone()]).await.unwrap();
            // The run may be at work, or have ended.
            for _ in 0..2 {
                assert_eq!(durable.answer_calls("ada", vec![result.clone()]).await.unwrap(), run);
                let other = ClientResult::text(&*call.id, "bye").error(true);
                let other = durable.answer_calls("ada", vec![other]).await;
                let has_ended = durable.store().find(run).await.unwrap().unwrap().status.is_ended();
                match other {
                    Err(ClientCallError::Answered(id)) => assert_eq!((id, has_ended), (call.id.clone(), false)),
                    // What was sent first cannot be compared any more.
                    other => assert!(has_ended && other.unwrap() == run),
                }
                ends(&durable, run).await;
            }
            assert!(world.requests().contains("hello") && !world.requests().contains("bye"));
        };
        tokio::select! {
            () = durable.work(CancellationToken::new()) => panic!("the worker stopped"),
            () = work => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_result_expires_and_a_late_result_is_refused() {
    let world = World::new([open_file("1", "a.txt"), Turn::call("2", "look_up", json!({})), Turn::text("The end.")]);
    let desk = Agent::new("desk", world.model.clone()).tool(client_tool().expires_in(HOUR));
    let desk = desk.tool(world.slow(HOUR)).tool_limits(ToolLimits::default().timeout(2 * HOUR));
    world
        .during(desk, async |durable| {
            let run = submit(&durable).await;
            let call = calls(&durable, run).await.remove(0);
            tokio::time::sleep(HOUR.saturating_sub(SOON)).await;
            assert_eq!(calls(&durable, run).await, std::slice::from_ref(&call));
            tokio::time::sleep(2 * SOON).await;
            assert!(world.requests().contains("The client did not send a result in time"));
            for status in [RunState::Running, RunState::Finished] {
                assert_eq!(world.store.find(run).await.unwrap().unwrap().status, status);
                let late = durable.answer_calls("ada", vec![ClientResult::text(&*call.id, "late")]).await.unwrap_err();
                assert!(matches!(late, ClientCallError::Expired(_)), "{late:?}");
                durable.wait(run).await.unwrap();
            }
            assert!(!world.requests().contains("late"));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_model_reads_why_a_call_failed_at_the_client() {
    let world = World::new([open_file("1", "a.txt"), Turn::text("The end.")]);
    world
        .during(world.desk(), async |durable| {
            let run = submit(&durable).await;
            let call = calls(&durable, run).await.remove(0);
            let result = ClientResult::text(&*call.id, "there is no such file").error(true);
            durable.answer_calls("ada", vec![result]).await.unwrap();
            ends(&durable, run).await;
            assert!(world.requests().contains("there is no such file"));
            assert!(world.requests().contains("is_error: true"), "{}", world.requests());
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_call_of_the_client_is_not_made_in_a_run_without_a_store() {
    let world = World::new([open_file("1", "a.txt"), Turn::text("The end.")]);
    assert_eq!(world.desk().run("What is in the file?").await.unwrap().text, "The end.");
    assert!(world.requests().contains("Only a client can run this tool"));
}

#[tokio::test(start_paused = true)]
async fn a_program_that_starts_its_runs_claims_the_run_with_the_results() {
    let world = World::new([open_file("1", "a.txt"), Turn::text("The end.")]);
    let (run, call) = world
        .during(world.desk(), async |durable| {
            let run = submit(&durable).await;
            (run, calls(&durable, run).await.remove(0))
        })
        .await;
    let durable = Durable::new(world.store.clone());
    let result = || vec![ClientResult::text(&*call.id, "hello")];
    let (id, claimed) = durable.answer_and_claim("ada", result()).await.unwrap();
    let claimed = claimed.unwrap();
    assert_eq!((id, claimed.run().id), (run, run));
    let (again, nothing) = durable.answer_and_claim("ada", result()).await.unwrap();
    assert!(again == run && nothing.is_none(), "a request that is repeated starts nothing");
    let (prepared, task) = (claimed.prepare(Run::builder()).build(), claimed.task().unwrap());
    let desk = world.desk();
    claimed.carry_on(desk.run_in(&prepared, brigade_core::Task::from(task)), &CancellationToken::new()).await;
    ends(&durable, run).await;
}

async fn received(run: &Run, step: &str, name: &str, within: Option<Duration>) -> Result<String, JournalError> {
    let payload = wait_for_signal(run, step, name, within).await?;
    Ok(payload.map_or_else(|| "nothing".to_owned(), |payload| payload.get().to_owned()))
}

async fn send(durable: &Durable, run: RunId, name: &str, payload: &Value) {
    durable.signal(run, NewSignal::named(name, payload).unwrap()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn named_signals_are_received_once_each_in_order_also_if_they_were_sent_before() {
    let world = World::new([Turn::call("1", "work", json!({})), Turn::text("The end.")]);
    let desk = world.with_tool(|run| async move {
        let mut all = Vec::new();
        for step in ["first", "second", "third"] {
            all.push(received(&run, step, "paid", None).await?);
        }
        all.push(received(&run, "fourth", "sent", None).await?);
        Ok(all.join(" "))
    });
    world
        .during(desk, async |durable| {
            let run = submit(&durable).await;
            for payload in [json!({ "z": 1.5, "a": "ü" }), json!(2)] {
                send(&durable, run, "paid", &payload).await;
            }
            let waiting = waits(&durable, run, WaitReason::Signal).await.waiting.unwrap();
            assert_eq!(waiting.note, "a step waits for the signal `paid`");
            assert_eq!(waiting.paths, ["1/tool:1/third"]);
            send(&durable, run, "other", &json!(9)).await;
            tokio::time::sleep(SOON).await;
            waits(&durable, run, WaitReason::Signal).await;
            send(&durable, run, "sent", &json!(4)).await;
            send(&durable, run, "paid", &json!(3)).await;
            ends(&durable, run).await;
            assert_eq!(world.done(), [r#"{"a":"ü","z":1.5} 2 3 4"#]);
            let left = world.store.signals(run).await.unwrap();
            assert_eq!(left.len(), 1, "only the signal that no step waited for is left: {left:?}");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn steps_in_parallel_receive_different_signals() {
    let turn = Turn::call("1", "work", json!({ "n": 1 })).and_call("2", "work", r#"{"n": 2}"#);
    let world = World::new([turn, Turn::text("The end.")]);
    let desk = world.with_tool(|run| async move { received(&run, "payment", "paid", None).await });
    world
        .during(desk, async |durable| {
            let run = submit(&durable).await;
            for payload in [1, 2] {
                send(&durable, run, "paid", &json!(payload)).await;
            }
            ends(&durable, run).await;
            let mut received = world.done();
            received.sort_unstable();
            assert_eq!(received, ["1", "2"]);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_gets_its_calls_at_once_also_if_other_steps_may_wait_in_the_process() {
    let world = World::new([open_file("1", "a.txt"), Turn::text("The end.")]);
    let durable = Durable::new(world.store.clone());
    let claimed = durable.start(Submission::new("desk", "Work.")).await.unwrap().unwrap().hold(HOUR);
    let (prepared, task) = (claimed.prepare(Run::builder()).build(), claimed.task().unwrap());
    let (desk, began) = (world.desk(), Instant::now());
    let work = desk.run_in(&prepared, brigade_core::Task::from(task));
    let end = claimed.carry_on(work, &CancellationToken::new()).await;
    assert!(matches!(&end, WorkEnd::Waits(waiting) if waiting.calls.len() == 1), "{end:?}");
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_signal_ends_with_its_time() {
    let world = World::new([Turn::call("1", "work", json!({})), Turn::text("The end.")]);
    let desk = world.with_tool(|run| async move { received(&run, "payment", "paid", Some(HOUR)).await });
    world
        .during(desk, async |durable| {
            let began = Instant::now();
            let run = submit(&durable).await;
            ends(&durable, run).await;
            assert_eq!((world.done(), began.elapsed().as_secs() / 60), (vec!["nothing".to_owned()], 60));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_signal_wakes_a_step_that_waits_in_this_process_at_once() {
    let world = World::new([Turn::call("1", "work", json!({})), Turn::text("The end.")]);
    let desk = world.with_tool(|run| async move { received(&run, "payment", "paid", None).await });
    let durable = Durable::new(world.store.clone());
    let mut submission = Submission::new("desk", "Work.");
    submission.id = Some(RunId::new());
    let run = submission.id.unwrap();
    let claimed = durable.start(submission).await.unwrap().unwrap().hold(HOUR);
    let (prepared, task) = (claimed.prepare(Run::builder()).build(), claimed.task().unwrap());
    let sent = async {
        tokio::time::sleep(Duration::from_millis(10_300)).await;
        assert_eq!(world.store.find(run).await.unwrap().unwrap().status, RunState::Running, "it waits in the process");
        let before = Instant::now();
        send(&durable, run, "paid", &json!(250)).await;
        before
    };
    let stop = CancellationToken::new();
    let work = claimed.carry_on(desk.run_in(&prepared, brigade_core::Task::from(task)), &stop);
    let (_, sent) = tokio::join!(work, sent);
    assert_eq!((world.done(), sent.elapsed()), (vec!["250".to_owned()], Duration::ZERO));
    ends(&durable, run).await;
}

#[tokio::test(start_paused = true)]
async fn a_run_outside_of_a_store_cannot_wait_for_a_signal_but_for_a_time() {
    let refused = wait_for_signal(&Run::new(), "payment", "paid", None).await.unwrap_err();
    assert!(matches!(refused, JournalError::Unavailable(_)), "{refused:?}");
    let began = Instant::now();
    sleep(&Run::new(), "a while", HOUR).await.unwrap();
    assert_eq!(began.elapsed(), HOUR);
}

#[tokio::test(start_paused = true)]
async fn a_timer_holds_nothing_and_a_crash_does_not_make_it_longer() {
    let world = World::new([Turn::call("1", "work", json!({})), Turn::text("The end.")]);
    let desk = || {
        world.with_tool(|run| async move {
            sleep(&run, "a day", 24 * HOUR).await?;
            Ok("woke up".to_owned())
        })
    };
    let began = Instant::now();
    let run = world
        .during(desk(), async |durable| {
            let run = submit(&durable).await;
            let waiting = waits(&durable, run, WaitReason::Timer).await.waiting.unwrap();
            assert!(waiting.note.starts_with("the step `a day` waits until 20"), "{waiting:?}");
            run
        })
        .await;
    tokio::time::sleep(20 * HOUR).await;
    world
        .during(desk(), async |durable| {
            tokio::time::sleep(3 * HOUR).await;
            waits(&durable, run, WaitReason::Timer).await;
            // A signal makes the run go on, and it waits again until the same time.
            send(&durable, run, "other", &json!(1)).await;
            tokio::time::sleep(SOON).await;
            waits(&durable, run, WaitReason::Timer).await;
            ends(&durable, run).await;
        })
        .await;
    assert_eq!(world.done(), ["woke up"]);
    let hours = began.elapsed().as_secs_f64() / HOUR.as_secs_f64();
    assert!((24.0..24.01).contains(&hours), "{hours}");
    assert_eq!(world.model.requests().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_short_wait_stays_in_the_process_and_several_follow_one_another() {
    let world = World::new([Turn::call("1", "work", json!({})), Turn::text("The end.")]);
    let desk = world.with_tool(|run| async move {
        sleep(&run, "short", Duration::from_millis(900)).await?;
        let until = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1);
        sleep_until(&run, "past", until).await?;
        sleep(&run, "long", HOUR).await?;
        Ok("woke up".to_owned())
    });
    world
        .during(desk, async |durable| {
            let run = submit(&durable).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert_eq!(world.store.find(run).await.unwrap().unwrap().status, RunState::Running);
            let found = waits(&durable, run, WaitReason::Timer).await;
            assert_eq!((found.epoch, found.waiting.unwrap().paths), (1, vec!["1/tool:1/long".to_owned()]));
            ends(&durable, run).await;
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_run_says_what_all_its_branches_wait_for() {
    let turn = open_file("1", "a.txt").and_call("2", "work", "{}");
    let world = World::new([turn, Turn::text("The end.")]);
    let desk = world.with_tool(|run| async move { received(&run, "payment", "paid", Some(HOUR)).await });
    world
        .during(desk.tool(client_tool().expires_in(2 * HOUR)), async |durable| {
            let run = submit(&durable).await;
            let waiting = waits(&durable, run, WaitReason::ClientTool).await.waiting.unwrap();
            assert_eq!((waiting.paths.len(), waiting.calls.len()), (2, 1));
            let note = "the client runs `open_file` and sends the result; a step waits for the signal `paid`";
            assert_eq!(waiting.note, note);
            // The wait that ends first ends the wait of the run.
            tokio::time::sleep(HOUR + SOON).await;
            assert_eq!(world.done(), ["nothing"]);
            let call = calls(&durable, run).await.remove(0);
            durable.answer_calls("ada", vec![ClientResult::text(&*call.id, "hello")]).await.unwrap();
            ends(&durable, run).await;
        })
        .await;
}

/// A run with each kind of wait, in a process that stops at one commit.
#[tokio::test(start_paused = true)]
async fn a_crash_at_any_commit_loses_no_signal_and_uses_none_twice() {
    let desk = |world: &World| {
        let desk = world.with_tool(|run| async move {
            sleep(&run, "pause", 2 * SOON).await?;
            let first = received(&run, "first", "paid", None).await?;
            Ok(format!("{first} {}", received(&run, "second", "paid", None).await?))
        });
        desk.tool(client_tool())
    };
    let mut stops = 0;
    for (stops_at, moment) in (1..60).flat_map(|at| [(at, Moment::Before), (at, Moment::After)]) {
        let turn = || Turn::call("1", "work", json!({})).and_call("2", "open_file", r#"{"path": "a.txt"}"#);
        let mut world = World::new([turn(), Turn::text("The end.")]);
        let store = Arc::new(StoppingStore::new(world.store.clone(), stops_at, moment));
        let first = Durable::shared(store.clone()).agent("desk", desk(&world));
        let run = submit(&first).await;
        let client = async |durable: &Durable| {
            for payload in 1..=2 {
                let signal = NewSignal::named("paid", &payload).unwrap().key(format!("paid {payload}"));
                durable.signal(run, signal).await.unwrap();
            }
            loop {
                for call in durable.open_calls(run).await.unwrap() {
                    durable.answer_calls("ada", vec![ClientResult::text(&*call.id, "hello")]).await.unwrap();
                }
                if durable.store().find(run).await.unwrap().unwrap().status.is_ended() {
                    break;
                }
                tokio::time::sleep(SOON).await;
            }
        };
        tokio::select! {
            () = first.work(CancellationToken::new()) => panic!("the worker stopped"),
            () = store.stopped().cancelled() => stops += 1,
            () = client(&first) => {}
        }
        tokio::time::sleep(LATER).await;
        let turns = world.store.journal(run).await.unwrap().len();
        world.model = ScriptedModel::new((turns == 0).then(turn).into_iter().chain([Turn::text("The end.")]));
        world.during(desk(&world), async |durable| client(&durable).await).await;
        let ended = world.store.find(run).await.unwrap().unwrap();
        assert_eq!(ended.status, RunState::Finished, "stopped at {stops_at}, {moment:?}: {ended:?}");
        assert_eq!(world.done().last().map(String::as_str), Some("1 2"), "stopped at {stops_at}, {moment:?}");
        assert!(world.model.requests().is_empty() || world.requests().contains("hello"));
        let left = world.store.signals(run).await.unwrap();
        assert!(left.is_empty(), "stopped at {stops_at}, {moment:?}: {left:?}");
    }
    assert!((20..118).contains(&stops), "the run has this many commits, and all were tried: {stops}");
}

#[tokio::test(start_paused = true)]
async fn a_store_in_memory_forgets_the_oldest_runs_that_have_ended_and_no_others() {
    let mut world = World::new((0..6).map(|_| Turn::text("The end.")).chain([open_file("1", "a.txt")]));
    world.store = MemoryRunStore::new().keep_ended(2);
    world
        .during(world.desk(), async |durable| {
            let mut runs = Vec::new();
            for number in 0..6 {
                let submission = Submission::new("desk", "A task.").key("ada", number.to_string());
                let run = durable.submit(submission).await.unwrap().id();
                runs.push(run);
                ends(&durable, run).await;
            }
            let waiting = submit(&durable).await;
            calls(&durable, waiting).await;
            let left = world.store.list(&brigade_durable::RunQuery::default()).await.unwrap();
            assert_eq!(left.iter().map(|run| run.id).collect::<Vec<_>>(), [waiting, runs[5], runs[4]]);
            let again = durable.submit(Submission::new("desk", "A task.").key("ada", "0")).await.unwrap();
            assert!(!runs.contains(&again.id()), "its idempotency key is forgotten too");
        })
        .await;
}
