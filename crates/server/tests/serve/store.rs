//! Data that survives a restart.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{
    BRIGADE, Server, acquaintance, config, eventually, hash_of, json_of, provider, question, scripted,
};

/// Stops a server with SIGTERM, as an orchestrator does.
async fn stop(mut server: Server) {
    // Once it answers, it handles signals.
    json_of(server.get("/livez")).await;
    server.signal("-TERM");
    assert!(server.exit().await.success(), "{}", server.log());
}

fn stored(config: &str, folder: &tempfile::TempDir) -> String {
    format!("store = \"{}\"\n{config}", folder.path().join("brigade.db").display())
}

#[tokio::test]
async fn a_session_continues_after_a_restart() {
    let (provider, folder) = (acquaintance().await, tempfile::tempdir().unwrap());
    let config = stored(&config(&provider), &folder);
    let mut answers = Vec::new();
    for text in ["I am Ada.", "Who am I?"] {
        let server = Server::start(&config);
        let body = json!({ "agent": "clerk", "task": text, "session_id": "one" });
        let (_, run) = json_of(server.post("/v1/runs", &body)).await;
        answers.push(run["result"]["text"].clone());
        stop(server).await;
    }
    assert_eq!(Value::Array(answers), json!(["Pleased to meet you.", "You are Ada."]));
}

#[tokio::test]
async fn spending_of_today_counts_after_a_restart() {
    let (provider, folder) = (provider("Hello.").await, tempfile::tempdir().unwrap());
    // Enough for one call, but not for the minimum reservation of a second one.
    let budget = "[budget]\nusd = \"0.0006\"\nper = \"day\"\n";
    let config = stored(&(config(&provider) + budget), &folder);
    let ask = async |server: &Server| json_of(server.post("/v1/chat/completions", &question("Hello?"))).await.0;
    let first = Server::start(&config);
    assert_eq!(ask(&first).await, 200);
    stop(first).await;
    let second = Server::start(&config);
    assert_eq!(ask(&second).await, 402, "{}", second.log());
    assert_eq!(provider.call_log().totals().arrived, 1);
}

