//! `/v1/responses`.

use serde_json::{Value, json};

use crate::support::{Server, acquaintance, config, json_of, provider, scripted};

/// The events of a stream: their names and data.
async fn events(request: reqwest::RequestBuilder) -> Vec<Value> {
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
    let text = response.text().await.unwrap();
    let event = |frame: &str| {
        let (name, data) = frame.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: ").unwrap(), data["type"], "{frame}");
        data
    };
    let is_event = |frame: &&str| !frame.is_empty() && !frame.starts_with(':');
    let events: Vec<Value> = text.split("\n\n").filter(is_event).map(event).collect();
    let numbers = events.iter().map(|event| event["sequence_number"].as_u64().unwrap());
    assert!(numbers.eq(0..events.len() as u64), "{events:#?}");
    events
}

fn ask(input: &str, fields: &Value) -> Value {
    let mut body = json!({ "model": "clerk", "input": input });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

fn text(response: &Value) -> &str {
    response["output"].as_array().unwrap().last().unwrap()["content"][0]["text"].as_str().unwrap()
}

#[tokio::test]
async fn a_response_has_items_usage_and_cost_and_can_be_read_and_deleted() {
    let provider = provider("Good morning.").await;
    let server = Server::start(&config(&provider));
    let body = ask("Greet me.", &json!({ "instructions": "Be brief.", "metadata": { "a": 1 }, "temperature": 0.5 }));
    let (status, response) = json_of(server.post("/v1/responses", &body)).await;
    assert_eq!((status, response["status"].as_str()), (200, Some("completed")), "{response}");
    assert_eq!(text(&response), "Good morning.");
    assert_eq!(response["usage"]["total_tokens"], 150);
    assert_eq!(response["usage"]["input_tokens_details"]["cached_tokens"], 0);
    assert_eq!((&response["metadata"]["a"], &response["instructions"]), (&json!("1"), &json!("Be brief.")));
    assert_eq!(response["brigade"]["cost_usd"], "0.00009");
    let path = format!("/v1/responses/{}", response["id"].as_str().unwrap());
    assert_eq!(json_of(server.get(&path)).await, (200, response.clone()));
    let (_, items) = json_of(server.get(&format!("{path}/input_items"))).await;
    assert_eq!(items["data"][0]["content"], json!([{ "type": "input_text", "text": "Greet me." }]), "{items}");
    assert_eq!((&items["has_more"], &items["first_id"]), (&json!(false), &items["data"][0]["id"]));
    let (_, run) = json_of(server.get(&format!("/v1/runs/{}", response["brigade"]["run_id"].as_str().unwrap()))).await;
    assert_eq!(run["status"], "ended");
    assert_eq!(json_of(server.delete(&path)).await.1["deleted"], true);
    assert_eq!(json_of(server.get(&path)).await.1["error"]["code"], "response_not_found");
    let unkept = ask("Greet me.", &json!({ "store": false }));
    let (_, unkept) = json_of(server.post("/v1/responses", &unkept)).await;
    assert_eq!(json_of(server.get(&format!("/v1/responses/{}", unkept["id"].as_str().unwrap()))).await.0, 404);
}

#[tokio::test]
async fn a_stream_has_numbered_events_and_the_same_response_as_its_last() {
    let script = r#"
[[rule]]
when = { last_user_contains = "Work.", turn = 0, tools = true }
answer = { text = "Let me ask.", tool_calls = [{ name = "helper", arguments = '{"task":"Go on."}' }] }
[[rule]]
when = { last_user_contains = "Go on." }
answer = { text = "Helped." }
[[rule]]
answer = { text = "It is done." }
"#;
    let provider = scripted(script, "").await;
    let helper = "workers = [{ agent = \"helper\" }]\n[agents.helper]\nmodel = \"mini\"\nexposed = false\n";
    let server = Server::start(&format!("{}{helper}", config(&provider)));
    let events = events(server.post("/v1/responses", &ask("Work.", &json!({ "stream": true })))).await;
    let names: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(
        names[..4],
        ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"]
    );
    let done: Vec<_> = events.iter().filter(|event| event["type"] == "response.output_item.done").collect();
    let said: Vec<_> = done.iter().map(|event| &event["item"]["content"][0]["text"]).collect();
    assert_eq!(said, ["Let me ask.", "It is done."], "a message for each turn, and nothing of the worker: {events:#?}");
    let deltas = events.iter().filter(|event| event["type"] == "response.output_text.delta");
    let streamed: String = deltas.map(|event| event["delta"].as_str().unwrap()).collect();
    assert_eq!(streamed, "Let me ask.It is done.");
    let last = events.last().unwrap();
    assert_eq!(last["type"], "response.completed");
    assert_eq!(last["response"]["output"], json!(done.iter().map(|event| &event["item"]).collect::<Vec<_>>()));
    let path = format!("/v1/responses/{}", last["response"]["id"].as_str().unwrap());
    assert_eq!(json_of(server.get(&path)).await.1, last["response"]);
}

#[tokio::test]
async fn a_response_continues_another_one_over_a_restart_and_without_a_store() {
    let (provider, folder) = (acquaintance().await, tempfile::tempdir().unwrap());
    let store = format!("store = \"{}\"\n", folder.path().join("brigade.db").display());
    for store in [store.as_str(), ""] {
        let config = format!("{store}{}", config(&provider));
        let server = Server::start(&config);
        let (_, first) = json_of(server.post("/v1/responses", &ask("I am Ada.", &json!({})))).await;
        assert_eq!(text(&first), "Pleased to meet you.");
        let server = if store.is_empty() {
            server
        } else {
            drop(server);
            Server::start(&config)
        };
        let continued = ask("Who am I?", &json!({ "previous_response_id": first["id"] }));
        let (status, second) = json_of(server.post("/v1/responses", &continued)).await;
        assert_eq!((status, text(&second)), (200, "You are Ada."), "{second}");
        assert_eq!(second["previous_response_id"], first["id"]);
        let referring = json!({ "model": "clerk", "input": [
            { "role": "user", "content": "I am Ada." },
            { "type": "item_reference", "id": first["output"][0]["id"] },
            { "role": "user", "content": "Who am I?" },
        ] });
        let (_, referred) = json_of(server.post("/v1/responses", &referring)).await;
        assert_eq!(text(&referred), "You are Ada.", "{referred}");
        let unknown = ask("Who am I?", &json!({ "previous_response_id": "resp_00000000000070008000000000000000" }));
        let (status, refused) = json_of(server.post("/v1/responses", &unknown)).await;
        assert_eq!((status, &refused["error"]["param"]), (404, &json!("previous_response_id")), "{refused}");
    }
}

#[tokio::test]
async fn a_whole_conversation_can_be_sent_as_items() {
    let script = r#"
[[rule]]
when = { system_contains = "You are a clerk.\n\nBe brief.\n\nBe kind.", last_user_contains = "And now?" }
answer = { text = "As I said." }
[[rule]]
answer = { text = "What?" }
"#;
    let provider = scripted(script, "").await;
    let server = Server::start(&config(&provider));
    let items = json!([
        { "role": "developer", "content": "Be kind." },
        { "role": "user", "content": "Tell me." },
        { "type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x" },
        { "type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}" },
        { "type": "function_call", "call_id": "c2", "name": "look", "arguments": "{}" },
        { "type": "function_call_output", "call_id": "c1", "output": "Nothing." },
        { "type": "function_call_output", "call_id": "c2", "output": [{ "type": "input_text", "text": "Something." }] },
        { "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": "I did.", "annotations": [] }] },
        { "role": "user", "content": [{ "type": "input_text", "text": "And now?" }] },
    ]);
    let body = json!({ "model": "clerk", "input": items, "instructions": "Be brief.", "store": false });
    let (status, response) = json_of(server.post("/v1/responses", &body)).await;
    assert_eq!((status, text(&response)), (200, "As I said."), "{response}");
}

