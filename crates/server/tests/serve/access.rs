//! Keys, host names and public addresses.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{BRIGADE, Server, config, eventually, hash_of, json_of, provider, question, scripted};

/// The keys `brg_reader`, `brg_runner` and `brg_admin`.
const KEYS: &str = r#"
[keys.reader]
hash = "sha256:READER"
scopes = ["read"]
[keys.runner]
hash = "sha256:RUNNER"
budget = { usd = "0.0001" }
[keys.admin]
hash = "sha256:ADMIN"
scopes = ["admin"]
"#;

fn keys() -> String {
    ["reader", "runner", "admin"]
        .into_iter()
        .fold(KEYS.to_owned(), |text, name| text.replace(&name.to_uppercase(), &hash_of(&format!("brg_{name}"))))
}

#[tokio::test]
async fn a_key_may_do_what_its_scopes_allow() {
    let provider = provider("Hello.").await;
    let server = Server::start(&format!("{}{}", config(&provider), keys()));
    let ask = || server.post("/v1/chat/completions", &question("Hello?"));
    assert_eq!(json_of(ask()).await.1["error"]["code"], "invalid_api_key");
    assert_eq!(json_of(ask().header("authorization", "Bearer brg_nobody")).await.0, 401);
    assert_eq!(json_of(ask().header("authorization", "Bearer brg_reader")).await.1["error"]["code"], "scope_missing");
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        assert_eq!(json_of(ask().header("authorization", format!("{scheme} brg_admin"))).await.0, 200, "{scheme}");
    }
    assert_eq!(json_of(ask().header("authorization", "Basic brg_admin")).await.0, 401);
    assert_eq!(json_of(server.get("/livez")).await.0, 200, "health asks for no key");
    assert_eq!(json_of(server.get("/metrics")).await.0, 401);
    assert_eq!(json_of(server.get("/metrics").header("authorization", "Bearer brg_runner")).await.0, 403);
    assert_eq!(json_of(server.get("/metrics").header("authorization", "Bearer brg_admin")).await.0, 200);
    let log = server.log_with("finished: 1 turn").await;
    assert!(!log.contains("brg_"), "{log}");
}

#[tokio::test]
async fn a_key_spends_no_more_than_its_budget_over_all_runs() {
    let provider = provider("Hello.").await;
    let server = Server::start(&format!("{}max_output_tokens = 30\n{}", config(&provider), keys()));
    let ask = || {
        let request = server.post("/v1/chat/completions", &question("Hello?"));
        json_of(request.header("authorization", "Bearer brg_runner"))
    };
    let first = ask().await;
    assert_eq!(first.0, 200, "{}", first.1);
    let (status, refused) = ask().await;
    assert_eq!((status, &refused["error"]["code"]), (402, &json!("budget_exhausted")), "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("the key runner"), "{refused}");
}

#[tokio::test]
async fn the_request_rate_of_a_key_holds_across_a_reload() {
    let provider = provider("Hello.").await;
    let limited = keys().replace("budget = { usd = \"0.0001\" }", "requests_per_minute = 1");
    let config = format!("{}{limited}", config(&provider));
    let server = Server::start(&config);
    let ask = |key: &str| server.get("/v1/models").header("authorization", format!("Bearer brg_{key}"));
    assert_eq!(json_of(ask("runner")).await.0, 200);
    server.write_config(&config.replace("Answers.", "Answers well."));
    server.signal("-HUP");
    eventually("it is read", || server.log().contains("reloaded brigade.toml").then_some(())).await;
    let refused = ask("runner").send().await.unwrap();
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((40..=60).contains(&wait), "{wait}");
    assert_eq!(refused.status(), 429);
    let body: Value = serde_json::from_str(&refused.text().await.unwrap()).unwrap();
    assert_eq!(
        (&body["error"]["type"], &body["error"]["code"]),
        (&json!("rate_limit_error"), &json!("rate_limit_exceeded"))
    );
    assert_eq!(json_of(ask("reader")).await.0, 200, "others are not limited by it");
}

#[tokio::test]
async fn a_server_without_keys_accepts_only_local_host_names() {
    let provider = provider("Hello.").await;
    let server = Server::start(&config(&provider));
    let (status, body) = json_of(server.get("/v1/models").header("host", "evil.example:8080")).await;
    assert_eq!((status, &body["error"]["code"]), (421, &json!("unknown_host")));
    for host in ["localhost:9", "[::1]:8080", "127.0.0.1"] {
        assert_eq!(json_of(server.get("/v1/models").header("host", host)).await.0, 200, "{host}");
    }
}

#[tokio::test]
async fn a_public_address_needs_keys() {
    let provider = provider("Hello.").await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("brigade.toml"), config(&provider)).unwrap();
    let output =
        Command::new(BRIGADE).args(["serve", "--listen", "0.0.0.0:0"]).current_dir(folder.path()).output().unwrap();
    assert!(!output.status.success());
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("brigade keys new"), "{message}");
}

