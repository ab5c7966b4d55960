//! Scripts: which rule determines the answer, and what the answer contains.

use brigade_rehearsal::{AGENT_HEADER, Script, Simulator, WireDialect};
use serde_json::{Value, json};

use crate::support::{chat_request, client, post_in_memory, with_tool};

const CHAT: WireDialect = WireDialect::OpenaiChat;

async fn answer_to(script: &str, body: &Value) -> Value {
    let simulator = Simulator::builder().script(Script::from_toml(script).unwrap()).build();
    post_in_memory(&simulator, CHAT, body).await.unwrap().json()["choices"][0]["message"].clone()
}

#[tokio::test]
async fn the_first_matching_rule_determines_the_answer() {
    let script = r#"
        [[rule]]
        when   = { model = "another" }
        answer = { text = "wrong model" }
        [[rule]]
        when   = { dialect = "anthropic" }
        answer = { text = "wrong dialect" }
        [[rule]]
        when   = { turn = 1 }
        answer = { text = "wrong turn" }
        [[rule]]
        when   = { tools = true }
        answer = { text = "no tools here" }
        [[rule]]
        when   = { last_user_contains = "capital" }
        answer = { text = "Paris" }
        [[rule]]
        answer = { text = "too late" }
    "#;
    assert_eq!(answer_to(script, &chat_request(CHAT, "the capital of France?")).await["content"], "Paris");
    assert_eq!(answer_to(script, &chat_request(CHAT, "anything else")).await["content"], "too late");
}

#[tokio::test]
async fn a_rule_with_tool_calls_requires_offered_tools() {
    let script = r#"
        [[rule]]
        answer = { tool_calls = [{ name = "search" }] }
        [[rule]]
        answer = { text = "without tools" }
    "#;
    let offered = with_tool(chat_request(CHAT, "x"), CHAT, "search");
    assert_eq!(answer_to(script, &offered).await["tool_calls"][0]["function"]["name"], "search");
    assert_eq!(answer_to(script, &chat_request(CHAT, "x")).await["content"], "without tools");
    let mut forbidden = offered;
    forbidden["tool_choice"] = json!("none");
    assert_eq!(answer_to(script, &forbidden).await["content"], "without tools");
}

#[tokio::test]
async fn placeholders_are_filled_and_arguments_stay_valid_json() {
    let script = r#"
        [[rule]]
        when   = { turn = 0, tools = true }
        answer = { tool_calls = [{ name = "search_{{turn}}", arguments = '{"query":"{{last_user}}"}' }] }
        [[rule]]
        answer = { text = "{{model}} found {{tool_results}}" }
    "#;
    let mut body = with_tool(chat_request(CHAT, "say \"hi\"\n"), CHAT, "search_0");
    let asked = answer_to(script, &body).await;
    let arguments = asked["tool_calls"][0]["function"]["arguments"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(arguments).unwrap(), json!({ "query": "say \"hi\"\n" }));
    let id = asked["tool_calls"][0]["id"].clone();
    let messages = body["messages"].as_array_mut().unwrap();
    messages.push(asked);
    messages.push(json!({ "role": "tool", "tool_call_id": id, "content": "nothing" }));
    assert_eq!(answer_to(script, &body).await["content"], "gpt-5-mini found nothing");
}

#[tokio::test]
async fn turns_are_counted_the_same_in_all_dialects() {
    let script = "[[rule]]\nanswer = { text = \"turn {{turn}}\" }";
    let simulator = Simulator::builder().script(Script::from_toml(script).unwrap()).strict(false).build();
    let history = json!([
        { "role": "user", "content": "one" },
        { "role": "assistant", "content": "two" },
        { "role": "user", "content": "three" },
        { "role": "assistant", "content": "four" },
        { "role": "user", "content": "five" },
    ]);
    let input = json!([
        { "role": "user", "content": "one" },
        { "type": "reasoning", "id": "rs_1", "summary": [] },
        { "type": "function_call", "call_id": "a", "name": "x", "arguments": "{}" },
        { "type": "function_call", "call_id": "b", "name": "x", "arguments": "{}" },
        { "type": "function_call_output", "call_id": "a", "output": "1" },
        { "type": "function_call_output", "call_id": "b", "output": "2" },
        { "role": "assistant", "content": "done" },
        { "role": "user", "content": "go on" },
    ]);
    for (dialect, field, value) in [
        (CHAT, "messages", &history),
        (WireDialect::Anthropic, "messages", &history),
        (WireDialect::OpenaiResponses, "input", &input),
    ] {
        let mut body = chat_request(dialect, "");
        body[field] = value.clone();
        let answer = post_in_memory(&simulator, dialect, &body).await.unwrap();
        assert!(answer.text().contains("turn 2"), "{dialect}: {}", answer.text());
    }
}

#[tokio::test]
async fn an_agent_is_identified_by_header_or_matcher() {
    let script = r#"
        [[agent]]
        name            = "critic"
        system_contains = "You are critic"
        [[rule]]
        answer = { text = "I am <{{agent}}>." }
    "#;
    let mut body = chat_request(CHAT, "x");
    assert_eq!(answer_to(script, &body).await["content"], "I am <>.");
    body["messages"] = json!([
        { "role": "system", "content": "You are critic. Be brief." },
        { "role": "user", "content": "x" },
    ]);
    assert_eq!(answer_to(script, &body).await["content"], "I am <critic>.");

    let simulator = Simulator::builder().script(Script::from_toml(script).unwrap()).build();
    let running = simulator.serve_locally().await.unwrap();
    let url = format!("{}{}", running.base_url(), CHAT.path());
    let request = client().post(url).header(AGENT_HEADER, "desk").body(body.to_string());
    assert!(request.send().await.unwrap().text().await.unwrap().contains("I am <desk>."));
    assert_eq!(running.call_log().calls()[0].agent.as_deref(), Some("desk"));
}

#[tokio::test]
async fn thinking_is_sent_where_the_vendor_sends_it() {
    let script = Script::from_toml("[[rule]]\nanswer = { thinking = \"Hm.\", text = \"Yes.\" }").unwrap();
    let hidden = Simulator::builder().script(script.clone()).build();
    let body = chat_request(CHAT, "x");
    let answer = post_in_memory(&hidden, CHAT, &body).await.unwrap();
    assert!(!answer.text().contains("Hm."));
    assert_eq!(answer.json()["usage"]["completion_tokens_details"]["reasoning_tokens"], 2);
    let shown = Simulator::builder().script(script).reasoning_content(true).build();
    let answer = post_in_memory(&shown, CHAT, &body).await.unwrap().json();
    assert_eq!(answer["choices"][0]["message"]["reasoning_content"], "Hm.");
    let messages =
        post_in_memory(&hidden, WireDialect::Anthropic, &chat_request(WireDialect::Anthropic, "x")).await.unwrap();
    assert!(!messages.text().contains("thinking"));
}

#[tokio::test]
async fn a_reply_can_name_another_model() {
    let script = "[[rule]]\nanswer = { text = \"x\", model = \"gpt-5-mini-2025-08-07\" }";
    let simulator = Simulator::builder().script(Script::from_toml(script).unwrap()).build();
    let answer = post_in_memory(&simulator, CHAT, &chat_request(CHAT, "x")).await.unwrap().json();
    assert_eq!(answer["model"], "gpt-5-mini-2025-08-07");
}
