use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    body::{Body, to_bytes},
    http::Request,
};
use brigade_config::KeyHash;
use brigade_core::{
    Agent, Effect, Run, ToolError, ToolOutput,
    testing::{ScriptedModel, Turn},
    tool_fn,
};
use brigade_durable::{MemoryRunStore, RunStarter as _, RunState, RunStore as _, wait_for_signal};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use super::{StoredRequests, submission};
use crate::{Api, ApiKey, ServedAgent, api::request_ids::RequestIds};

const HOUR: Duration = Duration::from_hours(1);
/// Longer than a lease.
const LATER: Duration = Duration::from_secs(20);

/// What several processes share.
#[derive(Debug, Clone, Default)]
struct World {
    store: MemoryRunStore,
    calls: Arc<AtomicUsize>,
}

impl World {
    /// Starts a process. Dropping the result kills it.
    async fn serve(&self, turns: impl IntoIterator<Item = Turn>) -> (Arc<Api>, ScriptedModel) {
        self.serve_at_most(9, turns).await
    }

    /// Starts a process that allows this many runs at once.
    async fn serve_at_most(&self, max_runs: usize, turns: impl IntoIterator<Item = Turn>) -> (Arc<Api>, ScriptedModel) {
        let (model, calls) = (ScriptedModel::new(turns), Arc::clone(&self.calls));
        let tool = move |name: &'static str, effect, delay| {
            let calls = Arc::clone(&calls);
            let work = move |_: Map<String, Value>, _: Run| {
                calls.fetch_add(1, Ordering::Relaxed);
                async move {
                    tokio::time::sleep(delay).await;
                    Ok(ToolOutput::text("done"))
                }
            };
            tool_fn(name, "Acts.", work).effect(effect)
        };
        let collect = tool_fn("collect", "Waits until it is paid.", async |_: Map<String, Value>, run: Run| {
            let paid = wait_for_signal(&run, "payment", "paid", None).await;
            let paid = paid.map_err(|error| ToolError::new(error.to_string()))?;
            Ok(ToolOutput::text(paid.map(|payload| payload.get().to_owned()).unwrap_or_default()))
        });
        let agent = Agent::new("desk", model.clone())
            .tool(collect.effect(Effect::Composite))
            .tool(tool("look_up", Effect::Repeatable, Duration::ZERO))
            .tool(tool("pay", Effect::Once, HOUR));
        let keys = ["ada", "bob"].map(|name| ApiKey::new(name, KeyHash::of(&format!("brg_{name}"))));
        let builder = Api::builder().agent(ServedAgent::new(agent)).run_store(self.store.clone()).max_runs(max_runs);
        (keys.into_iter().fold(builder, crate::ApiBuilder::key).build().await.unwrap(), model)
    }
}

