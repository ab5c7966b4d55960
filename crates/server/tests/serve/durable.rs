//! Runs that survive the end of the server.

use std::{fs::Permissions, os::unix::fs::PermissionsExt, path::Path, process::Command};

use brigade_core::testing::skip_test;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{BRIGADE, Gate, Server, config, eventually, hash_of, json_of, scripted};

/// The desk asks two workers and then ends. The second call of the estimator takes longer than the test.
const TEAM: &str = r#"
[[rule]]
when = { agent = "desk", turn = 0 }
answer = { tool_calls = [{ name = "clerk", arguments = '{"task":"Look it up."}' }] }
[[rule]]
when = { agent = "desk", turn = 1 }
answer = { tool_calls = [{ name = "estimator", arguments = '{"task":"Estimate it."}' }] }
[[rule]]
when = { agent = "clerk" }
answer = { text = "It is slow." }
[[rule]]
when = { agent = "estimator" }
answer = { text = "Two weeks." }
[[rule]]
when = { agent = "desk" }
answer = { text = "It takes two weeks." }
"#;

const STALL: &str = r#"
[[fault]]
id = "first estimate"
match = { agent = "estimator", call = 1 }
do = { stall = "10m" }
"#;

fn team(provider: &brigade_rehearsal::RunningSimulator, folder: &TempDir, more: &str) -> String {
    let store = folder.path().join("brigade.db").display().to_string();
    let keys = ["ada", "bob"].map(|name| {
        let hash = hash_of(&format!("brg_{name}"));
        format!("[keys.{name}]\nhash = \"sha256:{hash}\"\nscopes = [\"run\", \"read\"]\n")
    });
    format!(
        "store = \"{store}\"\n{}{more}[agents.estimator]\nmodel = \"mini\"\n[agents.desk]\nmodel = \"mini\"\n\
         workers = [{{ agent = \"clerk\" }}, {{ agent = \"estimator\" }}]\n{}",
        config(provider),
        keys.concat()
    )
}

async fn start(server: &Server) -> String {
    let body = json!({ "agent": "desk", "task": "How long?", "background": true });
    let request = server.post("/v1/runs", &body).header("idempotency-key", "one");
    let (status, run) = json_of(request.bearer_auth("brg_ada")).await;
    assert_eq!((status, &run["durable"]), (202, &json!(true)), "{run}");
    format!("/v1/runs/{}", run["id"].as_str().unwrap())
}

async fn show(server: &Server, path: &str, key: &str) -> Value {
    json_of(server.get(path).bearer_auth(format!("brg_{key}"))).await.1
}

/// Waits for the end of the run, and returns it.
async fn ended(server: &Server, path: &str) -> Value {
    json_of(server.get(&format!("{path}/events")).bearer_auth("brg_ada")).await;
    show(server, path, "ada").await
}

async fn stalled(provider: &brigade_rehearsal::RunningSimulator) {
    eventually("the estimator is asked", || (provider.call_log().totals().arrived == 4).then_some(())).await;
}

#[tokio::test]
async fn a_killed_server_ends_its_runs_after_the_next_start_and_pays_for_each_call_once() {
    let (provider, folder) = (scripted(TEAM, STALL).await, tempfile::tempdir().unwrap());
    let config = team(&provider, &folder, "");
    let mut first = Server::start(&config);
    let run = start(&first).await;
    stalled(&provider).await;
    let spent = show(&first, &run, "ada").await["cost_usd"].clone();
    first.signal("-KILL");
    first.exit().await;

    let second = Server::start(&config);
    second.log_with("recovered runs: 1, waiting: 0, in need of a decision: 0").await;
    assert_eq!(start(&second).await, run, "its idempotency key starts no other run");
    let after = ended(&second, &run).await;
    assert_eq!(
        (&after["status"], &after["result"]["text"]),
        (&json!("ended"), &json!("It takes two weeks.")),
        "{after}"
    );
    assert!(after["cost_usd"].as_str() > spent.as_str(), "it has the cost of before and after: {spent} {after}");
    // Five calls were needed. The one that was under way at the kill was made again.
    let totals = provider.call_log().totals();
    assert_eq!(totals.arrived, 6, "no completed call was repeated");
    let (_, events) = json_of(second.get(&format!("{run}/events")).bearer_auth("brg_ada")).await;
    let events = events.as_str().unwrap();
    assert_eq!(events.matches("\"resumed\"").count(), 1, "{events}");
    assert!(events.contains("\"run_started\""), "the events before the kill are there: {events}");
    second.log_with("resumed").await;
    // The key has paid for the five calls, and for the one under way with what it had reserved.
    let usage = show(&second, "/v1/usage", "ada").await;
    let total = &usage["total"];
    assert_eq!(
        (&total["calls"], &total["usage"]["input_tokens"]),
        (&json!(6), &after["result"]["usage"]["input_tokens"]),
        "{usage}\n{after}"
    );
    assert_eq!(show(&second, &run, "bob").await["error"]["code"], "run_not_found");
}

