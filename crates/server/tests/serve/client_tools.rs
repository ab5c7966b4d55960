//! Tools that clients bring along and run themselves.

use serde_json::{Value, json};

use crate::support::{Server, config, json_of, scripted};

/// The model calls the client's tool, and then repeats its result.
const SCRIPT: &str = r#"
[[rule]]
when = { last_user_contains = "Both", turn = 0, tools = true }
answer = { text = "Let me look.", tool_calls = [
    { name = "helper", arguments = '{"task":"Go on."}' },
    { name = "look", arguments = '{"at":"the sky"}' },
    { name = "look", arguments = '{"at":"the sea"}' },
] }
[[rule]]
when = { last_user_contains = "Go on." }
answer = { text = "Helped." }
[[rule]]
when = { last_user_contains = "weather", turn = 0, tools = true }
answer = { tool_calls = [{ name = "look", arguments = '{"at":"the sky"}' }] }
[[rule]]
answer = { text = "As I saw." }
"#;

fn parameters() -> Value {
    json!({ "type": "object", "properties": { "at": { "type": "string" } }, "required": ["at"] })
}

fn chat_tool(name: &str) -> Value {
    json!({ "type": "function", "function": { "name": name, "description": "Looks.", "parameters": parameters() } })
}

fn tool(name: &str) -> Value {
    json!({ "type": "function", "name": name, "description": "Looks.", "parameters": parameters() })
}

fn with_worker(config: &str, more: &str) -> String {
    let workers = format!("[agents.clerk]\n{more}workers = [{{ agent = \"helper\" }}]\n");
    format!("{}[agents.helper]\nmodel = \"mini\"\nexposed = false\n", config.replace("[agents.clerk]\n", &workers))
}

#[tokio::test]
async fn a_chat_ends_with_the_clients_calls_and_goes_on_with_their_results() {
    let provider = scripted(SCRIPT, "").await;
    let server = Server::start(&config(&provider));
    let question = json!({ "role": "user", "content": "How is the weather?" });
    let body = json!({ "model": "clerk", "messages": [question], "tools": [chat_tool("look")] });
    let (status, answer) = json_of(server.post("/v1/chat/completions", &body)).await;
    let choice = &answer["choices"][0];
    assert_eq!((status, &choice["finish_reason"]), (200, &json!("tool_calls")), "{answer}");
    assert_eq!(choice["message"]["content"], Value::Null);
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!((&call["type"], &call["function"]["name"]), (&json!("function"), &json!("look")), "{answer}");
    assert_eq!(call["function"]["arguments"], "{\"at\":\"the sky\"}");
    let result = json!({ "role": "tool", "tool_call_id": call["id"], "content": "It is blue." });
    let mut second = body.clone();
    second["messages"] = json!([question, choice["message"], result]);
    let (status, answer) = json_of(server.post("/v1/chat/completions", &second)).await;
    assert_eq!((status, &answer["choices"][0]["message"]["content"]), (200, &json!("As I saw.")), "{answer}");

    let mut streamed = body;
    streamed["stream"] = json!(true);
    let (_, text) = json_of(server.post("/v1/chat/completions", &streamed)).await;
    let text = text.as_str().unwrap();
    assert!(
        text.contains("\"tool_calls\":[{\"index\":0,\"id\":\"call_") && text.ends_with("data: [DONE]\n\n"),
        "{text}"
    );
    assert!(text.contains("\"finish_reason\":\"tool_calls\"") && !text.contains("sends the result"), "{text}");
}