async fn send(api: &Arc<Api>, key: &str, method: &str, path: &str, body: Value) -> (u16, Value) {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    let request = request.header("authorization", format!("Bearer brg_{key}")).body(Body::from(body.to_string()));
    let response = TowerToHyperService::new(api.router()).call(request.unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let text = to_bytes(body, 1 << 20).await.unwrap();
    let text = String::from_utf8(text.to_vec()).unwrap();
    (parts.status.as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

async fn start(api: &Arc<Api>) -> String {
    let body = json!({ "agent": "desk", "task": "Is it true?", "background": true, "user": "eve",
        "session_id": "one", "budget": { "turns": 9 }, "timeout": "1h" });
    let (status, run) = send(api, "ada", "POST", "/v1/runs", body).await;
    assert_eq!((status, &run["durable"]), (202, &json!(true)), "{run}");
    tokio::time::sleep(Duration::from_millis(100)).await;
    format!("/v1/runs/{}", run["id"].as_str().unwrap())
}

async fn show(api: &Arc<Api>, run: &str) -> Value {
    send(api, "ada", "GET", run, Value::Null).await.1
}

/// Waits longer than a lease, so that the runs of a dead process go on.
async fn later() {
    tokio::time::sleep(LATER).await;
}

#[tokio::test(start_paused = true)]
async fn a_run_goes_on_in_another_process_and_repeats_no_completed_step() {
    let world = World::default();
    let (first, _) = world.serve([Turn::call("1", "look_up", json!({})), Turn::text("late").after(HOUR)]).await;
    let run = start(&first).await;
    let before = show(&first, &run).await;
    drop(first);

    let (second, model) = world.serve([Turn::text("It is.")]).await;
    later().await;
    let after = show(&second, &run).await;
    assert_eq!((&after["status"], &after["result"]["text"]), (&json!("ended"), &json!("It is.")), "{after}");
    for field in ["id", "agent", "key", "user", "trace_id", "session_id", "began_at", "durable"] {
        assert_eq!(after[field], before[field], "{field}: {after}");
    }
    assert_eq!((world.calls.load(Ordering::Relaxed), model.requests().len()), (1, 1));
    assert_eq!(after["result"]["turns"], 2, "the run has all of its turns: {after}");
    let (_, events) = send(&second, "ada", "GET", &format!("{run}/events"), Value::Null).await;
    assert!(events.as_str().unwrap().contains("\"resumed\""), "{events}");
    let id = run.rsplit('/').next().unwrap().parse::<uuid::Uuid>().unwrap().into();
    let kept = second.durable.as_ref().unwrap().store().find(id).await.unwrap().unwrap();
    assert!(!format!("{kept:?}").contains("Is it true"), "{kept:?}");
    drop(second);
    let (third, _) = world.serve([]).await;
    let stored = show(&third, &run).await;
    assert_eq!(stored["result"], after["result"], "the answer is there after the process");
}

#[tokio::test(start_paused = true)]
async fn a_stopping_server_releases_open_runs_and_says_that_they_go_on() {
    let world = World::default();
    let (first, _) = world.serve([Turn::text("late").after(HOUR)]).await;
    let body = json!({ "agent": "desk", "task": "Is it true?" });
    let waiting = send(&first, "ada", "POST", "/v1/runs", body);
    let stopping = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        first.runs().drain(Duration::from_secs(30)).await
    };
    let ((status, run), cancelled) = tokio::join!(waiting, stopping);
    assert_eq!((status, &run["status"], cancelled), (202, &json!("ready"), 0), "{run}");
    drop(first);
    let (second, _) = world.serve([Turn::text("It is.")]).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let run = show(&second, &format!("/v1/runs/{}", run["id"].as_str().unwrap())).await;
    assert_eq!(run["result"]["text"], "It is.", "it goes on at once, without waiting for a lease: {run}");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_ends_its_process_again_and_again_is_set_aside_until_its_key_resumes_it() {
    let world = World::default();
    let (api, _) = world.serve([Turn::text("late").after(HOUR)]).await;
    let run = start(&api).await;
    drop(api);
    for _ in 0..4 {
        let (api, _) = world.serve([Turn::text("late").after(HOUR)]).await;
        later().await;
        assert_eq!(show(&api, &run).await["status"], "running");
        drop(api);
    }
    let (api, _) = world.serve([Turn::text("It is.")]).await;
    later().await;
    let aside = show(&api, &run).await;
    assert_eq!((&aside["status"], &aside["durable"]), (&json!("set_aside"), &json!(true)), "{aside}");
    assert!(aside["error"]["message"].as_str().unwrap().contains("5 times"), "{aside}");
    let resume = format!("{run}/resume");
    assert_eq!(send(&api, "bob", "POST", &resume, json!({})).await.0, 404);
    assert_eq!(send(&api, "ada", "POST", &resume, json!({})).await.0, 202);
    later().await;
    assert_eq!(show(&api, &run).await["result"]["text"], "It is.");
    let (status, error) = send(&api, "ada", "POST", &resume, json!({})).await;
    assert_eq!((status, &error["error"]["code"]), (409, &json!("run_not_waiting")), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_stored_run_that_finds_no_place_is_released_and_does_not_count_as_an_attempt() {
    let world = World::default();
    let (api, _) = world.serve_at_most(1, [Turn::text("late").after(HOUR)]).await;
    start(&api).await;
    let body = serde_json::from_value(json!({ "agent": "desk", "task": "Is it true?" })).unwrap();
    let run = Run::new();
    let ids = RequestIds { run: run.id(), trace: run.trace(), parent: None };
    let setup = api.setup();
    let submission = submission(&body, setup.access.named("ada").unwrap(), ids).unwrap();
    let claimed = api.durable.as_ref().unwrap().start(submission).await.unwrap().unwrap();
    let starter = StoredRequests { api: Arc::downgrade(&api), queues: Mutex::default() };
    starter.start(claimed).await;
    let stored = world.store.find(ids.run).await.unwrap().unwrap();
    assert_eq!((stored.status, stored.attempt), (RunState::Ready, 0));
}

#[tokio::test(start_paused = true)]
async fn a_run_of_an_agent_that_was_removed_is_set_aside_and_goes_on_when_the_agent_is_back() {
    let world = World::default();
    let (api, _) = world.serve([Turn::text("late").after(HOUR)]).await;
    let run = start(&api).await;
    drop(api);

    let other = ServedAgent::new(Agent::new("clerk", ScriptedModel::new([])));
    let key = ApiKey::new("ada", KeyHash::of("brg_ada"));
    let api = Api::builder().agent(other).key(key).run_store(world.store.clone()).build().await.unwrap();
    later().await;
    let aside = show(&api, &run).await;
    assert_eq!(aside["status"], "set_aside", "{aside}");
    let why = aside["error"]["message"].as_str().unwrap();
    assert!(why.contains("the agent `desk` is not configured any more; add it again and resume the run"), "{why}");
    drop(api);

    let (api, _) = world.serve([Turn::text("It is.")]).await;
    assert_eq!(send(&api, "ada", "POST", &format!("{run}/resume"), json!({})).await.0, 202);
    later().await;
    assert_eq!(show(&api, &run).await["result"]["text"], "It is.");
}

#[tokio::test(start_paused = true)]
async fn a_payment_in_doubt_waits_for_the_decision_of_its_key() {
    for (decision, calls) in [
        (json!({ "step": "1/tool:1", "decision": "answer", "answer": "It was paid." }), 1),
        (json!({ "step": "1/tool:1", "decision": "repeat" }), 2),
    ] {
        let world = World::default();
        let (first, _) = world.serve([Turn::call("1", "pay", json!({}))]).await;
        let run = start(&first).await;
        drop(first);
        let (second, model) = world.serve([Turn::text("Paid.")]).await;
        later().await;
        let waiting = show(&second, &run).await;
        assert_eq!(waiting["status"], "waiting", "{waiting}");
        assert_eq!(waiting["waiting"]["reason"], "needs_decision", "{waiting}");
        assert_eq!(waiting["waiting"]["steps"], json!(["1/tool:1"]), "{waiting}");
        let path = format!("{run}/decisions");
        let decide = |key: &'static str, body: Value| send(&second, key, "POST", &path, body);
        assert_eq!(decide("bob", decision.clone()).await.0, 404);
        assert_eq!(decide("ada", json!({ "step": "1", "decision": "repeat" })).await.0, 409);
        assert_eq!(decide("ada", json!({ "step": "1/tool:1", "decision": "answer" })).await.0, 400);
        assert_eq!(decide("ada", decision.clone()).await.0, 202);
        tokio::time::sleep(2 * HOUR).await;
        let ended = show(&second, &run).await;
        assert_eq!((world.calls.load(Ordering::Relaxed), &ended["status"]), (calls, &json!("ended")), "{ended}");
        if calls == 1 {
            assert!(format!("{:?}", model.requests()).contains("It was paid."));
            assert_eq!(ended["result"]["text"], "Paid.");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_for_a_named_signal_gets_it_from_its_key_over_a_restart() {
    let world = World::default();
    let (first, _) = world.serve([Turn::call("1", "collect", json!({}))]).await;
    let run = start(&first).await;
    drop(first);
    later().await;
    let (second, model) = world.serve([Turn::text("Paid.")]).await;
    later().await;
    let waiting = show(&second, &run).await;
    assert_eq!(waiting["waiting"]["reason"], "signal", "{waiting}");
    assert_eq!(waiting["waiting"]["steps"], json!(["1/tool:1/payment"]), "{waiting}");
    let path = format!("{run}/signals");
    let signal = |key: &'static str, body: Value| send(&second, key, "POST", &path, body);
    let paid = json!({ "name": "paid", "payload": { "amount": 250 } });
    assert_eq!(signal("bob", paid.clone()).await.0, 404);
    let (long, large) = ("x".repeat(257), "x".repeat(300_000));
    for (body, field) in [
        (json!({}), "name"),
        (json!({ "name": "" }), "name"),
        (json!({ "name": long }), "name"),
        (json!({ "name": "paid", "payload": large }), "payload"),
        (json!({ "name": "paid", "kind": "cancel" }), "kind"),
    ] {
        let (status, error) = signal("ada", body).await;
        assert_eq!(status, 400, "{error}");
        assert!(error["error"]["message"].as_str().unwrap().contains(field), "{error}");
    }
    assert_eq!(signal("ada", json!({ "name": "other" })).await.0, 202);
    later().await;
    assert_eq!(show(&second, &run).await["status"], "waiting", "it waits for another name");
    let (status, accepted) = signal("ada", paid.clone()).await;
    assert_eq!((status, &accepted["id"]), (202, &show(&second, &run).await["id"]), "{accepted}");
    later().await;
    assert_eq!(show(&second, &run).await["result"]["text"], "Paid.");
    assert!(format!("{:?}", model.requests()).contains(r#"{\"amount\":250}"#), "{:?}", model.requests());
    let (status, error) = signal("ada", paid).await;
    assert_eq!((status, &error["error"]["code"]), (409, &json!("run_not_waiting")), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_signal_with_an_idempotency_key_is_stored_once_and_a_run_keeps_a_limited_number() {
    let world = World::default();
    let (api, _) = world.serve([Turn::call("1", "collect", json!({}))]).await;
    let run = start(&api).await;
    later().await;
    let path = format!("{run}/signals");
    let with_key = async |payload: u32| {
        let body = Body::from(json!({ "name": "other", "payload": payload }).to_string());
        let request = Request::builder().method("POST").uri(&path).header("content-type", "application/json");
        let request = request.header("authorization", "Bearer brg_ada").header("idempotency-key", "k").body(body);
        TowerToHyperService::new(api.router()).call(request.unwrap()).await.unwrap().status().as_u16()
    };
    assert_eq!((with_key(1).await, with_key(1).await, with_key(2).await), (202, 202, 409));
    let id = run.rsplit('/').next().unwrap().parse::<uuid::Uuid>().unwrap().into();
    assert_eq!(world.store.signals(id).await.unwrap().len(), 1);
    for _ in 1..1_000 {
        send(&api, "ada", "POST", &path, json!({ "name": "other" })).await;
    }
    let (status, error) = send(&api, "ada", "POST", &path, json!({ "name": "other" })).await;
    assert_eq!(status, 409, "{error}");
    assert!(error["error"]["message"].as_str().unwrap().contains("too many signals"), "{error}");
    assert_eq!(world.store.signals(id).await.unwrap().len(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_run_is_cancelled() {
    let world = World::default();
    let (first, _) = world.serve([Turn::call("1", "pay", json!({}))]).await;
    let run = start(&first).await;
    drop(first);
    let (second, _) = world.serve([]).await;
    later().await;
    assert_eq!(show(&second, &run).await["status"], "waiting");
    let cancel = format!("{run}/cancel");
    assert_eq!(send(&second, "bob", "POST", &cancel, json!({})).await.0, 404);
    assert_eq!(send(&second, "ada", "POST", &cancel, json!({})).await.0, 202);
    later().await;
    assert_eq!(show(&second, &run).await["status"], "cancelled");
}

#[tokio::test]
async fn a_run_without_a_store_says_that_it_is_not_durable() {
    let agent = Agent::new("desk", ScriptedModel::new([Turn::text("It is.")]));
    let api = Api::builder().agent(ServedAgent::new(agent)).allow_any_host().build().await.unwrap();
    let (_, run) = send(&api, "", "POST", "/v1/runs", json!({ "agent": "desk", "task": "Is it true?" })).await;
    assert_eq!(run["durable"], false, "{run}");
    let path = format!("/v1/runs/{}/resume", run["id"].as_str().unwrap());
    let (status, error) = send(&api, "", "POST", &path, json!({})).await;
    assert_eq!((status, &error["error"]["code"]), (409, &json!("run_not_durable")), "{error}");
}