#[tokio::test]
async fn a_stopped_server_hands_its_open_runs_to_the_next_start() {
    let (provider, folder) = (scripted(TEAM, STALL).await, tempfile::tempdir().unwrap());
    let config = team(&provider, &folder, "").replace("[server]\n", "[server]\ndrain = \"100ms\"\n");
    let mut first = Server::start(&config);
    let body = json!({ "agent": "desk", "task": "How long?" });
    let waiting = json_of(first.post("/v1/runs", &body).bearer_auth("brg_ada"));
    let stopping = async {
        stalled(&provider).await;
        first.signal("-TERM");
    };
    let ((status, run), ()) = tokio::join!(waiting, stopping);
    assert_eq!((status, &run["status"]), (202, &json!("ready")), "{run}");
    assert!(first.exit().await.success(), "{}", first.log());
    first.log_with("released 1 runs").await;

    let second = Server::start(&config);
    let after = ended(&second, &format!("/v1/runs/{}", run["id"].as_str().unwrap())).await;
    assert_eq!(after["result"]["text"], "It takes two weeks.", "{after}");
    assert_eq!(provider.call_log().totals().arrived, 6);
}

/// The ids of the events of a run after this one. The last is that of `ended`.
async fn event_ids(server: &Server, run: &str, after: &str) -> Vec<String> {
    let request = server.get(&format!("/v1/runs/{run}/events")).header("last-event-id", after);
    let (status, text) = json_of(request.bearer_auth("brg_ada")).await;
    assert_eq!(status, 200, "{text}");
    let ids = text.as_str().unwrap().lines().filter_map(|line| line.strip_prefix("id:"));
    ids.map(|id| id.trim().to_owned()).collect()
}

#[tokio::test]
async fn a_client_that_comes_back_after_a_kill_gets_its_answer_and_the_events_that_it_missed() {
    let (provider, folder) = (scripted(TEAM, "").await, tempfile::tempdir().unwrap());
    let config = team(&provider, &folder, "");
    let body = json!({ "agent": "desk", "task": "How long?" });
    let ask = async |server: &Server| {
        let request = server.post("/v1/runs", &body).header("idempotency-key", "one");
        json_of(request.bearer_auth("brg_ada")).await
    };
    let mut first = Server::start(&config);
    let (status, run) = ask(&first).await;
    assert_eq!((status, &run["result"]["text"]), (200, &json!("It takes two weeks.")), "{run}");
    let id = run["id"].as_str().unwrap();
    let ids = event_ids(&first, id, "0").await;
    first.signal("-KILL");
    first.exit().await;

    let second = Server::start(&config);
    let (status, again) = ask(&second).await;
    assert_eq!((status, &again["id"], &again["result"]), (200, &run["id"], &run["result"]), "{again}");
    let (seen, missed) = ids.split_at(ids.len() / 2);
    assert_eq!(event_ids(&second, id, seen.last().unwrap()).await, missed);
    let usage = show(&second, "/v1/usage", "ada").await;
    assert_eq!((&usage["total"]["calls"], &usage["total"]["uncertain"]), (&json!(5), &json!("0")), "{usage}");
    assert_eq!(provider.call_log().totals().arrived, 5, "no second bill");
}