#[tokio::test]
async fn a_response_in_the_background_is_read_later_and_can_be_cancelled() {
    let stall = "[[fault]]\nid = \"x\"\nmatch = { last_user_contains = \"Wait.\" }\nat = { after_deltas = 1 }\ndo = { stall = \"10m\" }\n";
    let folder = tempfile::tempdir().unwrap();
    let store = format!("store = \"{}\"\n", folder.path().join("brigade.db").display());
    for store in [store.as_str(), ""] {
        let provider = scripted("[[rule]]\nanswer = { text = \"Here you are.\" }\n", stall).await;
        let server = Server::start(&format!("{store}{}", config(&provider)));
        let start = async |input: &str| {
            let (status, response) =
                json_of(server.post("/v1/responses", &ask(input, &json!({ "background": true })))).await;
            assert_eq!((status, response["status"].as_str()), (200, Some("in_progress")), "{response}");
            format!("/v1/responses/{}", response["id"].as_str().unwrap())
        };
        let path = start("Go.").await;
        let mut ended = json!({});
        while ended["status"] != "completed" {
            ended = json_of(server.get(&path)).await.1;
            assert!(["in_progress", "completed"].contains(&ended["status"].as_str().unwrap()), "{ended}");
        }
        assert_eq!((text(&ended), &ended["background"]), ("Here you are.", &json!(true)));
        let path = start("Wait.").await;
        let (status, cancelled) = json_of(server.post(&format!("{path}/cancel"), &json!({}))).await;
        assert_eq!((status, cancelled["status"].as_str()), (200, Some("cancelled")), "{cancelled}");
        assert_eq!(json_of(server.get(&path)).await.1["status"], "cancelled");
    }
}

#[tokio::test]
async fn a_spent_budget_is_an_error_after_which_clients_do_not_try_again() {
    let provider = provider("Never asked.").await;
    let server = Server::start(&format!("{}budget = {{ usd = \"0.000001\" }}\n", config(&provider)));
    for stream in [false, true] {
        let request = server.post("/v1/responses", &ask("Hello?", &json!({ "stream": stream })));
        let response = request.send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["x-should-retry"]),
            (429, &"false".parse().unwrap())
        );
        let error: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!(
            (&error["error"]["type"], &error["error"]["code"]),
            (&json!("insufficient_quota"), &json!("insufficient_quota")),
            "{error}"
        );
        assert_eq!(error["error"]["brigade"]["code"], "budget_exhausted");
    }
    assert_eq!(provider.call_log().totals().arrived, 0);
}