#[tokio::test]
async fn a_file_that_is_not_a_store_is_refused_and_not_changed() {
    let (provider, folder) = (provider("Hello.").await, tempfile::tempdir().unwrap());
    let path = folder.path().join("brigade.db");
    std::fs::write(&path, "my diary, not a database").unwrap();
    let output = Server::refused(&stored(&config(&provider), &folder));
    assert!(output.contains("the store") && output.contains("brigade.db"), "{output}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "my diary, not a database");
}

/// The key `brg_ada` with a daily budget.
fn key_of_ada(budget: &str) -> String {
    let (hash, scopes) = (hash_of("brg_ada"), "[\"run\", \"read\"]");
    format!(
        "[keys.ada]\nhash = \"sha256:{hash}\"\nscopes = {scopes}\nbudget = {{ usd = \"{budget}\", per = \"day\" }}\n"
    )
}

#[tokio::test]
async fn runs_and_usage_survive_a_restart_with_pages_and_filters() {
    let (provider, folder) = (provider("Hello.").await, tempfile::tempdir().unwrap());
    let config = stored(&config(&provider), &folder);
    let first = Server::start(&config);
    let mut ids = Vec::new();
    for session in ["one", "two", "one"] {
        let user = format!("user of {session}");
        let body = json!({ "agent": "clerk", "task": "Hello?", "session_id": session, "user": user });
        let (_, run) = json_of(first.post("/v1/runs", &body)).await;
        ids.insert(0, run["id"].clone());
    }
    let usage = json_of(first.get("/v1/usage")).await.1;
    stop(first).await;

    let second = Server::start(&config);
    let list = async |query: &str| {
        let (status, page) = json_of(second.get(&format!("/v1/runs?{query}"))).await;
        assert_eq!(status, 200, "{page}");
        let ids: Vec<_> = page["data"].as_array().unwrap().iter().map(|run| run["id"].clone()).collect();
        (ids, page["has_more"] == true)
    };
    assert_eq!(list("").await, (ids.clone(), false));
    assert_eq!(list("limit=2").await, (ids[..2].to_vec(), true));
    assert_eq!(list(&format!("limit=2&before={}", ids[1].as_str().unwrap())).await, (ids[2..].to_vec(), false));
    assert_eq!(list("session_id=one").await.0, [ids[0].clone(), ids[2].clone()]);
    assert_eq!(list("user=user+of+one").await.0, [ids[0].clone(), ids[2].clone()]);
    assert_eq!(list("user=eve").await.0, [] as [Value; 0]);
    assert_eq!(list("status=ended&agent=clerk").await.0, ids);
    assert_eq!(list("status=running").await, (vec![], false));
    assert_eq!(json_of(second.get("/v1/runs?status=lost")).await.0, 400);

    let path = format!("/v1/runs/{}", ids[0].as_str().unwrap());
    let (_, run) = json_of(second.get(&path)).await;
    assert_eq!((&run["status"], &run["session_id"]), (&json!("ended"), &json!("one")), "{run}");
    assert_eq!(run["user"], "user of one");
    let result = &run["result"];
    assert_eq!((&result["stop"], &result["turns"], &result["text"]), (&json!("finished"), &json!(1), &json!("Hello.")));
    let (_, events) = json_of(second.get(&format!("{path}/events")).header("last-event-id", "1")).await;
    let events = events.as_str().unwrap();
    assert!(events.starts_with("id: 2\n") || events.contains("\nid: 2\n"), "{events}");
    assert!(events.contains("\"run_ended\"") && events.contains("event: ended"), "{events}");

    assert_eq!(json_of(second.get("/v1/usage")).await.1, usage);
    assert_eq!((&usage["total"]["calls"], &usage["data"][0]["agent"]), (&json!(3), &json!("clerk")));
    // Runs of this process are listed among those of earlier ones.
    let (_, new) = json_of(second.post("/v1/runs", &json!({ "agent": "clerk", "task": "Hello?" }))).await;
    assert_eq!(list("limit=2").await, (vec![new["id"].clone(), ids[0].clone()], true));
    assert_eq!(json_of(second.get("/v1/usage?agent=clerk")).await.1["total"]["calls"], 4);
    assert_eq!(json_of(second.get("/v1/usage?to=2020-01-01")).await.1["data"], json!([]));
}

#[tokio::test]
async fn a_run_can_be_traced_while_the_server_runs_and_after_it_ended() {
    let (provider, folder) = (provider("Hello.").await, tempfile::tempdir().unwrap());
    let server = Server::start(&stored(&config(&provider), &folder));
    let (_, run) = json_of(server.post("/v1/runs", &json!({ "agent": "clerk", "task": "Hello?" }))).await;
    let id = &run["trace_id"].as_str().unwrap()[..8];
    let path = folder.path().join("brigade.db").display().to_string();
    let trace = |arguments: &[&str]| {
        let output = Command::new(BRIGADE).arg("trace").args(arguments).output().unwrap();
        (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let (is_found, running) = trace(&[id, "--store", &path]);
    assert!(is_found && running.contains("clerk") && running.contains("sim/gpt-5-mini"), "{running}");
    assert_eq!(trace(&[id, "--config", &server.config_path()]).1, running, "the configuration names the store");
    stop(server).await;
    assert_eq!(trace(&[id, "--store", &path]).1, running);
    let (is_found, message) = trace(&["ffffffff", "--store", &path]);
    assert!(!is_found && message.contains("no run has the trace id ffffffff; looked in:"), "{message}");
    assert!(message.contains(&format!("the store {path}")) && !message.contains("file of events"), "{message}");
}

#[tokio::test]
async fn answered_calls_are_billed_even_if_the_server_is_killed() {
    let (provider, folder) = (provider("Hello.").await, tempfile::tempdir().unwrap());
    let config = stored(&config(&provider), &folder);
    for round in 1..=3 {
        let server = Server::start(&config);
        assert_eq!(json_of(server.post("/v1/chat/completions", &question("Hello?"))).await.0, 200);
        let (_, usage) = json_of(server.get("/v1/usage")).await;
        let total = &usage["total"];
        assert_eq!((&total["calls"], &total["uncertain"]), (&json!(round), &json!("0")), "{usage}");
        server.signal("-KILL");
    }
}

#[tokio::test]
async fn a_run_cut_off_by_a_crash_is_interrupted() {
    let stall = "[[fault]]\nid = \"x\"\nmatch = {}\nat = { before_headers = true }\ndo = { stall = \"10m\" }\n";
    let (provider, folder) = (scripted("", stall).await, tempfile::tempdir().unwrap());
    let config = stored(&config(&provider), &folder);
    let first = Server::start(&config);
    let body = json!({ "agent": "clerk", "task": "Hello?", "background": true, "durable": false });
    let (_, run) = json_of(first.post("/v1/runs", &body)).await;
    eventually("the provider is asked", || (provider.call_log().totals().arrived > 0).then_some(())).await;
    let (_, running) = json_of(first.get("/v1/runs?status=running")).await;
    assert_eq!(running["data"][0]["id"], run["id"]);
    first.signal("-KILL");
    drop(first);
    let second = Server::start(&config);
    let (_, found) = json_of(second.get(&format!("/v1/runs/{}", run["id"].as_str().unwrap()))).await;
    assert_eq!((&found["status"], &found["error"]["code"]), (&json!("interrupted"), &json!("interrupted")), "{found}");
    let (_, usage) = json_of(second.get("/v1/usage")).await;
    assert_ne!(usage["total"]["uncertain"], "0", "it may be billed: {usage}");
    let total = &usage["total"]["cost"];
    let (_, list) = json_of(second.get("/v1/runs")).await;
    assert!(found["cost_usd"].is_string(), "{found}");
    assert_eq!((&found["cost_usd"], &list["data"][0]["cost_usd"]), (total, total), "{usage}");
}

#[tokio::test]
async fn a_key_that_is_removed_and_added_again_keeps_its_spending() {
    let (provider, folder) = (provider("Hello.").await, tempfile::tempdir().unwrap());
    let without = stored(&config(&provider), &folder);
    // Enough for one call, but not for the minimum reservation of a second one.
    let with = format!("{without}{}", key_of_ada("0.0006"));
    let ask = async |server: &Server| {
        let request = server.post("/v1/chat/completions", &question("Hello?"));
        json_of(request.header("authorization", "Bearer brg_ada")).await.0
    };
    let first = Server::start(&with);
    assert_eq!(ask(&first).await, 200);
    stop(first).await;

    let second = Server::start(&without);
    second.write_config(&with);
    second.signal("-HUP");
    eventually("the configuration is reloaded", || second.log().contains("reloaded").then_some(())).await;
    assert_eq!(ask(&second).await, 402, "{}", second.log());
}

/// Limits the size of the server's files, which has the effect of a full disk.
#[tokio::test]
async fn a_full_disk_degrades_runs_and_loses_no_answer() {
    let (provider, folder) = (provider("Hello.").await, tempfile::tempdir().unwrap());
    let config = stored(&config(&provider), &folder);
    stop(Server::start(&config)).await;
    let mut server = Server::start_limited(&config, 900);
    let task = "x".repeat(50_000);
    let (mut degraded, mut paid) = (Vec::new(), 0);
    // First sessions no longer fit, then the history.
    while !degraded.iter().any(|part: &Value| part["part"] == "history") {
        let body = json!({ "agent": "clerk", "task": task, "session_id": "one", "durable": false });
        let (status, run) = json_of(server.post("/v1/runs", &body)).await;
        assert_eq!((status, &run["result"]["text"]), (200, &json!("Hello.")), "{run}");
        degraded = run["result"]["degraded"].as_array().unwrap().clone();
        paid += u64::from(degraded.is_empty());
        assert!(paid < 100, "the file never reaches its size limit");
    }
    assert!(degraded[0].to_string().contains("nothing was stored"), "{degraded:?}");
    server.log_with("the history cannot be written").await;
    let mut is_ready = true;
    for _ in 0..100 {
        is_ready &= json_of(server.get("/readyz")).await.0 == 200;
    }
    let (_, ready) = json_of(server.get("/readyz?verbose")).await;
    assert!(!is_ready && ready.to_string().contains("nothing was stored"), "{ready}");
    server.signal("-TERM");
    assert_eq!(server.exit().await.code(), Some(6), "some cost is lost: {}", server.log());
    assert!(server.log().contains("some cost is not on disk"), "{}", server.log());

    let after = Server::start(&config);
    let (_, usage) = json_of(after.get("/v1/usage")).await;
    assert!(usage["total"]["calls"].as_u64().unwrap() >= paid, "{paid}: {usage}");
    assert_eq!(
        json_of(after.post("/v1/chat/completions", &question("Hello?"))).await.0,
        200,
        "the server answers again without the limit"
    );
}

#[tokio::test]
async fn a_damaged_store_is_reported_and_not_changed() {
    let (provider, folder) = (provider("Hello.").await, tempfile::tempdir().unwrap());
    let (config, path) = (stored(&config(&provider), &folder), folder.path().join("brigade.db"));
    let server = Server::start(&config);
    json_of(server.post("/v1/runs", &json!({ "agent": "clerk", "task": "Hello?", "session_id": "one" }))).await;
    stop(server).await;
    // A log that a stop on a busy machine left behind has good copies of the damaged page.
    let _ = std::fs::remove_file(path.with_extension("db-wal"));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100..4_096].fill(0xAA);
    std::fs::write(&path, &bytes).unwrap();
    let message = Server::refused(&config);
    assert!(message.contains("damaged") && message.contains("restore it from a backup"), "{message}");
    assert!(std::fs::read(&path).unwrap() == bytes, "it was left as it is");
}

/// Polls `/readyz` until it has this status. Returns its reasons.
async fn until_readiness(server: &Server, wanted: u16) -> String {
    for _ in 0..1_000 {
        let (status, readiness) = json_of(server.get("/readyz?verbose")).await;
        if status == wanted {
            return readiness.to_string();
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("it never has status {wanted}: {}", server.log());
}

fn calls(usage: &Value) -> &Value {
    &usage["total"]["calls"]
}

#[tokio::test]
async fn a_store_that_is_removed_turns_readiness_red_and_loses_no_spending() {
    let (provider, folder) = (provider("Hello.").await, tempfile::tempdir().unwrap());
    let (config, path) = (stored(&config(&provider), &folder), folder.path().join("brigade.db"));
    let ask = async |server: &Server| json_of(server.post("/v1/chat/completions", &question("Hello?"))).await.0;
    let server = Server::start(&config);
    server.until_ready().await;
    assert_eq!(ask(&server).await, 200);
    std::fs::remove_file(&path).unwrap();
    let reasons = until_readiness(&server, 503).await;
    assert!(reasons.contains("was removed while it was in use"), "{reasons}");
    assert_eq!(ask(&server).await, 200, "runs go on");

    std::fs::File::create(&path).unwrap();
    until_readiness(&server, 200).await;
    assert_eq!(ask(&server).await, 200);
    assert_eq!(calls(&json_of(server.get("/v1/usage")).await.1), &json!(3));
    server.signal("-KILL");
    drop(server);
    let server = Server::start(&config);
    assert_eq!(calls(&json_of(server.get("/v1/usage")).await.1), &json!(3), "all spending is in the new file");

    // A server that stops without a file creates one.
    server.until_ready().await;
    std::fs::remove_file(&path).unwrap();
    assert_eq!(ask(&server).await, 200);
    stop(server).await;
    let server = Server::start(&config);
    assert_eq!(calls(&json_of(server.get("/v1/usage")).await.1), &json!(4));
}

#[tokio::test]
async fn a_store_has_one_server_even_without_its_lock_file() {
    let (provider, folder) = (provider("Hello.").await, tempfile::tempdir().unwrap());
    let config = stored(&config(&provider), &folder);
    let server = Server::start(&config);
    std::fs::remove_file(folder.path().join("brigade.db.lock")).unwrap();
    let message = Server::refused(&config);
    assert!(message.contains("is in use by another process"), "{message}");
    assert_eq!(json_of(server.post("/v1/chat/completions", &question("Hello?"))).await.0, 200);
}

#[tokio::test]
async fn readiness_is_red_while_the_history_cannot_be_written() {
    let (provider, folder) = (provider("Hello.").await, tempfile::tempdir().unwrap());
    let server = Server::start(&stored(&config(&provider), &folder));
    server.until_ready().await;
    let database = rusqlite::Connection::open(folder.path().join("brigade.db")).unwrap();
    database.execute_batch("PRAGMA busy_timeout = 5000; ALTER TABLE run_costs RENAME TO away").unwrap();
    let reasons = until_readiness(&server, 503).await;
    assert!(reasons.contains("SQLite refused the operation"), "{reasons}");
    database.execute_batch("ALTER TABLE away RENAME TO run_costs").unwrap();
    until_readiness(&server, 200).await;
}

/// The events of a run after this id, until the stream ends: their ids, and the names of their events.
async fn events(server: &Server, run: &Value, after: &str) -> (Vec<String>, Vec<String>) {
    let request = server.get(&format!("/v1/runs/{}/events", run["id"].as_str().unwrap()));
    let text = request.header("last-event-id", after).send().await.unwrap().text().await.unwrap();
    let field = |name: &str| text.lines().filter_map(|line| Some(line.strip_prefix(name)?.trim().to_owned())).collect();
    (field("id:"), field("event:"))
}

#[tokio::test]
async fn an_event_has_the_same_number_in_memory_after_an_eviction_and_after_a_restart() {
    let (provider, folder) = (provider("One two three four.").await, tempfile::tempdir().unwrap());
    let config = stored(&config(&provider).replace("[server]", "[server]\nkept_runs = 1"), &folder);
    let server = Server::start(&config);
    let body = json!({ "agent": "clerk", "task": "Hello?", "stream": true });
    let (_, run) = json_of(server.post("/v1/runs", &body)).await;
    let (with_text, _) = events(&server, &run, "0").await;
    assert!(with_text.iter().any(|id| id.contains('.')), "pieces of text are between events: {with_text:?}");
    let in_memory: Vec<_> = with_text.into_iter().filter(|id| !id.contains('.')).collect();
    let end = in_memory.last().unwrap().clone();

    let check = async |server: &Server| {
        assert_eq!(events(server, &run, "0").await.0, in_memory);
        assert_eq!(events(server, &run, "3.1").await.0, in_memory[3..]);
        for seen in [end.as_str(), "999", "999.9"] {
            let (ids, names) = events(server, &run, seen).await;
            assert_eq!((ids, names), (vec![end.clone()], vec!["ended".to_owned()]), "after {seen}");
        }
    };
    json_of(server.post("/v1/runs", &json!({ "agent": "clerk", "task": "Evict it." }))).await;
    check(&server).await;
    stop(server).await;
    check(&Server::start(&config)).await;
}

#[tokio::test]
async fn an_idempotency_key_starts_one_run_over_evictions_restarts_and_kills() {
    let (provider, folder) = (provider("Hello.").await, tempfile::tempdir().unwrap());
    let config = stored(&config(&provider).replace("[server]", "[server]\nkept_runs = 1"), &folder);
    let ask = async |server: &Server, key: &str, task: &str| {
        let body = json!({ "agent": "clerk", "task": task });
        json_of(server.post("/v1/runs", &body).header("idempotency-key", key)).await
    };
    let server = Server::start(&config);
    let (_, first) = ask(&server, "a", "Hello?").await;
    ask(&server, "b", "Hello?").await;
    let again = async |server: &Server| {
        let (status, run) = ask(server, "a", "Hello?").await;
        assert_eq!((status, &run["id"], &run["status"]), (200, &first["id"], &json!("ended")), "{run}");
        assert_eq!(run["cost_usd"], first["cost_usd"]);
        assert_eq!(ask(server, "a", "Another task.").await.0, 409);
    };
    again(&server).await;
    server.signal("-KILL");
    drop(server);
    let server = Server::start(&config);
    again(&server).await;
    stop(server).await;
    again(&Server::start(&config)).await;
    assert_eq!(provider.call_log().totals().arrived, 2);
}

#[tokio::test]
async fn a_run_that_was_killed_is_not_started_again_by_its_idempotency_key() {
    let stall = "[[fault]]\nid = \"x\"\nmatch = {}\nat = { before_headers = true }\ndo = { stall = \"10m\" }\n";
    let (provider, folder) = (scripted("", stall).await, tempfile::tempdir().unwrap());
    let config = stored(&config(&provider), &folder);
    let body = json!({ "agent": "clerk", "task": "Hello?", "background": true, "durable": false });
    let start = |server: &Server| server.post("/v1/runs", &body).header("idempotency-key", "a");
    let first = Server::start(&config);
    let (_, run) = json_of(start(&first)).await;
    eventually("the provider is asked", || (provider.call_log().totals().arrived > 0).then_some(())).await;
    // What is asked for is flushed first, so the run is on disk.
    json_of(first.get("/v1/runs")).await;
    first.signal("-KILL");
    drop(first);
    let second = Server::start(&config);
    let (status, again) = json_of(start(&second)).await;
    assert_eq!((status, &again["id"], &again["status"]), (202, &run["id"], &json!("interrupted")), "{again}");
    assert_eq!(provider.call_log().totals().arrived, 1);
}

#[tokio::test]
async fn a_server_that_stops_cleanly_leaves_no_log_of_its_store() {
    let (provider, folder) = (provider("Hello.").await, tempfile::tempdir().unwrap());
    let config = stored(&config(&provider), &folder);
    for round in 0..10 {
        let server = Server::start(&config);
        let body = json!({ "agent": "clerk", "task": "Hello?", "session_id": "one" });
        json_of(server.post("/v1/runs", &body)).await;
        // Some requests are still being answered.
        let requests = ["/v1/runs", "/v1/usage", "/readyz"].map(|path| server.get(path).send());
        let _requests: tokio::task::JoinSet<_> = requests.into_iter().collect();
        stop(server).await;
        let files = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name());
        let mut files: Vec<_> = files.map(|name| name.into_string().unwrap()).collect();
        files.sort();
        assert_eq!(files, ["brigade.db", "brigade.db.lock"], "round {round}");
    }
}

#[tokio::test]
async fn a_store_that_is_truncated_turns_readiness_red_and_is_refused_after_a_kill() {
    let (provider, folder) = (provider("Hello.").await, tempfile::tempdir().unwrap());
    let (config, path) = (stored(&config(&provider), &folder), folder.path().join("brigade.db"));
    let ask = async |server: &Server| {
        json_of(server.post("/v1/runs", &json!({ "agent": "clerk", "task": "Hi", "durable": false }))).await
    };
    let server = Server::start(&config);
    server.until_ready().await;
    ask(&server).await;
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
    let reasons = until_readiness(&server, 503).await;
    assert!(reasons.contains("was damaged while it was in use (it was truncated)"), "{reasons}");
    let (status, run) = ask(&server).await;
    let degraded = run["result"]["degraded"].to_string();
    assert!(status == 200 && degraded.contains("the run's cost is not on disk yet"), "{run}");
    let (status, usage) = json_of(server.get("/v1/usage")).await;
    assert_eq!(
        (status, &usage["error"]["code"]),
        (503, &json!("store_unavailable")),
        "it does not say that nothing was spent"
    );
    let (_, metrics) = json_of(server.get("/metrics")).await;
    assert!(metrics.as_str().unwrap().contains("brigade_store_failing 1"), "{metrics}");
    server.signal("-KILL");
    drop(server);
    let message = Server::refused(&config);
    assert!(message.contains("was damaged while it was in use") && message.contains("put a backup there"), "{message}");

    // With an empty file, a new day begins only if the operator removes what is left of the old one.
    for suffix in ["-wal", "-shm", ".lock"] {
        let _ = std::fs::remove_file(folder.path().join(format!("brigade.db{suffix}")));
    }
    let server = Server::start(&config);
    server.until_ready().await;
    ask(&server).await;
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(4_096).unwrap();
    until_readiness(&server, 503).await;
    ask(&server).await;
    std::fs::remove_file(&path).unwrap();
    std::fs::File::create(&path).unwrap();
    until_readiness(&server, 200).await;
    stop(server).await;
    let server = Server::start(&config);
    assert_eq!(
        calls(&json_of(server.get("/v1/usage")).await.1),
        &json!(2),
        "what was spent meanwhile is in the next file"
    );
}

#[tokio::test]
async fn a_store_that_another_program_locks_delays_no_read_and_each_run_once() {
    let (provider, folder) = (provider("Hello.").await, tempfile::tempdir().unwrap());
    let (config, path) = (stored(&config(&provider), &folder), folder.path().join("brigade.db"));
    let server = Server::start(&config);
    server.until_ready().await;
    let body = json!({ "agent": "clerk", "task": "Hi", "session_id": "one", "durable": false });
    let run = |number: u32| server.post("/v1/runs", &body).header("idempotency-key", number.to_string());
    json_of(run(0)).await;
    let locker = rusqlite::Connection::open(&path).unwrap();
    locker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let timed = async |request| {
        let began = tokio::time::Instant::now();
        let (status, body) = json_of(request).await;
        (began.elapsed().as_secs_f32(), status, body)
    };
    let (took, status, first) = timed(run(1)).await;
    assert!(status == 200 && took < 7.0, "{took}: {first}");
    assert!(first["result"]["degraded"].to_string().contains("another program locks the database"), "{first}");
    for path in ["/v1/runs", "/v1/usage", &format!("/v1/runs/{}/events", first["id"].as_str().unwrap())] {
        let (took, status, body) = timed(server.get(path)).await;
        assert!(status == 200 && took < 2.0, "{path} took {took}: {body}");
    }
    let reasons = until_readiness(&server, 503).await;
    assert!(reasons.contains("another program locks the database"), "{reasons}");
    let (_, metrics) = json_of(server.get("/metrics")).await;
    assert!(metrics.as_str().unwrap().contains("brigade_store_failing 1"), "{metrics}");
    let (took, _, second) = timed(run(2)).await;
    assert!(took < 2.0, "a run that starts later does not wait again: {took}: {second}");

    locker.execute_batch("ROLLBACK").unwrap();
    until_readiness(&server, 200).await;
    assert_eq!(calls(&json_of(server.get("/v1/usage")).await.1), &json!(3));
    server.signal("-KILL");
    drop(server);
    let server = Server::start(&config);
    let (_, list) = json_of(server.get("/v1/runs?status=ended")).await;
    assert_eq!(list["data"].as_array().unwrap().len(), 3, "all of it is stored: {list}");
    let (_, again) = json_of(server.post("/v1/runs", &body).header("idempotency-key", "1")).await;
    assert_eq!(again["id"], first["id"], "and the keys too");
}
