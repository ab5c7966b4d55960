//! Health, metrics, signals and reloads.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Gate, Server, config, eventually, json_of, provider, question, scripted};

/// A provider whose answers never end.
const STALL: &str = "[[fault]]\nid = \"x\"\nmatch = {}\nat = { after_deltas = 1 }\ndo = { stall = \"10m\" }\n";
const WORDS: &str = "[[rule]]\nanswer = { text = \"One two three four five six.\" }";

#[tokio::test]
async fn readiness_reports_whether_agents_can_run() {
    let provider = provider("Hello.").await;
    let server = Server::start(&config(&provider));
    assert_eq!(json_of(server.get("/livez")).await, (200, Value::String("ok\n".to_owned())));
    assert_eq!(json_of(server.get("/healthz")).await.0, 200);
    server.until_ready().await;
    let (_, verbose) = json_of(server.get("/readyz?verbose")).await;
    assert_eq!(verbose["checks"][1], json!({ "name": "agent clerk", "passed": true }));
    assert_eq!(provider.call_log().totals().arrived, 0, "readiness is found out without a paid call");
}

#[tokio::test]
async fn an_agent_without_a_reachable_provider_is_not_ready_and_the_reason_is_reported() {
    let provider = provider("Hello.").await;
    let config = config(&provider);
    provider.shutdown().await;
    let server = Server::start(&config);
    let reason = loop {
        let (status, verbose) = json_of(server.get("/readyz?verbose")).await;
        assert_eq!(status, 503);
        let reason = verbose["checks"][1]["reason"].as_str().unwrap().to_owned();
        if !reason.contains("not been probed yet") {
            break reason;
        }
    };
    assert!(reason.starts_with("sim/gpt-5-mini: "), "{reason}");
    assert_eq!(json_of(server.get("/livez")).await.0, 200, "a restart would not help");
}

#[tokio::test]
async fn metrics_count_the_run() {
    let provider = provider("Hello.").await;
    let server = Server::start(&config(&provider));
    json_of(server.post("/v1/chat/completions", &question("Hello?"))).await;
    let (_, metrics) = json_of(server.get("/metrics")).await;
    let metrics = metrics.as_str().unwrap();
    assert!(metrics.contains(r#"brigade_runs_total{agent="clerk",outcome="finished"} 1"#), "{metrics}");
}

#[tokio::test]
async fn a_shutdown_lets_runs_finish_and_refuses_new_ones() {
    let provider = provider("At last.").await;
    let gate = Gate::before(&provider).await;
    let mut server = Server::start(&config(&provider).replace(&provider.base_url(), &gate.url));
    server.until_ready().await;
    gate.hold();
    let request = server.post("/v1/chat/completions", &question("Take your time."));
    let mut asking = tokio::task::JoinSet::from_iter([json_of(request)]);
    eventually("the provider is asked", || (provider.call_log().totals().arrived == 1).then_some(())).await;
    server.signal("-TERM");
    eventually("shutdown is logged", || server.log().contains("shutting down").then_some(())).await;
    assert_eq!(json_of(server.get("/readyz")).await.0, 503);
    let (status, refused) = json_of(server.post("/v1/chat/completions", &question("Me too."))).await;
    assert_eq!((status, &refused["error"]["code"]), (503, &json!("stopping")));
    gate.release();
    let (status, answer) = asking.join_next().await.unwrap().unwrap();
    assert_eq!((status, &answer["choices"][0]["message"]["content"]), (200, &json!("At last.")));
    assert!(server.exit().await.success());
}

#[tokio::test]
async fn late_runs_are_cancelled_and_a_second_signal_does_not_wait() {
    let provider = scripted(WORDS, STALL).await;
    let mut server = Server::start(&config(&provider).replace("[server]", "[server]\ndrain = \"100ms\""));
    let request = server.post("/v1/chat/completions", &question("Count."));
    let _asking = tokio::task::JoinSet::from_iter([async move { request.send().await.map(|_| ()) }]);
    eventually("the provider is asked", || (provider.call_log().totals().arrived == 1).then_some(())).await;
    server.signal("-TERM");
    assert!(server.exit().await.success());
    assert!(server.log().contains("cancelled 1 run that"), "{}", server.log());

    let mut server = Server::start(&config(&provider));
    let request = server.post("/v1/chat/completions", &question("Count."));
    let _asking = tokio::task::JoinSet::from_iter([async move { request.send().await.map(|_| ()) }]);
    eventually("the provider is asked", || (provider.call_log().totals().arrived == 2).then_some(())).await;
    server.signal("-TERM");
    eventually("shutdown is logged", || server.log().contains("shutting down").then_some(())).await;
    server.signal("-TERM");
    assert_eq!(server.exit().await.code(), Some(5), "a forced stop has an exit code of its own");
    assert!(server.log().contains("second signal"), "{}", server.log());
}

#[tokio::test]
async fn too_many_runs_are_refused_with_retry_after() {
    let provider = scripted(WORDS, STALL).await;
    let server = Server::start(&config(&provider).replace("[server]", "[server]\nmax_runs = 1"));
    let request = server.post("/v1/chat/completions", &question("Count."));
    let _asking = tokio::task::JoinSet::from_iter([async move { request.send().await.map(|_| ()) }]);
    eventually("the provider is asked", || (provider.call_log().totals().arrived == 1).then_some(())).await;
    let refused = server.post("/v1/chat/completions", &question("Me too.")).send().await.unwrap();
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].as_bytes()), (429, &b"1"[..]));
}

