//! Runs that survive the end of the server.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Server, config, eventually, hash_of, json_of, scripted};

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