/// Starts a run in the background, with a task of this size.
async fn start_large(server: &Server, key: usize, size: usize) -> (u16, Value) {
    let body = json!({ "agent": "desk", "task": "x".repeat(size), "background": true });
    let request = server.post("/v1/runs", &body).header("idempotency-key", format!("key-{key}"));
    json_of(request.bearer_auth("brg_ada")).await
}

/// Limits the size of the server's files, which has the effect of a full disk.
#[tokio::test]
async fn a_full_disk_refuses_new_runs_with_the_reason_and_loses_none_that_was_accepted() {
    let (provider, folder) = (scripted(TEAM, "").await, tempfile::tempdir().unwrap());
    let gate = Gate::before(&provider).await;
    let config = team(&provider, &folder, "").replace(&provider.base_url(), &gate.url);
    let mut full = Server::start(&config);
    full.signal("-TERM");
    full.exit().await;
    let mut full = Server::start_limited(&config, 2_000);
    gate.hold();
    let mut accepted = Vec::new();
    let refused = loop {
        let (status, run) = start_large(&full, accepted.len(), 50_000).await;
        if status != 202 {
            break run;
        }
        accepted.push(format!("/v1/runs/{}", run["id"].as_str().unwrap()));
        assert!(accepted.len() < 100, "the file never reaches its size limit");
    };
    assert!(!accepted.is_empty());
    let why = refused["error"]["message"].as_str().unwrap();
    assert!(why.contains("disk") && refused["error"]["code"] == "store_unavailable", "{refused}");
    gate.release();
    full.signal("-KILL");
    full.exit().await;

    let server = Server::start(&config);
    for run in &accepted {
        let ended = ended(&server, run).await;
        assert_eq!(ended["result"]["text"], "It takes two weeks.", "{ended}");
    }
    let (status, run) = start_large(&server, accepted.len(), 50_000).await;
    assert_eq!(status, 202, "the key of the refused request starts a run: {run}");
}

#[tokio::test]
async fn a_store_that_cannot_be_written_is_refused_at_the_start_with_the_reason() {
    let (provider, folder) = (scripted(TEAM, "").await, tempfile::tempdir().unwrap());
    let config = team(&provider, &folder, "");
    let mut server = Server::start(&config);
    server.signal("-TERM");
    server.exit().await;
    let path = folder.path().join("brigade.toml");
    std::fs::write(&path, config).unwrap();
    let allow = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    allow(folder.path(), 0o555);
    allow(&folder.path().join("brigade.db"), 0o444);
    // The superuser may write everything, so the server is another user.
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "timeout", "20", BRIGADE, "serve", "--config"]);
    let output = command.arg(&path).output();
    allow(folder.path(), 0o755);
    let Some(output) = output.ok().filter(|output| output.status.code() == Some(1)) else {
        skip_test("a store that cannot be written", "the server cannot be started as another user");
        return;
    };
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("brigade.db cannot be opened; check that the folder exists and is writable"), "{message}");
}

#[tokio::test]
async fn a_run_whose_store_is_replaced_under_way_ends_with_the_reason() {
    let (provider, folder) = (scripted(TEAM, "").await, tempfile::tempdir().unwrap());
    let gate = Gate::before(&provider).await;
    let config = team(&provider, &folder, "").replace(&provider.base_url(), &gate.url);
    let server = Server::start(&config);
    gate.hold();
    let run = start(&server).await;
    eventually("the provider is asked", || (provider.call_log().totals().arrived == 1).then_some(())).await;
    let path = folder.path().join("brigade.db");
    std::fs::remove_file(&path).unwrap();
    std::fs::File::create(&path).unwrap();
    gate.release();
    let after = ended(&server, &run).await;
    assert_eq!((&after["status"], &after["error"]["code"]), (&json!("failed"), &json!("failed")), "{after}");
    server.log_with("it is not in its store any more, because the store was replaced").await;
    let next = start_large(&server, 1, 10).await;
    assert_eq!(next.0, 202, "new runs are stored in the new file: {next:?}");
    assert_eq!(ended(&server, &format!("/v1/runs/{}", next.1["id"].as_str().unwrap())).await["status"], "ended");
}