#[tokio::test]
async fn a_run_beyond_the_limit_waits_for_a_place() {
    let script = "[[rule]]\nanswer = { text = \"Done.\", latency = { first = \"1s\" } }\n";
    let provider = scripted(script, "").await;
    let limits = "[server]\nmax_runs = 2\nlongest_wait = \"30s\"";
    let server = Server::start(&config(&provider).replace("[server]", limits));
    let ask = || json_of(server.post("/v1/chat/completions", &question("Count.")));
    let waiting = async |count: usize| {
        let line = format!("brigade_runs_waiting {count}\n");
        while !json_of(server.get("/metrics")).await.1.as_str().unwrap().contains(&line) {}
    };
    let seen = tokio::time::timeout(Duration::from_secs(20), waiting(2));
    let (first, second, third, fourth, seen) = tokio::join!(ask(), ask(), ask(), ask(), seen);
    assert_eq!([first.0, second.0, third.0, fourth.0], [200; 4]);
    seen.expect("the metrics show two waiting runs");
    tokio::time::timeout(Duration::from_secs(20), waiting(0)).await.expect("no run waits any more");
}

#[tokio::test]
async fn a_hangup_reloads_the_whole_configuration_or_nothing() {
    let provider = provider("Hello.").await;
    let config = config(&provider);
    let server = Server::start(&config);
    server.write_config(&config.replace("[agents.clerk]", "[agents.porter]\nmodle = 1"));
    server.signal("-HUP");
    eventually("it is refused", || server.log().contains("cannot reload the configuration").then_some(())).await;
    assert_eq!(json_of(server.get("/v1/models/clerk")).await.0, 200);
    server.write_config(&config.replace("[agents.clerk]", "[agents.porter]"));
    server.signal("-HUP");
    eventually("it is read", || server.log().contains("reloaded brigade.toml").then_some(())).await;
    assert_eq!(json_of(server.get("/v1/models/clerk")).await.0, 404);
    assert_eq!(json_of(server.get("/v1/models/porter")).await.0, 200);
}

