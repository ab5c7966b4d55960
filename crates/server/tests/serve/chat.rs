//! `POST /v1/chat/completions` without streaming, and `GET /v1/models`.

use serde_json::{Value, json};

use crate::support::{Server, config, json_of, provider, question};

#[tokio::test]
async fn an_answer_has_usage_cost_and_ids() {
    let provider = provider("Good morning.").await;
    let propagating = config(&provider).replace("agent_header = true", "agent_header = true\npropagate_trace = true");
    let server = Server::start(&propagating);
    let request = server.post("/v1/chat/completions", &question("Greet me.")).header("x-request-id", "mine-1");
    let response =
        request.header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-request-id"], "mine-1");
    assert_eq!(response.headers()["x-trace-id"], "4bf92f35");
    let traceparent = response.headers()["traceparent"].to_str().unwrap().to_owned();
    assert!(traceparent.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"), "{traceparent}");
    let body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["model"], "clerk");
    assert_eq!(
        body["choices"][0]["message"],
        json!({ "role": "assistant", "content": "Good morning.", "refusal": null })
    );
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    assert_eq!(body["usage"]["prompt_tokens"], 120);
    assert_eq!(body["usage"]["total_tokens"], 150);
    assert_eq!(body["brigade"]["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(body["brigade"]["cost_usd"], "0.00009");
    server.log_with("[4bf92f35] clerk brigade_core::run: finished: 1 turn").await;
    assert_eq!(provider.call_log().calls()[0].trace.as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
}

#[tokio::test]
async fn a_clients_instructions_follow_the_agents_own() {
    let script = r#"
[[rule]]
when = { system_contains = "You are a clerk.\n\nBe brief.", last_user_contains = "And now?" }
answer = { text = "As I said." }
[[rule]]
answer = { text = "What?" }
"#;
    let provider = crate::support::scripted(script, "").await;
    let server = Server::start(&config(&provider));
    let body = json!({ "model": "clerk", "messages": [
        { "role": "system", "content": "Be brief." },
        { "role": "user", "content": "Tell me." },
        { "role": "assistant", "content": "I did." },
        { "role": "user", "content": [{ "type": "text", "text": "And now?" }] },
    ] });
    let (status, body) = json_of(server.post("/v1/chat/completions", &body)).await;
    assert_eq!((status, &body["choices"][0]["message"]["content"]), (200, &json!("As I said.")), "{body}");
}

#[tokio::test]
async fn invalid_chat_requests_are_refused_with_exact_messages() {
    let provider = provider("Never asked.").await;
    let server = Server::start(&config(&provider).replace("[server]", "[server]\nmax_body = \"64 KiB\""));
    let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    let deep_message = format!("{{\"model\": \"clerk\", \"messages\": [{{\"role\": \"user\", \"content\": {deep}}}]}}");
    let with = |field: &str, value: Value| {
        let mut body = question("Hello?");
        body[field] = value;
        body.to_string()
    };
    let cases = [
        ("{\"model\": ".to_owned(), 400, "invalid_json", ""),
        (deep, 400, "invalid_request", ""),
        (deep_message, 400, "invalid_request", "messages[0].content[0]"),
        (with("messages", json!([])), 400, "invalid_request", "messages"),
        (with("messages", json!([{ "role": "user", "content": 5 }])), 400, "invalid_request", "messages[0].content"),
        (with("messages", json!([{ "role": "chef", "content": "x" }])), 400, "invalid_request", "messages[0].role"),
        (with("messages", json!([{ "role": "tool", "content": "x" }])), 400, "invalid_request", "messages[0]"),
        (
            with("messages", json!([{ "role": "function", "content": "x" }])),
            400,
            "unsupported_parameter",
            "messages[0]",
        ),
        (with("model", json!("unknown")), 404, "model_not_found", "model"),
        (with("tools", json!([{ "type": "function" }])), 400, "invalid_request", "tools[0]"),
        (with("n", json!(2)), 400, "unsupported_parameter", "n"),
        (with("temperature", json!(3)), 400, "invalid_request", "temperature"),
        (with("model", json!("x".repeat(100_000))), 413, "body_too_large", ""),
    ];
    for (body, status, code, param) in cases {
        let start: String = body.chars().take(60).collect();
        let request = server.post_raw("/v1/chat/completions", body).header("content-type", "application/json");
        let (found, answer) = json_of(request).await;
        assert_eq!((found, &answer["error"]["code"]), (status, &json!(code)), "{start}: {answer}");
        assert!(!answer["error"]["message"].as_str().unwrap().is_empty());
        if !param.is_empty() {
            assert_eq!(answer["error"]["param"], param, "{answer}");
        }
    }
    let (status, answer) = json_of(server.post_raw("/v1/chat/completions", question("x").to_string())).await;
    assert_eq!((status, &answer["error"]["code"]), (415, &json!("not_json")));
    assert_eq!(json_of(server.get("/v1/chat/completions")).await.0, 405);
    assert_eq!(json_of(server.get("/v2/anything")).await.1["error"]["code"], "no_such_route");
    assert_eq!(provider.call_log().totals().arrived, 0, "nothing of this reached the provider");
}

#[tokio::test]
async fn a_provider_error_maps_to_a_status_that_clients_do_not_retry() {
    let cases = [
        ("status = 401", 503, "provider_credentials_refused"),
        ("status = 400", 400, "provider_rejected_request"),
        ("status = 503", 503, "provider_overloaded"),
        ("status = 500", 503, "provider_failed"),
        ("body = \"<html>\"\nstatus = 200", 502, "provider_answer_broken"),
    ];
    for (fault, status, code) in cases {
        let faults = format!("[[fault]]\nid = \"x\"\nmatch = {{}}\n[fault.do]\n{fault}\n");
        let provider = crate::support::scripted("", &faults).await;
        let policy = "[models.mini.policy.retry]\nattempts = 1\n";
        let server = Server::start(&format!("{}\n{policy}", config(&provider)));
        let response = server.post("/v1/chat/completions", &question("Hello?")).send().await.unwrap();
        assert_eq!(response.headers()["x-should-retry"], "false");
        let found = response.status().as_u16();
        let text = response.text().await.unwrap();
        assert!(found == status && text.contains(code), "{fault}: {found} {text}");
    }
}

#[tokio::test]
async fn an_unreachable_provider_differs_from_a_failing_one() {
    let gone = provider("Hello.").await;
    let config = config(&gone);
    gone.shutdown().await;
    let server = Server::start(&config);
    let (status, body) = json_of(server.post("/v1/chat/completions", &question("Hello?"))).await;
    assert_eq!((status, body["error"]["code"].as_str()), (503, Some("provider_unreachable")), "{body}");
    let metrics = server.get("/metrics").send().await.unwrap().text().await.unwrap();
    let mut attempts = metrics.lines().filter(|line| line.contains("brigade_attempts_total{"));
    let is_counted = |line: &str| line.contains("outcome=\"provider_unreachable\"") && line.ends_with(" 3");
    assert!(attempts.any(is_counted), "{metrics}");
}

#[tokio::test]
async fn an_exhausted_budget_is_payment_required() {
    let provider = provider("Never asked.").await;
    let server = Server::start(&format!("{}budget = {{ usd = \"0.000001\" }}\n", config(&provider)));
    let (status, body) = json_of(server.post("/v1/chat/completions", &question("Hello?"))).await;
    assert_eq!((status, &body["error"]["code"]), (402, &json!("budget_exhausted")), "{body}");
    assert_eq!(provider.call_log().totals().arrived, 0);
}

#[tokio::test]
async fn an_answer_can_be_required_to_match_a_schema() {
    let provider = provider("{\"city\": \"Paris\"}").await;
    let server = Server::start(&config(&provider));
    let mut body = question("Where?");
    let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] });
    body["response_format"] = json!({ "type": "json_schema", "json_schema": { "name": "place", "schema": schema } });
    let (status, answer) = json_of(server.post("/v1/chat/completions", &body)).await;
    assert_eq!(
        (status, &answer["choices"][0]["message"]["content"]),
        (200, &json!("{\"city\": \"Paris\"}")),
        "{answer}"
    );
    body["response_format"]["json_schema"]["schema"]["required"] = json!(["country"]);
    for is_streamed in [false, true] {
        body["stream"] = json!(is_streamed);
        let response = server.post("/v1/chat/completions", &body).send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["x-should-retry"]),
            (502, &"false".parse().unwrap())
        );
        let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!(answer["error"]["code"], "invalid_output", "{answer}");
        assert_eq!(answer["error"]["output"], "{\"city\": \"Paris\"}", "what there is: {answer}");
    }
}

