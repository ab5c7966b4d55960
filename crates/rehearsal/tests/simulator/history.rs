//! Requests that are rejected, with the vendor's messages.

use brigade_rehearsal::{Script, ScriptedAnswer, ScriptedToolCall, Simulator, WireDialect};
use serde_json::{Value, json};

use crate::support::{chat_request, post_in_memory, with_tool};

/// The error message for a body; `None` if it is accepted.
async fn rejection(dialect: WireDialect, body: &Value) -> Option<String> {
    let answer = post_in_memory(&Simulator::builder().build(), dialect, body).await.unwrap();
    if answer.status == 200 {
        return None;
    }
    assert_eq!(answer.status, 400, "{}", answer.text());
    Some(answer.json()["error"]["message"].as_str().unwrap().to_owned())
}

async fn chat(messages: Value) -> Option<String> {
    rejection(WireDialect::OpenaiChat, &json!({ "model": "gpt-5-mini", "messages": messages })).await
}

async fn anthropic(messages: Value) -> Option<String> {
    let mut body = chat_request(WireDialect::Anthropic, "");
    body["messages"] = messages;
    rejection(WireDialect::Anthropic, &body).await
}

async fn responses(input: Value) -> Option<String> {
    rejection(WireDialect::OpenaiResponses, &json!({ "model": "gpt-5-mini", "store": false, "input": input })).await
}

fn user(text: &str) -> Value {
    json!({ "role": "user", "content": text })
}

fn chat_call(id: &str) -> Value {
    let function = json!({ "name": "search", "arguments": "{}" });
    json!({ "id": id, "type": "function", "function": function })
}

fn chat_result(id: &str) -> Value {
    json!({ "role": "tool", "tool_call_id": id, "content": "found" })
}

fn tool_use(id: &str) -> Value {
    json!({ "type": "tool_use", "id": id, "name": "search", "input": {} })
}

fn tool_result(id: &str) -> Value {
    json!({ "type": "tool_result", "tool_use_id": id, "content": "found" })
}

#[tokio::test]
async fn chat_accepts_calls_with_results() {
    let asked = json!({ "role": "assistant", "content": null, "tool_calls": [chat_call("a"), chat_call("b")] });
    assert_eq!(chat(json!([user("x"), asked, chat_result("b"), chat_result("a")])).await, None);
}