#[tokio::test]
async fn an_agent_added_by_a_reload_has_its_name_in_the_metrics() {
    let provider = provider("Hello.").await;
    let config = config(&provider);
    let server = Server::start(&config);
    server.write_config(&config.replace("[agents.clerk]", "[agents.porter]"));
    server.signal("-HUP");
    eventually("it is read", || server.log().contains("reloaded brigade.toml").then_some(())).await;
    let body = json!({ "agent": "porter", "task": "Carry." });
    assert_eq!(json_of(server.post("/v1/runs", &body)).await.0, 200);
    let (_, metrics) = json_of(server.get("/metrics")).await;
    let metrics = metrics.as_str().unwrap();
    assert!(metrics.contains(r#"brigade_runs_total{agent="porter",outcome="finished"} 1"#), "{metrics}");
}

#[tokio::test]
async fn a_reload_logs_changes_that_need_a_restart() {
    let provider = provider("Hello.").await;
    let config = config(&provider);
    let server = Server::start(&config);
    server.write_config(&format!("{}\n[budget]\nusd = \"1\"", config.replace("[server]", "[server]\nmax_runs = 1")));
    server.signal("-HUP");
    eventually("it is read", || server.log().contains("reloaded brigade.toml").then_some(())).await;
    for key in ["budget", "server.max_runs"] {
        assert!(
            server.log().contains(&format!("`{key}` has changed; restart the server to apply it")),
            "{}",
            server.log()
        );
    }
    assert!(!server.log().contains("`server.listen`"));
}

#[tokio::test]
async fn errors_are_counted_by_code() {
    let provider = scripted("", "[[fault]]\nid = \"x\"\nmatch = {}\ndo = { status = 401 }\n").await;
    let server = Server::start(&config(&provider));
    json_of(server.get("/v1/nothing")).await;
    json_of(server.post("/v1/chat/completions", &question("Hello?"))).await;
    json_of(server.post("/v1/runs", &json!({ "agent": "clerk", "task": "Go." }))).await;
    let (_, metrics) = json_of(server.get("/metrics")).await;
    let metrics = metrics.as_str().unwrap();
    // The second call finds the breaker open.
    for code in ["no_such_route", "provider_credentials_refused", "provider_unavailable"] {
        assert!(metrics.contains(&format!("brigade_request_errors_total{{code=\"{code}\"}} 1")), "{metrics}");
    }
}

#[tokio::test]
async fn every_path_of_the_openapi_document_is_served() {
    let provider = provider("Hello.").await;
    let server = Server::start(&config(&provider));
    let (status, document) = json_of(server.get("/openapi.json")).await;
    assert_eq!((status, &document["openapi"]), (200, &json!("3.1.0")));
    assert!(document["components"]["schemas"]["ChatBody"]["properties"]["messages"].is_object());
    assert_eq!(document["components"]["schemas"]["RunBody"]["properties"]["agent"]["enum"], json!(["clerk"]));
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let path = path.replace("{id}", "x");
            let request = if method == "post" { server.post(&path, &json!({})) } else { server.get(&path) };
            let (_, answer) = json_of(request).await;
            let code = &answer["error"]["code"];
            assert!(code != "no_such_route" && code != "no_such_method", "{method} {path}: {answer}");
        }
    }
    assert_eq!(server.get("/docs").send().await.unwrap().headers()["content-type"], "text/html; charset=utf-8");
}

#[tokio::test]
async fn a_log_that_is_not_read_stops_nothing() {
    let provider = provider("Hello.").await;
    let mut server = Server::start_with_stalled_log(&config(&provider));
    // Each answer logs more than a kilobyte at this level, so they fill the 64 KiB of a pipe many times over.
    for _ in 0..200 {
        assert_eq!(json_of(server.post("/v1/chat/completions", &question("Hi."))).await.0, 200);
    }
    assert_eq!(json_of(server.get("/livez")).await.0, 200);
    server.signal("-TERM");
    assert!(server.exit().await.success(), "the end waits for the reader a second at most");
}

fn key_with(budget: &str) -> String {
    let hash = crate::support::hash_of("brg_ada");
    format!("[keys.ada]\nhash = \"sha256:{hash}\"\nscopes = [\"run\", \"read\"]\nbudget = {budget}\n")
}

async fn reload(server: &Server, config: &str, times: usize) {
    server.write_config(config);
    server.signal("-HUP");
    eventually("the configuration is reloaded", || (server.log().matches("reloaded").count() == times).then_some(()))
        .await;
}

