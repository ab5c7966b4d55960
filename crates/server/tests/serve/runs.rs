//! `/v1/runs` and `/v1/usage`.

use serde_json::{Value, json};

use crate::support::{Server, acquaintance, config, eventually, json_of, provider, scripted};

const STALL: &str = "[[fault]]\nid = \"x\"\nmatch = {}\nat = { after_deltas = 1 }\ndo = { stall = \"10m\" }\n";
const WORDS: &str = "[[rule]]\nanswer = { text = \"One two three four five six.\" }";

fn task(text: &str) -> Value {
    json!({ "agent": "clerk", "task": text })
}

/// The ids and contents of the events after the id `last`.
async fn events(server: &Server, id: &str, last: &str) -> Vec<(String, Value)> {
    let request = server.get(&format!("/v1/runs/{id}/events")).header("last-event-id", last);
    let text = request.send().await.unwrap().text().await.unwrap();
    let field = |frame: &str, name: &str| {
        frame.lines().find_map(|line| line.strip_prefix(name).map(str::trim)).map(str::to_owned)
    };
    let frames = text.split("\n\n").filter_map(|frame| Some((field(frame, "id:")?, field(frame, "data:")?)));
    frames.map(|(id, data)| (id, serde_json::from_str(&data).unwrap())).collect()
}

#[tokio::test]
async fn a_run_in_the_foreground_responds_with_its_result() {
    let provider = provider("Done.").await;
    let server = Server::start(&config(&provider));
    let (status, run) = json_of(server.post("/v1/runs", &task("Do it."))).await;
    assert_eq!((status, &run["status"], &run["result"]["text"]), (200, &json!("ended"), &json!("Done.")), "{run}");
    assert_eq!(run["result"]["cost"]["by_agent"]["clerk"]["calls"], 1);
    let (status, shown) = json_of(server.get(&format!("/v1/runs/{}", run["id"].as_str().unwrap()))).await;
    assert_eq!((status, shown), (200, run));
    for id in ["nonsense", "01a20448-5235-7586-a5b6-278ede5e469b"] {
        assert_eq!(json_of(server.get(&format!("/v1/runs/{id}"))).await.0, 404);
    }
}

#[tokio::test]
async fn the_events_of_a_background_run_can_be_followed_and_resumed() {
    let provider = provider("One two three.").await;
    let server = Server::start(&config(&provider));
    let mut body = task("Count.");
    body["background"] = json!(true);
    body["stream"] = json!(true);
    let response = server.post("/v1/runs", &body).send().await.unwrap();
    assert_eq!(response.status(), 202);
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let id = location.strip_prefix("/v1/runs/").unwrap();
    let all = events(&server, id, "0").await;
    assert_eq!(all[0].1["event"], "run_started");
    let text: String = all.iter().filter_map(|(_, event)| event["text"].as_str()).collect();
    assert_eq!(text, "One two three.");
    let (last, ended) = all.last().unwrap();
    assert_eq!((&ended["status"], &ended["result"]["text"]), (&json!("ended"), &json!("One two three.")));
    let numbers: Vec<u64> = all.iter().filter_map(|(id, _)| id.parse().ok()).collect();
    assert!(numbers.iter().copied().eq(1..=numbers.len() as u64) && numbers.last() == last.parse().ok().as_ref());
    let texts = all.iter().filter(|(id, event)| id.contains('.') && event["event"] == "text").count();
    assert_eq!(texts + numbers.len(), all.len(), "pieces of text have numbers after that of their event");
    for (at, (id_of_event, _)) in all.iter().enumerate() {
        assert_eq!(events(&server, id, id_of_event).await[..], all[(at + 1).min(all.len() - 1)..], "{id_of_event}");
    }
}

#[tokio::test]
async fn a_repeated_request_shows_the_end_of_its_background_run() {
    let provider = provider("Done.").await;
    let server = Server::start(&config(&provider));
    let mut body = task("Do it.");
    body["background"] = json!(true);
    let ask = || json_of(server.post("/v1/runs", &body).header("idempotency-key", "once"));
    let (_, run) = ask().await;
    let path = format!("/v1/runs/{}", run["id"].as_str().unwrap());
    while json_of(server.get(&path)).await.1["status"] != "ended" {}
    let (status, again) = ask().await;
    assert_eq!(
        (status, &again["status"], &again["result"]["text"]),
        (202, &json!("ended"), &json!("Done.")),
        "{again}"
    );
}

#[tokio::test]
async fn a_cancelled_run_keeps_its_partial_result() {
    let provider = scripted(WORDS, STALL).await;
    let server = Server::start(&config(&provider));
    let mut body = task("Count.");
    body["background"] = json!(true);
    let (_, run) = json_of(server.post("/v1/runs", &body)).await;
    assert_eq!(run["status"], "running");
    eventually("the provider is asked", || (provider.call_log().totals().arrived == 1).then_some(())).await;
    let path = format!("/v1/runs/{}", run["id"].as_str().unwrap());
    assert_eq!(json_of(server.post(&format!("{path}/cancel"), &json!({}))).await.0, 202);
    let all = events(&server, run["id"].as_str().unwrap(), "0").await;
    assert_eq!(all.last().unwrap().1["status"], "cancelled");
    assert_eq!(json_of(server.get("/v1/runs?status=cancelled")).await.1["data"][0]["id"], run["id"]);
}