#[tokio::test]
async fn a_template_rejects_roles_that_do_not_alternate_and_arguments_that_are_not_an_object() {
    let simulator = Simulator::builder().template(true).build();
    let say = |role: &str, text: &str| json!({ "role": role, "content": text });
    let cut = json!({ "id": "a", "type": "function", "function": { "name": "search", "arguments": "{\"q\":" } });
    let calls = |call: Value| json!({ "role": "assistant", "content": null, "tool_calls": [call] });
    let cases = [
        (json!([say("system", "Be."), say("user", "x"), calls(chat_call("a")), chat_result("a")]), ""),
        (json!([user("x"), user("y")]), "Unexpected role 'user' after role 'user'"),
        (
            json!([user("x"), calls(chat_call("a")), chat_result("a"), user("y")]),
            "Unexpected role 'user' after role 'tool'",
        ),
        (json!([user("x"), say("assistant", "y")]), "Expected last role User or Tool"),
        (json!([user("x"), say("assistant", ""), user("y")]), "must have either content or tool_calls"),
        (json!([user("x"), calls(cut), chat_result("a")]), "Failed to parse tool call arguments as JSON"),
    ];
    for (messages, expected) in cases {
        let body = json!({ "model": "m", "messages": messages });
        let answer = post_in_memory(&simulator, WireDialect::OpenaiChat, &body).await.unwrap();
        assert_eq!(answer.status, if expected.is_empty() { 200 } else { 400 }, "{messages}");
        assert!(answer.text().contains(expected), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_reasoning_model_rejects_a_temperature() {
    for dialect in [WireDialect::OpenaiChat, WireDialect::OpenaiResponses] {
        let mut body = chat_request(dialect, "x");
        body["model"] = json!("gpt-5-mini");
        body["temperature"] = json!(0.5);
        assert!(rejection(dialect, &body).await.unwrap().starts_with("Unsupported parameter: 'temperature'"));
        body["temperature"] = json!(1);
        assert_eq!(rejection(dialect, &body).await, None);
    }
}

#[tokio::test]
async fn chat_rejects_a_call_without_a_result() {
    let asked = json!({ "role": "assistant", "tool_calls": [chat_call("a"), chat_call("b")] });
    let said = chat(json!([user("x"), asked, chat_result("a"), user("go on")])).await.unwrap();
    assert!(said.ends_with("The following tool_call_ids did not have response messages: b"), "{said}");
}

#[tokio::test]
async fn chat_rejects_a_result_without_a_call() {
    let said = chat(json!([user("x"), chat_result("a")])).await.unwrap();
    assert!(said.contains("must be a response to a preceeding message with 'tool_calls'"), "{said}");
    let asked = json!({ "role": "assistant", "tool_calls": [chat_call("a")] });
    let said = chat(json!([user("x"), asked, chat_result("b")])).await.unwrap();
    assert!(said.contains("'tool_call_id' of 'b' not found"), "{said}");
}

#[tokio::test]
async fn chat_rejects_duplicate_ids() {
    let asked = json!({ "role": "assistant", "tool_calls": [chat_call("a"), chat_call("a")] });
    assert!(chat(json!([user("x"), asked, chat_result("a")])).await.is_some());
    let asked = json!({ "role": "assistant", "tool_calls": [chat_call("a")] });
    assert!(chat(json!([user("x"), asked, chat_result("a"), chat_result("a")])).await.is_some());
    let again = json!([user("x"), asked, chat_result("a"), asked, chat_result("a")]);
    assert!(chat(again).await.is_some());
}

#[tokio::test]
async fn chat_rejects_null_content_and_arguments_that_are_not_a_string() {
    assert!(chat(json!([{ "role": "user", "content": null }])).await.is_some());
    let mut call = chat_call("a");
    call["function"]["arguments"] = json!({});
    let asked = json!({ "role": "assistant", "tool_calls": [call] });
    let said = chat(json!([user("x"), asked, chat_result("a")])).await.unwrap();
    assert!(said.contains("expected a string"), "{said}");
}

#[tokio::test]
async fn anthropic_accepts_results_that_follow_their_calls() {
    let asked = json!({ "role": "assistant", "content": [tool_use("a"), tool_use("b")] });
    let text = json!({ "type": "text", "text": "go on" });
    let both = json!({ "role": "user", "content": [tool_result("b"), tool_result("a"), text] });
    assert_eq!(anthropic(json!([user("x"), asked, both])).await, None);
    let apart = [
        json!({ "role": "user", "content": [tool_result("a")] }),
        json!({ "role": "user", "content": [tool_result("b")] }),
    ];
    assert_eq!(anthropic(json!([user("x"), asked, apart[0], apart[1]])).await, None);
}

#[tokio::test]
async fn anthropic_rejects_a_call_whose_result_does_not_follow_at_once() {
    let asked = json!({ "role": "assistant", "content": [tool_use("a"), tool_use("b")] });
    let one = json!({ "role": "user", "content": [tool_result("a")] });
    let said = anthropic(json!([user("x"), asked, one])).await.unwrap();
    assert!(said.starts_with("messages.1: `tool_use` ids were found without `tool_result` blocks"), "{said}");
    assert!(said.contains("immediately after: b. Each"), "{said}");
    let text = json!({ "type": "text", "text": "first" });
    let late = json!({ "role": "user", "content": [text, tool_result("a"), tool_result("b")] });
    assert!(anthropic(json!([user("x"), asked, late])).await.is_some());
}

#[tokio::test]
async fn anthropic_rejects_results_without_calls_and_duplicate_ids() {
    let orphan = json!({ "role": "user", "content": [tool_result("a")] });
    let said = anthropic(json!([orphan])).await.unwrap();
    assert!(said.starts_with("messages.0.content.0: unexpected `tool_use_id`"), "{said}");
    let twins = json!({ "role": "assistant", "content": [tool_use("a"), tool_use("a")] });
    let said = anthropic(json!([user("x"), twins, orphan])).await.unwrap();
    assert_eq!(said, "messages.1.content.1: `tool_use` ids must be unique");
    let asked = json!({ "role": "assistant", "content": [tool_use("a")] });
    let doubled = json!({ "role": "user", "content": [tool_result("a"), tool_result("a")] });
    assert!(anthropic(json!([user("x"), asked, doubled])).await.unwrap().contains("single result"));
}

#[tokio::test]
async fn anthropic_rejects_empty_content_a_wrong_first_role_and_missing_max_tokens() {
    let empty = json!([user("x"), { "role": "assistant", "content": [] }, user("y")]);
    assert!(anthropic(empty).await.unwrap().starts_with("messages.1: all messages must have non-empty"));
    let blank = json!([{ "role": "user", "content": [{ "type": "text", "text": "" }] }]);
    assert_eq!(anthropic(blank).await.unwrap(), "messages: text content blocks must be non-empty");
    let backwards = json!([{ "role": "assistant", "content": "x" }, user("y")]);
    assert!(anthropic(backwards).await.unwrap().contains("first message must use the \"user\" role"));
    let mut body = chat_request(WireDialect::Anthropic, "x");
    body.as_object_mut().unwrap().remove("max_tokens");
    assert_eq!(rejection(WireDialect::Anthropic, &body).await.unwrap(), "max_tokens: Field required");
}

/// The request that sends a reply with thinking and a tool call back, with the result of the call.
async fn follow_up_with_thinking(simulator: &Simulator) -> Value {
    let mut body = with_tool(chat_request(WireDialect::Anthropic, "x"), WireDialect::Anthropic, "search");
    body["max_tokens"] = json!(4000);
    body["thinking"] = json!({ "type": "enabled", "budget_tokens": 2000 });
    let answer = post_in_memory(simulator, WireDialect::Anthropic, &body).await.unwrap().json();
    let id = answer["content"][1]["id"].as_str().unwrap();
    body["messages"] = json!([
        user("x"),
        { "role": "assistant", "content": answer["content"] },
        { "role": "user", "content": [tool_result(id)] },
    ]);
    body
}

#[tokio::test]
async fn anthropic_requires_unchanged_leading_thinking_blocks() {
    let answer = ScriptedAnswer::calls([ScriptedToolCall::new("search", "{}")]).thinking("Hm.");
    let simulator = Simulator::builder().script(Script::always(answer)).build();
    let body = follow_up_with_thinking(&simulator).await;
    assert_eq!(rejection(WireDialect::Anthropic, &body).await, None);

    let mut altered = body.clone();
    altered["messages"][1]["content"][0]["thinking"] = json!("Hmm.");
    let said = rejection(WireDialect::Anthropic, &altered).await.unwrap();
    assert_eq!(said, "messages.1.content.0: Invalid `signature` in `thinking` block");

    let mut unsigned = body.clone();
    unsigned["messages"][1]["content"][0].as_object_mut().unwrap().remove("signature");
    assert!(rejection(WireDialect::Anthropic, &unsigned).await.unwrap().ends_with("signature: Field required"));

    let mut dropped = body;
    dropped["messages"][1]["content"].as_array_mut().unwrap().remove(0);
    let said = rejection(WireDialect::Anthropic, &dropped).await.unwrap();
    assert!(said.contains("Expected `thinking` or `redacted_thinking`, but found `tool_use`"), "{said}");
}

#[tokio::test]
async fn a_call_without_thinking_gets_an_empty_signed_block_if_thinking_is_enabled() {
    let answer = ScriptedAnswer::calls([ScriptedToolCall::new("search", "{}")]);
    let simulator = Simulator::builder().script(Script::always(answer)).build();
    let body = follow_up_with_thinking(&simulator).await;
    assert_eq!(body["messages"][1]["content"][0]["thinking"], "");
    assert_eq!(rejection(WireDialect::Anthropic, &body).await, None);
}

#[tokio::test]
async fn responses_pairs_calls_and_outputs() {
    let call = json!({ "type": "function_call", "call_id": "a", "name": "search", "arguments": "{}" });
    let output = json!({ "type": "function_call_output", "call_id": "a", "output": "found" });
    assert_eq!(responses(json!([user("x"), call, output])).await, None);
    assert_eq!(responses(json!([user("x"), call])).await.unwrap(), "No tool output found for function call a.");
    let orphan = responses(json!([user("x"), output])).await.unwrap();
    assert_eq!(orphan, "No tool call found for function call output with call_id a.");
    assert!(responses(json!([user("x"), call, call, output])).await.is_some());
}

#[tokio::test]
async fn responses_requires_reasoning_with_its_following_item() {
    let answer = ScriptedAnswer::calls([ScriptedToolCall::new("search", "{}")]).thinking("Hm.");
    let simulator = Simulator::builder().script(Script::always(answer)).build();
    let mut body = with_tool(chat_request(WireDialect::OpenaiResponses, "x"), WireDialect::OpenaiResponses, "search");
    body["include"] = json!(["reasoning.encrypted_content"]);
    let answer = post_in_memory(&simulator, WireDialect::OpenaiResponses, &body).await.unwrap().json();
    let (reasoning, call) = (&answer["output"][0], &answer["output"][1]);
    let output = json!({ "type": "function_call_output", "call_id": call["call_id"], "output": "found" });
    assert_eq!(responses(json!([user("x"), reasoning, call, output])).await, None);

    let said = responses(json!([user("x"), reasoning, user("y")])).await.unwrap();
    assert!(said.ends_with("of type 'reasoning' was provided without its required following item."), "{said}");
    let mut altered = reasoning.clone();
    altered["encrypted_content"] = json!("gAAAAABnothing==");
    assert!(responses(json!([user("x"), altered, call, output])).await.unwrap().contains("could not be verified"));
    assert!(responses(json!([user("x"), reasoning, reasoning, call, output])).await.is_some());
}

#[tokio::test]
async fn responses_rejects_parts_of_the_wrong_direction() {
    let wrong = json!([{ "role": "assistant", "content": [{ "type": "input_text", "text": "x" }] }]);
    assert!(responses(wrong).await.unwrap().starts_with("Invalid value: 'input_text'"));
}

/// A history with the reasoning and the call of `reply`, and the call's result.
fn continued(dialect: WireDialect, reply: &Value) -> Value {
    match dialect {
        WireDialect::Anthropic => {
            let id = reply["content"][1]["id"].as_str().unwrap();
            let result = json!({ "role": "user", "content": [tool_result(id)] });
            json!([user("x"), { "role": "assistant", "content": reply["content"] }, result])
        }
        WireDialect::OpenaiChat => {
            let message = &reply["choices"][0]["message"];
            let id = message["tool_calls"][0]["id"].as_str().unwrap();
            json!([user("x"), message, chat_result(id)])
        }
        WireDialect::OpenaiResponses => {
            let (reasoning, call) = (&reply["output"][0], &reply["output"][1]);
            let output = json!({ "type": "function_call_output", "call_id": call["call_id"], "output": "found" });
            json!([user("x"), reasoning, call, output])
        }
    }
}

#[tokio::test]
async fn reasoning_that_was_not_issued_here_is_refused_on_request() {
    let answer = || ScriptedAnswer::calls([ScriptedToolCall::new("search", "{}")]).thinking("Hm.");
    let account = |strict: bool, shown: bool| {
        let builder = Simulator::builder().script(Script::always(answer())).reasoning_content(shown);
        builder.own_reasoning_only(strict).build()
    };
    for (dialect, refusal) in [
        (WireDialect::Anthropic, "messages.1.content.0: Invalid `signature` in `thinking` block"),
        (WireDialect::OpenaiResponses, "could not be verified"),
        (WireDialect::OpenaiChat, "property 'reasoning_content' is unsupported"),
    ] {
        for stream in [false, true] {
            let (own, other, lenient) = (account(true, true), account(true, false), account(false, false));
            let mut body = with_tool(chat_request(dialect, "x"), dialect, "search");
            if dialect == WireDialect::OpenaiResponses {
                body["include"] = json!(["reasoning.encrypted_content"]);
            }
            if dialect == WireDialect::Anthropic {
                body["thinking"] = json!({ "type": "enabled", "budget_tokens": 1024 });
                body["max_tokens"] = json!(4096);
            }
            // The same bytes have the same reply, so the document tells what the stream says, too.
            let reply = post_in_memory(&own, dialect, &body).await.unwrap().json();
            body[if dialect == WireDialect::OpenaiResponses { "input" } else { "messages" }] =
                continued(dialect, &reply);
            body["stream"] = json!(stream);
            let ask = async |simulator: &Simulator| post_in_memory(simulator, dialect, &body).await.unwrap();
            assert_eq!(ask(&own).await.status, 200, "{dialect:?}");
            assert_eq!(ask(&lenient).await.status, 200, "{dialect:?}");
            let refused = ask(&other).await;
            let message = refused.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
            assert!(refused.status == 400 && message.contains(refusal), "{dialect:?}: {message}");
        }
    }
}

#[tokio::test]
async fn a_lenient_simulator_answers_all_readable_requests() {
    let simulator = Simulator::builder().strict(false).build();
    let body = json!({ "model": "gpt-5-mini", "messages": [chat_result("not called")] });
    let answer = post_in_memory(&simulator, WireDialect::OpenaiChat, &body).await.unwrap();
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn errors_have_the_format_of_each_vendor() {
    let simulator = Simulator::builder().build();
    let answer = post_in_memory(&simulator, WireDialect::Anthropic, &json!({ "model": "x" })).await.unwrap();
    let error = answer.json();
    assert_eq!((&error["type"], &error["error"]["type"]), (&json!("error"), &json!("invalid_request_error")));
    assert_eq!(error["request_id"], answer.header("request-id"));
    assert_eq!(answer.header("x-should-retry"), "false");
    let answer =
        post_in_memory(&simulator, WireDialect::OpenaiChat, &json!({ "messages": [user("x")] })).await.unwrap();
    let error = answer.json();
    assert_eq!(error["error"]["message"], "you must provide a model parameter");
    assert_eq!(error["error"]["code"], Value::Null);
    assert!(answer.header("x-request-id").starts_with("req_"));
}
