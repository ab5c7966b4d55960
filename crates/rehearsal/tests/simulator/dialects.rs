//! Replies without faults in each dialect.

use crate::support::{DIALECTS, chat_request, client, post, stream_request, with_tool};
use brigade_rehearsal::{CallState, Script, ScriptedAnswer, ScriptedToolCall, Simulator, WireDialect};
use serde_json::{Value, json};

fn two_calls() -> Script {
    let calls = [
        ScriptedToolCall::new("search", json!({ "query": "kafka" })),
        ScriptedToolCall::new("search", json!({ "query": "sqs" })),
    ];
    let mut answer = ScriptedAnswer::calls(calls).thinking("Two sources are better.").usage(300, 60);
    "I look it up.".clone_into(&mut answer.text);
    answer.usage.cached = Some(100);
    Script::always(answer)
}

#[tokio::test]
async fn without_a_script_the_last_user_message_is_repeated() {
    let simulator = Simulator::builder().build().serve_locally().await.unwrap();
    let base = simulator.base_url();
    let said = |dialect, json: &Value| match dialect {
        WireDialect::OpenaiChat => json["choices"][0]["message"]["content"].clone(),
        WireDialect::OpenaiResponses => json["output"][0]["content"][0]["text"].clone(),
        WireDialect::Anthropic => json["content"][0]["text"].clone(),
    };
    for dialect in DIALECTS {
        let answer = post(&base, dialect, &chat_request(dialect, "hello")).await.unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(said(dialect, &answer.json()), json!("You said: hello"));
    }
}

#[tokio::test]
async fn a_chat_stream_has_role_words_finish_reason_usage_and_done() {
    let simulator = Simulator::builder().build().serve_locally().await.unwrap();
    let body = stream_request(WireDialect::OpenaiChat, "hello");
    let answer = post(&simulator.base_url(), WireDialect::OpenaiChat, &body).await.unwrap();
    let events = answer.events();
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    let text: String = events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, "You said: hello");
    let usage = events.last().unwrap();
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["completion_tokens"], 4);
    assert_eq!(events[events.len() - 2]["choices"][0]["finish_reason"], "stop");
    assert!(answer.text().ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn chat_streams_report_usage_only_on_request() {
    let simulator = Simulator::builder().build().serve_locally().await.unwrap();
    let mut body = stream_request(WireDialect::OpenaiChat, "hello");
    body["stream_options"] = Value::Null;
    let answer = post(&simulator.base_url(), WireDialect::OpenaiChat, &body).await.unwrap();
    assert!(!answer.text().contains("usage"));
}

#[tokio::test]
async fn an_anthropic_stream_has_blocks_for_thinking_text_and_calls() {
    let simulator = Simulator::builder().script(two_calls()).build().serve_locally().await.unwrap();
    let mut body = with_tool(stream_request(WireDialect::Anthropic, "hello"), WireDialect::Anthropic, "search");
    body["max_tokens"] = json!(4000);
    body["thinking"] = json!({ "type": "enabled", "budget_tokens": 2000 });
    let answer = post(&simulator.base_url(), WireDialect::Anthropic, &body).await.unwrap();
    let events = answer.events();
    let blocks: Vec<&str> = events
        .iter()
        .filter(|event| event["type"] == "content_block_start")
        .map(|event| event["content_block"]["type"].as_str().unwrap())
        .collect();
    assert_eq!(blocks, ["thinking", "text", "tool_use", "tool_use"]);
    assert_eq!(events[0]["message"]["usage"]["input_tokens"], 200);
    assert_eq!(events[0]["message"]["usage"]["cache_read_input_tokens"], 100);
    let ending = &events[events.len() - 2];
    assert_eq!(ending["delta"]["stop_reason"], "tool_use");
    assert_eq!(ending["usage"]["output_tokens"], 60);
    assert_eq!(events.last().unwrap()["type"], "message_stop");
    assert!(answer.text().contains("event: ping\ndata: {\"type\": \"ping\"}\n\n"));
    assert!(answer.text().contains("signature_delta"));
}

#[tokio::test]
async fn a_responses_stream_numbers_its_events_and_ends_with_the_complete_response() {
    let simulator = Simulator::builder().script(two_calls()).build().serve_locally().await.unwrap();
    let dialect = WireDialect::OpenaiResponses;
    let mut body = with_tool(stream_request(dialect, "hello"), dialect, "search");
    body["include"] = json!(["reasoning.encrypted_content"]);
    let answer = post(&simulator.base_url(), dialect, &body).await.unwrap();
    let events = answer.events();
    for (at, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], at);
    }
    let last = events.last().unwrap();
    assert_eq!(last["type"], "response.completed");
    let kinds: Vec<&str> =
        last["response"]["output"].as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["reasoning", "message", "function_call", "function_call"]);
    assert!(last["response"]["output"][0]["encrypted_content"].is_string());
    assert_eq!(last["response"]["usage"]["input_tokens_details"]["cached_tokens"], 100);
    assert_eq!(last["response"]["tools"], body["tools"]);
}