#[tokio::test]
async fn runs_in_flight_count_under_a_reloaded_budget_also_if_their_key_was_removed_meanwhile() {
    let script =
        "[[rule]]\nanswer = { text = \"Done.\", latency = { first = \"1s\" }, usage = { input = 120, output = 30 } }";
    for is_removed in [false, true] {
        let provider = scripted(script, "").await;
        // A second key, because a server does not give up its last one.
        let other = "[keys.other]\nhash = \"sha256:".to_owned() + &crate::support::hash_of("brg_other") + "\"\n";
        let base = config(&provider) + &other;
        let server = Server::start(&(base.clone() + &key_with("{ usd = \"5.00\", per = \"day\" }")));
        server.until_ready().await;
        let ask = || server.post("/v1/chat/completions", &question("Hello?")).header("authorization", "Bearer brg_ada");
        let mut asking = tokio::task::JoinSet::from_iter([json_of(ask())]);
        eventually("the provider is asked", || (provider.call_log().totals().arrived == 1).then_some(())).await;
        let mut reloads = 1;
        if is_removed {
            reload(&server, &base, reloads).await;
            reloads += 1;
        }
        // Less than the call in flight costs.
        reload(&server, &(base + &key_with("{ tokens = 100, per = \"month\" }")), reloads).await;
        assert_eq!(json_of(ask()).await.0, 402, "the call in flight is reserved");
        assert_eq!(asking.join_next().await.unwrap().unwrap().0, 200);
        assert_eq!(json_of(ask()).await.0, 402, "the call in flight was settled");
        assert_eq!(provider.call_log().totals().arrived, 1);
    }
}

#[tokio::test]
async fn sessions_without_a_store_belong_to_the_key_and_outlive_a_reload() {
    let provider = crate::support::acquaintance().await;
    let twin = "\n[agents.twin]\nmodel = \"mini\"\npurpose = \"Answers.\"\ninstructions = \"You are a clerk.\"\n";
    let config = config(&provider) + twin;
    let server = Server::start(&config);
    let mut answers = Vec::new();
    for (agent, text) in [("clerk", "I am Ada."), ("twin", "Who am I?")] {
        let body = json!({ "agent": agent, "task": text, "session_id": "one" });
        answers.push(json_of(server.post("/v1/runs", &body)).await.1["result"]["text"].clone());
        if agent == "clerk" {
            reload(&server, &(config.clone() + "[log]\nlevel = \"info\"\n"), 1).await;
        }
    }
    assert_eq!(Value::Array(answers), json!(["Pleased to meet you.", "You are Ada."]));
}

#[tokio::test]
async fn a_provider_that_is_down_takes_its_agents_out_and_not_the_process() {
    let (up, down) = (provider("Hello.").await, provider("Never.").await);
    let other = format!(
        "[providers.away]\nkind = \"compatible\"\nbase_url = \"{}/v1\"\n[models.far]\nprovider = \"away\"\nmodel = \"m\"\n\
         [agents.porter]\nmodel = \"far\"\n",
        down.base_url()
    );
    let config = format!("{}{other}", config(&up)).replace("[server]", "[server]\nprobe_every = \"50ms\"");
    down.shutdown().await;
    let server = Server::start(&config);
    server.until_ready().await;
    let (status, verbose) = json_of(server.get("/readyz?verbose")).await;
    let porter = verbose["checks"].as_array().unwrap().iter().find(|check| check["name"] == "agent porter").unwrap();
    assert_eq!((status, &porter["passed"], &porter["degraded"]), (200, &json!(false), &json!(true)), "{verbose}");
    let (_, text) = json_of(server.get("/readyz")).await;
    assert_eq!(text, "ok, except agent porter; /readyz?verbose says why\n");
    up.shutdown().await;
    let began = tokio::time::Instant::now();
    while json_of(server.get("/readyz")).await.0 != 503 {
        assert!(began.elapsed().as_secs() < 20, "no agent can answer");
    }
}

#[tokio::test]
async fn a_reload_that_waits_for_a_file_blocks_nothing_else() {
    let provider = provider("Hello.").await;
    let mut server = Server::start(&config(&provider));
    let path = server.config_path();
    std::fs::remove_file(&path).unwrap();
    // A pipe without a writer: who opens it waits.
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    server.signal("-HUP");
    for _ in 0..20 {
        assert_eq!(json_of(server.get("/livez")).await.0, 200);
        assert_eq!(json_of(server.post("/v1/chat/completions", &question("Hi."))).await.0, 200);
    }
    // No program will ever write into the pipe.
    std::fs::remove_file(&path).unwrap();
    server.write_config(&config(&provider));
    server.signal("-HUP");
    eventually("a later reload is applied", || server.log().contains("reloaded").then_some(())).await;
    assert!(server.log().contains("an earlier reload still reads its files"), "{}", server.log());
    server.signal("-TERM");
    assert!(server.exit().await.success());
}