#[tokio::test]
async fn a_session_continues_where_it_stopped() {
    let provider = acquaintance().await;
    let server = Server::start(&config(&provider));
    let ask = |text: &str, session: &str| {
        let mut body = task(text);
        body["session_id"] = json!(session);
        json_of(server.post("/v1/runs", &body))
    };
    assert_eq!(ask("I am Ada.", "one").await.1["result"]["text"], "Pleased to meet you.");
    assert_eq!(ask("Who am I?", "one").await.1["result"]["text"], "You are Ada.");
    assert_eq!(ask("Who am I?", "other").await.1["result"]["text"], "Pleased to meet you.");
    assert_eq!(json_of(server.get("/v1/runs?session_id=one")).await.1["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn requests_with_the_same_idempotency_key_start_one_run() {
    let provider = provider("Once.").await;
    let server = Server::start(&config(&provider));
    let ask = |text: &str| json_of(server.post("/v1/runs", &task(text)).header("idempotency-key", "k-1"));
    let (first, second) = tokio::join!(ask("Do it."), ask("Do it."));
    assert_eq!(first, second);
    assert_eq!(ask("Do something else.").await.1["error"]["code"], "idempotency_key_reused");
    assert_eq!(provider.call_log().totals().arrived, 1);
}

#[tokio::test]
async fn a_request_may_lower_its_limits() {
    let provider = scripted(WORDS, STALL).await;
    let server = Server::start(&config(&provider));
    let mut body = task("Count.");
    body["timeout"] = json!("50ms");
    let (_, run) = json_of(server.post("/v1/runs", &body)).await;
    assert_eq!(run["result"]["stop"], "deadline", "{run}");
    let mut body = task("Count.");
    body["budget"] = json!({ "usd": "0.0000001" });
    let (_, run) = json_of(server.post("/v1/runs", &body)).await;
    assert_eq!(run["result"]["stop"], "budget", "{run}");
    body["budget"] = json!({ "usdd": "1" });
    assert_eq!(json_of(server.post("/v1/runs", &body)).await.0, 400);
}

#[tokio::test]
async fn runs_are_listed_in_pages_and_usage_by_agent_and_model() {
    let provider = provider("Done.").await;
    let server = Server::start(&config(&provider));
    for _ in 0..3 {
        json_of(server.post("/v1/runs", &task("Do it."))).await;
    }
    let (_, page) = json_of(server.get("/v1/runs?limit=2")).await;
    assert_eq!((page["data"].as_array().unwrap().len(), &page["has_more"]), (2, &json!(true)));
    let last = page["data"][1]["id"].as_str().unwrap();
    let (_, page) = json_of(server.get(&format!("/v1/runs?limit=2&before={last}"))).await;
    assert_eq!((page["data"].as_array().unwrap().len(), &page["has_more"]), (1, &json!(false)));
    assert_eq!(json_of(server.get("/v1/runs?limti=2")).await.0, 400);
    let (_, usage) = json_of(server.get("/v1/usage")).await;
    assert_eq!(usage["total"]["cost"], "0.00027", "{usage}");
    let line = &usage["data"][0];
    assert_eq!(
        (&line["agent"], &line["model"], &line["calls"]),
        (&json!("clerk"), &json!("sim/gpt-5-mini"), &json!(3))
    );
    assert_eq!(json_of(server.get("/v1/usage?agent=unknown")).await.1["data"], json!([]));
}

#[tokio::test]
async fn the_configured_number_of_runs_is_kept() {
    let provider = provider("Done.").await;
    let server = Server::start(&config(&provider).replace("[server]", "[server]\nkept_runs = 2"));
    for _ in 0..3 {
        json_of(server.post("/v1/runs", &task("Do it."))).await;
    }
    let (_, page) = json_of(server.get("/v1/runs")).await;
    assert_eq!((page["data"].as_array().unwrap().len(), &page["has_more"]), (2, &json!(false)));
}

#[tokio::test]
async fn a_failed_run_reports_its_error_and_cost() {
    let provider = scripted("", "[[fault]]\nid = \"x\"\nmatch = {}\ndo = { status = 401 }\n").await;
    let server = Server::start(&config(&provider));
    let (status, run) = json_of(server.post("/v1/runs", &task("Do it."))).await;
    assert_eq!((status, &run["status"]), (503, &json!("failed")), "{run}");
    assert_eq!(run["error"]["code"], "provider_credentials_refused");
}

#[tokio::test]
async fn invalid_run_requests_are_refused_with_exact_messages() {
    let provider = provider("Never asked.").await;
    let server = Server::start(&config(&provider).replace("[server]", "[server]\nmax_body = \"64 KiB\""));
    let with = |field: &str, value: Value| {
        let mut body = task("Do it.");
        body[field] = value;
        body.to_string()
    };
    let deep = format!("{{\"agent\": {}1{}}}", "[".repeat(5_000), "]".repeat(5_000));
    let cases = [
        ("{\"agent\": ".to_owned(), 400, "invalid_json", ""),
        (format!("{}]", task("Do it.")), 400, "invalid_json", ""),
        ("[\"clerk\", \"Do it.\"]".to_owned(), 400, "invalid_request", ""),
        ("null".to_owned(), 400, "invalid_request", ""),
        (deep, 400, "invalid_request", "agent"),
        (with("task", json!("x".repeat(100_000))), 413, "body_too_large", ""),
        (with("task", json!(" \n")), 400, "invalid_request", "task"),
        (with("task", json!({})), 400, "invalid_request", "task"),
        (with("agent", json!("unknown")), 404, "model_not_found", "agent"),
        (with("session_id", json!("")), 400, "invalid_request", "session_id"),
        (with("session_id", json!("x".repeat(257))), 400, "invalid_request", "session_id"),
        (with("timeout", json!("soon")), 400, "invalid_request", "timeout"),
        (with("timeout", json!(-1)), 400, "invalid_request", "timeout"),
        (with("budget", json!([null, null])), 400, "invalid_request", "budget"),
        (with("budget", json!({ "usd": "a lot" })), 400, "invalid_request", "budget.usd"),
        (with("budget", json!({ "turns": -1 })), 400, "invalid_request", "budget.turns"),
        (with("extra", json!(1)), 400, "invalid_request", "extra"),
    ];
    for (body, status, code, param) in cases {
        let start: String = body.chars().take(60).collect();
        let (found, answer) =
            json_of(server.post_raw("/v1/runs", body).header("content-type", "application/json")).await;
        assert_eq!((found, &answer["error"]["code"]), (status, &json!(code)), "{start}: {answer}");
        assert_eq!(answer["error"]["param"].as_str().unwrap_or_default(), param, "{start}: {answer}");
    }
    let invalid_key = server.post("/v1/runs", &task("Do it.")).header("idempotency-key", "a\tb");
    assert_eq!(json_of(invalid_key).await.1["error"]["param"], "idempotency-key");
    assert_eq!(provider.call_log().totals().arrived, 0, "no invalid request reached the provider");
}

#[tokio::test]
async fn invalid_ids_and_filters_are_errors_in_the_usual_form() {
    let provider = provider("Done.").await;
    let server = Server::start(&config(&provider));
    let unknown = "00000000-0000-7000-8000-000000000000";
    for id in ["x", "%00", "..%2f", "é", unknown] {
        for end in ["", "/events"] {
            let (status, answer) = json_of(server.get(&format!("/v1/runs/{id}{end}"))).await;
            assert_eq!((status, &answer["error"]["code"]), (404, &json!("run_not_found")), "{id}{end}: {answer}");
        }
        assert_eq!(json_of(server.post(&format!("/v1/runs/{id}/cancel"), &json!({}))).await.0, 404, "{id}");
    }
    let wrong = [
        "/v1/runs/%FF",
        "/v1/models/%FF",
        "/v1/runs?limit=0",
        "/v1/runs?limit=101",
        "/v1/runs?limit=ten",
        "/v1/runs?status=lost",
        "/v1/runs?before=x",
        "/v1/runs?agent=a&agent=b",
        "/v1/usage?from=yesterday",
    ];
    for path in wrong {
        let (status, answer) = json_of(server.get(path)).await;
        assert_eq!((status, &answer["error"]["type"]), (400, &json!("invalid_request_error")), "{path}: {answer}");
    }
    assert_eq!(json_of(server.get("/readyz?verbose&verbose=1")).await.1["checks"][0]["passed"], true);
    let (_, run) = json_of(server.post("/v1/runs", &task("Do it."))).await;
    let path = format!("/v1/runs/{}/events", run["id"].as_str().unwrap());
    let from = |last: &str| server.get(&path).header("last-event-id", last);
    assert_eq!(json_of(from("latest")).await.0, 400);
    assert_eq!(from("").send().await.unwrap().status(), 200, "an empty id is none");
    for beyond in [u64::MAX.to_string(), format!("{}0", u64::MAX)] {
        let text = from(&beyond).send().await.unwrap().text().await.unwrap();
        assert!(text.starts_with("event: ended\n"), "no event is sent twice: {text}");
    }
}

#[tokio::test]
async fn a_page_of_runs_is_limited_in_bytes() {
    let provider = provider(&"x".repeat(300_000)).await;
    let server = Server::start(&config(&provider));
    for _ in 0..8 {
        assert_eq!(json_of(server.post("/v1/runs", &task("Write."))).await.0, 200);
    }
    let (mut before, mut found, mut pages) = (String::new(), 0, 0);
    loop {
        let (_, page) = json_of(server.get(&format!("/v1/runs?limit=100{before}"))).await;
        assert!(page.to_string().len() < 1_100_000, "{} bytes", page.to_string().len());
        let runs = page["data"].as_array().unwrap();
        (found, pages) = (found + runs.len(), pages + 1);
        if page["has_more"] == false {
            break;
        }
        before = format!("&before={}", runs.last().unwrap()["id"].as_str().unwrap());
    }
    assert_eq!((found, pages), (8, 3));
}