#[tokio::test]
async fn a_stream_that_breaks_ends_with_a_failure_and_keeps_what_was_said() {
    let faults = "[[fault]]\nid = \"x\"\nmatch = {}\nat = { after_deltas = 2 }\ndo = { sse_error = \"overloaded\", then = \"close\" }\n";
    let provider = scripted("[[rule]]\nanswer = { text = \"one two three four five\" }\n", faults).await;
    let server = Server::start(&config(&provider));
    let events = events(server.post("/v1/responses", &ask("Go.", &json!({ "stream": true })))).await;
    let last = events.last().unwrap();
    assert_eq!((&last["type"], &last["response"]["status"]), (&json!("response.failed"), &json!("failed")), "{last}");
    assert_eq!(last["response"]["error"]["code"], "provider_overloaded");
    assert!(events.iter().any(|event| event["type"] == "response.output_item.done"), "{events:#?}");
    assert!("one two three four five".starts_with(text(&last["response"])));
}

#[tokio::test]
async fn a_stream_ends_with_a_failure_when_the_server_stops() {
    let stall = "[[fault]]\nid = \"x\"\nmatch = {}\nat = { after_deltas = 2 }\ndo = { stall = \"10m\" }\n";
    let provider = scripted("[[rule]]\nanswer = { text = \"one two three four five\" }\n", stall).await;
    let drain = config(&provider).replace("[server]", "[server]\ndrain = \"100ms\"");
    let mut server = Server::start(&drain);
    let mut response = server.post("/v1/responses", &ask("Go.", &json!({ "stream": true }))).send().await.unwrap();
    let mut text = String::new();
    while !text.contains("output_text.delta") {
        text.push_str(std::str::from_utf8(&response.chunk().await.unwrap().unwrap()).unwrap());
    }
    server.signal("-TERM");
    while let Ok(Some(chunk)) = response.chunk().await {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    let last = text.trim_end().rsplit("\n\n").next().unwrap();
    assert!(last.starts_with("event: response.failed\n") && last.contains("\"code\":\"stopping\""), "{text}");
    server.exit().await;
}

#[tokio::test]
async fn fields_of_responses_are_honoured_or_refused_by_name() {
    let provider = provider("{\"city\": \"Paris\"}").await;
    let server = Server::start(&config(&provider));
    let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] });
    let form = json!({ "format": { "type": "json_schema", "name": "place", "schema": schema } });
    let harmless = json!({ "text": form, "include": ["reasoning.encrypted_content"], "tools": [], "tool_choice": "auto",
        "parallel_tool_calls": true, "truncation": "auto", "prompt_cache_key": "x", "client_metadata": {},
        "reasoning": { "effort": "low", "summary": "auto" }, "service_tier": "auto", "top_logprobs": 0, "conversation": null });
    let (status, response) = json_of(server.post("/v1/responses", &ask("Where?", &harmless))).await;
    assert_eq!((status, text(&response)), (200, "{\"city\": \"Paris\"}"), "{response}");
    assert_eq!(
        (&response["text"]["format"]["name"], &response["reasoning"]["effort"]),
        (&json!("place"), &json!("low"))
    );
    for (fields, param) in [
        (json!({ "tools": [{ "name": "x" }] }), "tools[0]"),
        (json!({ "tool_choice": "required" }), "tool_choice"),
        (json!({ "truncation": "disabled" }), "truncation"),
        (json!({ "include": ["message.output_text.logprobs"] }), "include[0]"),
        (json!({ "conversation": "conv_1" }), "conversation"),
        (json!({ "prompt": { "id": "p" } }), "prompt"),
        (json!({ "messages": [] }), "messages"),
        (json!({ "max_tool_calls": 3 }), "max_tool_calls"),
        (json!({ "session_id": "s" }), "session_id"),
        (json!({ "background": true, "store": false }), "store"),
        (json!({ "max_output_tokens": 0 }), "max_output_tokens"),
        (json!({ "temperature": 3 }), "temperature"),
        (json!({ "reasoning": { "effort": "maximal" } }), "reasoning.effort"),
        (json!({ "input": [] }), "input"),
        (json!({ "input": " " }), "input"),
        (json!({ "input": [{ "role": "assistant", "content": "x" }] }), "input"),
        (json!({ "input": [{ "type": "item_reference", "id": "msg_1" }] }), "input[0]"),
        (json!({ "input": [{ "type": "computer_call", "id": "x" }] }), "input[0]"),
        (
            json!({ "input": [{ "role": "user", "content": [{ "type": "input_file", "file_id": "f" }] }] }),
            "input[0].content[0]",
        ),
        (json!({ "input": [{ "role": "chef", "content": "x" }] }), "input[0].role"),
    ] {
        let (status, refused) = json_of(server.post("/v1/responses", &ask("Hello?", &fields))).await;
        assert_eq!((status, refused["error"]["param"].as_str()), (400, Some(param)), "{fields}: {refused}");
    }
}