#[tokio::test]
async fn the_size_of_request_heads_is_limited() {
    let provider = provider("Hello.").await;
    let server = Server::start(&config(&provider));
    let with = |bytes: usize| server.get("/v1/models").header("x-long", "x".repeat(bytes));
    assert_eq!(json_of(with(31_000)).await.0, 200);
    let (status, refused) = json_of(with(33_000)).await;
    assert_eq!((status, &refused["error"]["code"]), (431, &json!("head_too_long")), "{refused}");
    for bytes in [70_000, 1_000_000] {
        assert_eq!(with(bytes).send().await.unwrap().status(), 431, "{bytes}");
    }
    assert_eq!(json_of(server.get(&format!("/v1/models?x={}", "x".repeat(40_000)))).await.0, 431);
    let many = (0..200).fold(server.get("/v1/models"), |request, number| request.header(format!("x-{number}"), "x"));
    assert_eq!(many.send().await.unwrap().status(), 431);
    assert_eq!(json_of(server.get("/v1/models")).await.0, 200);
}

#[tokio::test]
async fn a_key_takes_no_more_than_its_share_of_runs() {
    let stall = "[[fault]]\nid = \"x\"\nmatch = {}\nat = { after_deltas = 1 }\ndo = { stall = \"10m\" }\n";
    let provider = scripted("", stall).await;
    let base = config(&provider).replace("[server]", "[server]\nmax_runs = 8");
    let server = Server::start(&format!("{base}{}", keys().replace("budget = { usd = \"0.0001\" }", "max_runs = 2")));
    let start = async |key: &str| {
        let body = json!({ "agent": "clerk", "task": "Go.", "background": true });
        let request = server.post("/v1/runs", &body).header("authorization", format!("Bearer brg_{key}"));
        json_of(request).await
    };
    let mut running = Vec::new();
    for (key, limit) in [("runner", 2), ("admin", 4)] {
        for _ in 0..limit {
            let (status, run) = start(key).await;
            assert_eq!(status, 202, "{key}: {run}");
            running.push((key, run["id"].as_str().unwrap().to_owned()));
        }
        let (status, refused) = start(key).await;
        assert_eq!((status, &refused["error"]["code"]), (429, &json!("too_many_runs")), "{key}: {refused}");
        let message = refused["error"]["message"].as_str().unwrap();
        assert!(
            message.ends_with(&format!("of this key are running as its limit allows ({limit}); try again soon")),
            "{message}"
        );
    }
    let (key, id) = &running[0];
    let cancel = server.post(&format!("/v1/runs/{id}/cancel"), &json!({}));
    json_of(cancel.header("authorization", format!("Bearer brg_{key}"))).await;
    let events = server.get(&format!("/v1/runs/{id}/events")).header("authorization", "Bearer brg_admin");
    events.send().await.unwrap().text().await.unwrap();
    let making_room = async { while start(key).await.0 != 202 {} };
    tokio::time::timeout(std::time::Duration::from_secs(20), making_room)
        .await
        .expect("a run that has ended makes room");
}

#[tokio::test]
async fn the_log_and_the_list_of_runs_say_whose_run_it_is() {
    let failing = "[[fault]]\nid = \"x\"\nmatch = { last_user_contains = \"Fail.\" }\ndo = { status = 401 }\n";
    let provider = scripted("[[rule]]\nanswer = { text = \"Done.\" }\n", failing).await;
    for format in ["text", "json"] {
        let log = format!("[log]\nformat = \"{format}\"\n");
        let keys = keys().replace("budget = { usd = \"0.0001\" }", "");
        let server = Server::start(&format!("{}{log}{keys}", config(&provider)));
        for (task, end) in [("Go.", "run_ended"), ("Fail.", "run_failed")] {
            let body = json!({ "agent": "clerk", "task": task, "user": "ada" });
            json_of(server.post("/v1/runs", &body).header("authorization", "Bearer brg_runner")).await;
            let lines = move |log: &str, event: &str| {
                let is_text = |line: &&str| line.contains("for runner (user ada)");
                let is_json = |line: &&str| {
                    line.contains(&format!("\"event\":\"{event}\""))
                        && line.contains("\"tenant\":\"runner\"")
                        && line.contains("\"user\":\"ada\"")
                };
                log.lines().filter(|line| is_text(line) && (format == "text" || is_json(line))).count()
            };
            let found = || (lines(&server.log(), "run_started") > 0 && lines(&server.log(), end) > 0).then_some(());
            eventually("the first and the last line say it", found).await;
        }
        let list = server.get("/v1/runs").header("authorization", "Bearer brg_admin");
        let (_, runs) = json_of(list).await;
        for run in runs["data"].as_array().unwrap() {
            assert_eq!((&run["key"], &run["user"]), (&json!("runner"), &json!("ada")), "{run}");
        }
    }
}