#[tokio::test]
async fn parallel_calls_in_a_chat_stream_have_different_ids_and_complete_arguments() {
    let simulator = Simulator::builder().script(two_calls()).build().serve_locally().await.unwrap();
    let dialect = WireDialect::OpenaiChat;
    let body = with_tool(stream_request(dialect, "hello"), dialect, "search");
    let answer = post(&simulator.base_url(), dialect, &body).await.unwrap();
    let mut calls: Vec<(String, String)> = Vec::new();
    for event in answer.events() {
        let delta = &event["choices"][0]["delta"]["tool_calls"][0];
        if let Some(id) = delta["id"].as_str() {
            calls.push((id.to_owned(), String::new()));
        }
        if let Some(piece) = delta["function"]["arguments"].as_str() {
            calls[usize::try_from(delta["index"].as_u64().unwrap()).unwrap()].1.push_str(piece);
        }
    }
    assert_eq!(calls.len(), 2);
    assert_ne!(calls[0].0, calls[1].0);
    assert_eq!(calls[0].1, r#"{"query":"kafka"}"#);
    assert_eq!(calls[1].1, r#"{"query":"sqs"}"#);
}

#[tokio::test]
async fn the_call_log_contains_what_a_vendor_would_bill() {
    let simulator = Simulator::builder().script(two_calls()).build().serve_locally().await.unwrap();
    for dialect in DIALECTS {
        let body = with_tool(chat_request(dialect, "hello"), dialect, "search");
        post(&simulator.base_url(), dialect, &body).await.unwrap();
    }
    simulator.call_log().wait_until_idle().await;
    for call in simulator.call_log().calls() {
        assert_eq!((call.usage.input, call.usage.output), (300, 60));
        assert_eq!((call.status, call.state), (200, CallState::Complete));
    }
    let sum = simulator.call_log().totals().usage;
    assert_eq!((sum.input, sum.cached, sum.output), (900, 300, 180));
}

#[tokio::test]
async fn each_vendor_lists_its_models_in_its_own_format() {
    let simulator = Simulator::builder().build().serve_locally().await.unwrap();
    let url = format!("{}/v1/models", simulator.base_url());
    let get = |key: &'static str| client().get(url.clone()).header(key, "x").send();
    let openai = get("authorization").await.unwrap().text().await.unwrap();
    let anthropic = get("x-api-key").await.unwrap().text().await.unwrap();
    let (openai, anthropic): (Value, Value) =
        (serde_json::from_str(&openai).unwrap(), serde_json::from_str(&anthropic).unwrap());
    assert_eq!(openai["data"][0]["object"], "model");
    assert_eq!(openai["data"][0]["id"], "gpt-5-mini");
    assert_eq!(anthropic["data"][0]["type"], "model");
    assert_eq!(anthropic["has_more"], false);
}

#[tokio::test]
async fn after_shutdown_the_port_refuses_connections() {
    let simulator = Simulator::builder().build().serve_locally().await.unwrap();
    let base = simulator.base_url();
    simulator.shutdown().await;
    let refused = post(&base, WireDialect::OpenaiChat, &chat_request(WireDialect::OpenaiChat, "x")).await;
    assert!(refused.unwrap_err().is_connect());
}