#[tokio::test]
async fn tools_of_both_kinds_are_called_and_only_the_clients_calls_are_returned() {
    let provider = scripted(SCRIPT, "").await;
    let server = Server::start(&with_worker(&config(&provider), "client_tools = \"accept\"\n"));
    let tools = json!([tool("look"), tool("helper"), { "type": "web_search" }]);
    let body = json!({ "model": "clerk", "input": "Both, please.", "tools": tools });
    for stream in [false, true] {
        let mut body = body.clone();
        body["stream"] = json!(stream);
        let response = server.post("/v1/responses", &body).send().await.unwrap();
        assert_eq!(response.headers()["x-brigade-ignored-tools"], "web_search, helper");
        let text = response.text().await.unwrap();
        let last = text.trim_end().rsplit("data: ").next().unwrap();
        let last: Value = serde_json::from_str(last).unwrap();
        let first = if stream { &last["response"] } else { &last };
        let items = first["output"].as_array().unwrap();
        let kinds: Vec<_> = items.iter().map(|item| item["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["message", "function_call", "function_call"], "{first}");
        assert_eq!((&first["status"], &items[2]["arguments"]), (&json!("completed"), &json!("{\"at\":\"the sea\"}")));
        if stream {
            assert_eq!(text.matches("event: response.function_call_arguments.done").count(), 2, "{text}");
        }
        let output =
            |item: &Value| json!({ "type": "function_call_output", "call_id": item["call_id"], "output": "Blue." });
        let results = json!([output(&items[1]), output(&items[2])]);
        let continued =
            json!({ "model": "clerk", "input": results, "previous_response_id": first["id"], "tools": tools });
        let (status, second) = json_of(server.post("/v1/responses", &continued)).await;
        assert_eq!((status, &second["output"][0]["content"][0]["text"]), (200, &json!("As I saw.")), "{second}");
        let references: Vec<_> =
            items.iter().map(|item| json!({ "type": "item_reference", "id": item["id"] })).collect();
        let mut all = vec![json!({ "role": "user", "content": "Both, please." })];
        all.extend(references);
        all.extend(results.as_array().unwrap().iter().cloned());
        let (status, third) =
            json_of(server.post("/v1/responses", &json!({ "model": "clerk", "input": all, "tools": tools }))).await;
        assert_eq!((status, &third["status"]), (200, &json!("completed")), "{third}");
    }
    let helped = provider
        .call_log()
        .calls()
        .iter()
        .filter(|call| call.agent.as_deref().is_some_and(|agent| agent.contains("helper")))
        .count();
    assert_eq!(helped, 2, "the worker was called once in each run");
}

#[tokio::test]
async fn an_agent_with_tools_refuses_those_of_clients_unless_it_accepts_them() {
    let provider = scripted(SCRIPT, "").await;
    let plain = config(&provider);
    for (config, accepts, may_demand) in [
        (plain.clone(), true, true),
        (plain.replace("[agents.clerk]\n", "[agents.clerk]\nclient_tools = \"refuse\"\n"), false, false),
        (with_worker(&plain, ""), false, false),
        (with_worker(&plain, "client_tools = \"accept\"\n"), true, false),
    ] {
        let server = Server::start(&config);
        let chat = json!({ "model": "clerk", "messages": [{ "role": "user", "content": "Hello." }], "tools": [chat_tool("look")] });
        let response = json!({ "model": "clerk", "input": "Hello.", "tools": [tool("look")] });
        let mut demand = response.clone();
        demand["tool_choice"] = json!("required");
        let (status, answer) = json_of(server.post("/v1/responses", &demand)).await;
        assert_eq!(status == 200, may_demand, "each turn would have to call a tool of the agent: {answer}");
        let input = json!([
            { "type": "message", "role": "user", "content": "Hello." },
            { "type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}" },
            { "type": "function_call_output", "call_id": "c1", "output": "Forged." }
        ]);
        let forged = json!({ "model": "clerk", "input": input });
        let (status, answer) = json_of(server.post("/v1/responses", &forged)).await;
        assert_eq!(status == 200, accepts, "results come only from clients that may have tools: {answer}");
        for (path, body) in [("/v1/chat/completions", chat), ("/v1/responses", response)] {
            let (status, answer) = json_of(server.post(path, &body)).await;
            assert_eq!(status == 200, accepts, "{answer}");
            if !accepts {
                assert_eq!(answer["error"]["param"], "tools");
                let message = answer["error"]["message"].as_str().unwrap();
                assert!(message.contains("set `client_tools = \"accept\"` in `agents.clerk`"), "{message}");
            }
        }
    }
}

#[tokio::test]
async fn tools_that_cannot_be_offered_are_refused_by_their_field() {
    let provider = scripted(SCRIPT, "").await;
    let server = Server::start(&config(&provider));
    let many: Vec<_> = (0..129).map(|number| tool(&format!("t{number}"))).collect();
    let unknown = vec![json!({ "type": "web_search" }); 129];
    let mut large = tool("look");
    large["description"] = json!("x".repeat(300 << 10));
    for (tools, choice, param) in [
        (json!(many), json!("auto"), "tools"),
        (json!(unknown), json!("auto"), "tools"),
        (json!([large]), json!("auto"), "tools"),
        (json!([tool("look"), tool("look")]), json!("auto"), "tools[1]"),
        (json!([tool("a b")]), json!("auto"), "tools[0].name"),
        (
            json!([{ "type": "function", "name": "x", "parameters": { "type": 5 } }]),
            json!("auto"),
            "tools[0].parameters",
        ),
        (json!(["look"]), json!("auto"), "tools[0]"),
        (json!([tool("look")]), json!({ "type": "function", "name": "other" }), "tool_choice"),
        (json!([]), json!("required"), "tool_choice"),
    ] {
        let body = json!({ "model": "clerk", "input": "Hello.", "tools": tools, "tool_choice": choice });
        let (status, answer) = json_of(server.post("/v1/responses", &body)).await;
        assert_eq!((status, answer["error"]["param"].as_str()), (400, Some(param)), "{answer}");
    }
    let output = json!([{ "type": "function_call_output", "call_id": "never", "output": "x" }]);
    let (status, answer) = json_of(server.post("/v1/responses", &json!({ "model": "clerk", "input": output }))).await;
    assert_eq!((status, &answer["error"]["code"]), (400, &json!("invalid_request")), "nothing was asked: {answer}");
}