#[tokio::test]
async fn length_is_the_reason_only_where_length_was_the_reason() {
    let script = r#"
[[rule]]
when = { last_user_contains = "Cut." }
answer = { text = "One two", stop = "length" }
[[rule]]
when = { tools = false }
answer = { text = "This is what I have." }
[[rule]]
answer = { tool_calls = [{ name = "helper", arguments = '{"task":"Go on."}' }] }
"#;
    let provider = crate::support::scripted(script, "").await;
    let helper = "turns = 2\nworkers = [{ agent = \"helper\" }]\n[agents.helper]\nmodel = \"mini\"\nexposed = false\n";
    let server = Server::start(&format!("{}{helper}", config(&provider)));
    let (_, cut) = json_of(server.post("/v1/chat/completions", &question("Cut."))).await;
    assert_eq!((&cut["choices"][0]["finish_reason"], &cut["brigade"]["stop"]), (&json!("length"), &json!("truncated")));
    let (_, limited) = json_of(server.post("/v1/chat/completions", &question("Work."))).await;
    assert_eq!(limited["brigade"]["stop"], "max_turns", "{limited}");
    assert_eq!(limited["choices"][0]["finish_reason"], "stop", "{limited}");
}

#[tokio::test]
async fn models_are_the_exposed_agents() {
    let provider = provider("Hello.").await;
    let hidden = "[agents.helper]\nmodel = \"mini\"\nexposed = false\n";
    let server = Server::start(&format!("{}{hidden}", config(&provider)));
    let (status, list) = json_of(server.get("/v1/models")).await;
    assert_eq!(status, 200);
    let ids: Vec<_> = list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["clerk"]);
    assert_eq!(json_of(server.get("/v1/models/clerk")).await.1["object"], "model");
    assert_eq!(json_of(server.get("/v1/models/helper")).await.0, 404);
}
