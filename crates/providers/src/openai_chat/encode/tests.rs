use brigade_core::{
    Arguments, ChatRequest, Image, Message, Part, ProviderData, RawJson, Role, Settings, TextPart, ToolCall,
    ToolResult, ToolSet, Transcript,
};
use serde_json::{Value, json};

use super::*;
use crate::{OpenAi, Server};

fn encoded(server: Server, request: &ChatRequest, stream: bool) -> Value {
    let model = OpenAi::builder().quirks(server.quirks()).build().unwrap().model("m");
    serde_json::from_slice(&model.encode(request, stream).unwrap()).unwrap()
}

fn messages(server: Server, messages: Vec<Message>) -> Value {
    let mut transcript = Transcript::new();
    for message in messages {
        transcript.push(message).unwrap();
    }
    let request = ChatRequest::default().transcript(transcript);
    encoded(server, &request, false)["messages"].clone()
}

fn with_settings(server: Server, settings: Settings) -> Value {
    let tools = ToolSet::new(vec![ToolSpec::new("f", "Does it.", RawJson::empty_object())]);
    encoded(server, &ChatRequest::new("?").settings(settings).tools(tools), false)
}

fn data(dialect: &'static str, raw: &Value) -> ProviderData {
    ProviderData::new(dialect, RawJson::of(raw).unwrap())
}

fn call(id: &str, arguments: &str) -> Part {
    Part::ToolCall(ToolCall::new(id, "f", Arguments::parse(arguments.into())))
}

fn result(id: &str, content: Vec<Part>) -> ToolResult {
    ToolResult::new(&ToolCall::new(id, "f", Arguments::default()), content)
}

#[test]
fn a_minimal_request_is_small_and_a_stream_requests_usage() {
    let mut request = ChatRequest::new("Hi");
    request.instructions = Some(Message::system("Be brief."));
    let plain = json!({ "model": "m", "messages": [
        { "role": "system", "content": "Be brief." }, { "role": "user", "content": "Hi" },
    ] });
    assert_eq!(encoded(Server::OpenAi, &request, false), plain);
    let streamed = encoded(Server::OpenAi, &request, true);
    assert_eq!((&streamed["stream"], &streamed["stream_options"]), (&json!(true), &json!({ "include_usage": true })));
    assert_eq!(encoded(Server::Mistral, &request, true)["stream_options"], Value::Null);
}

#[test]
fn an_invented_tool_name_is_sent_back_in_a_form_that_the_api_accepts() {
    let named = |name: &str| {
        let call = ToolCall::new("a", name, Arguments::parse("{}".into()));
        let history = vec![Message::user("?"), Message::new(Role::Assistant, vec![Part::ToolCall(call)])];
        let written = messages(Server::OpenAi, history);
        written[1]["tool_calls"][0]["function"]["name"].as_str().unwrap().to_owned()
    };
    assert_eq!(named("look_up-2"), "look_up-2");
    assert!(named("delete all!").starts_with("delete_all_"));
    for name in ["", "übung", "x.y", &"n".repeat(65)] {
        let sent = named(name);
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        assert!((1..=64).contains(&sent.len()) && sent.bytes().all(fits), "{name:?} is sent as {sent:?}");
    }
}

#[test]
fn parallel_calls_have_one_result_message_each() {
    let picture = Part::Image(Image::Base64 { media_type: "image/png".into(), data: "AAAA".into() });
    let calls = Message::new(Role::Assistant, vec![Part::text("So."), call("a", r#"{"x": 1}"#), call("b", "{\"x\":")]);
    let results = Message::tool(vec![result("a", vec![Part::text("1"), picture]), result("b", vec![Part::text("no")])]);
    let written = messages(Server::OpenAi, vec![Message::user("?"), calls, results]);
    let expected = json!([
        { "role": "user", "content": "?" },
        { "role": "assistant", "content": "So.", "tool_calls": [
            { "id": "a", "type": "function", "function": { "name": "f", "arguments": "{\"x\": 1}" } },
            { "id": "b", "type": "function", "function": { "name": "f", "arguments": r#"{"_malformed":"{\"x\":"}"# } },
        ] },
        { "role": "tool", "tool_call_id": "a", "content": "1" },
        { "role": "tool", "tool_call_id": "b", "content": "no" },
        { "role": "user", "content": [{ "type": "image_url", "image_url": { "url": "data:image/png;base64,AAAA" } }] },
    ]);
    assert_eq!(written, expected);
}

#[test]
fn a_call_of_a_free_text_tool_is_sent_back_as_one() {
    let free = ToolCall::new("c", "code", Arguments::parse("print(".into()))
        .data(Some(data(DIALECT, &json!({ "custom": true }))));
    let sent = messages(
        Server::OpenAi,
        vec![
            Message::user("?"),
            Message::new(Role::Assistant, vec![Part::ToolCall(free)]),
            Message::tool(vec![result("c", vec![])]),
        ],
    );
    let custom = json!({ "name": "code", "input": "print(" });
    assert_eq!(sent[1]["tool_calls"], json!([{ "type": "custom", "id": "c", "custom": custom }]));
}

#[test]
fn reasoning_is_sent_back_only_in_fields_that_the_server_accepts() {
    let fields = json!({ "reasoning": "a", "reasoning_content": "b", "reasoning_details": [{ "index": 0 }] });
    let own = Part::Thinking(TextPart::new("b").data(Some(data(DIALECT, &fields))));
    let foreign = Part::Thinking(TextPart::new("c").data(Some(data("anthropic-messages", &json!({ "type": "x" })))));
    let answer = Message::new(Role::Assistant, vec![own, foreign, Part::text("ok")]);
    let sent = |server| messages(server, vec![Message::user("?"), answer.clone()])[1].clone();
    assert_eq!(sent(Server::OpenAi), json!({ "role": "assistant", "content": "ok" }));
    assert_eq!(sent(Server::Groq), json!({ "role": "assistant", "content": "ok", "reasoning": "a" }));
    assert_eq!(sent(Server::DeepSeek), json!({ "role": "assistant", "content": "ok", "reasoning_content": "b" }));
    assert_eq!(sent(Server::OpenRouter)["reasoning_details"], json!([{ "index": 0 }]));
}

#[test]
fn reasoning_within_the_content_is_sent_back_only_to_its_server() {
    let thinking = json!({ "type": "thinking", "thinking": [{ "type": "text", "text": "hm" }] });
    let parts = vec![Part::Thinking(TextPart::new("hm").data(Some(data(DIALECT, &thinking)))), Part::text("ok")];
    let answer = Message::new(Role::Assistant, parts);
    let sent = |server| messages(server, vec![Message::user("?"), answer.clone()])[1]["content"].clone();
    assert_eq!(sent(Server::Mistral), json!([thinking, { "type": "text", "text": "ok" }]));
    assert_eq!(sent(Server::OpenRouter), json!("ok"));
}

#[test]
fn ids_that_a_server_refuses_are_replaced_alike_in_call_and_result() {
    let long = "x".repeat(65);
    let history = vec![
        Message::user("?"),
        Message::new(Role::Assistant, vec![call(&long, "{}")]),
        Message::tool(vec![result(&long, vec![])]),
    ];
    for server in [Server::OpenAi, Server::Vllm, Server::Mistral] {
        let written = messages(server, history.clone());
        let id = written[1]["tool_calls"][0]["id"].as_str().unwrap();
        assert!(id.len() <= 40, "{id}");
        assert_eq!(written[2]["tool_call_id"], id);
    }
    assert_eq!(messages(Server::Mistral, history)[2]["tool_call_id"].as_str().unwrap().len(), 9);
}

#[test]
fn an_assistant_message_is_never_empty() {
    let dropped = Part::Thinking(TextPart::new("hm"));
    let written = messages(Server::OpenAi, vec![Message::user("?"), Message::new(Role::Assistant, vec![dropped])]);
    assert_eq!(written[1], json!({ "role": "assistant", "content": "" }));
}

#[test]
fn settings_have_the_field_names_of_each_server() {
    let settings = Settings::default()
        .max_output_tokens(Some(9))
        .tool_choice(ToolChoice::Required)
        .reasoning(Some(Reasoning::Budget(2_000)))
        .temperature(Some(0.1));
    let sent = |server| with_settings(server, settings.clone());
    let openai = sent(Server::OpenAi);
    assert_eq!(openai["max_completion_tokens"], 9);
    assert_eq!(openai["reasoning_effort"], "low");
    assert_eq!(openai["temperature"].to_string(), "0.1");
    assert_eq!(openai["tool_choice"], "required");
    assert_eq!(sent(Server::Mistral)["tool_choice"], "any");
    assert_eq!(sent(Server::Mistral)["max_tokens"], 9);
    assert_eq!(sent(Server::OpenRouter)["reasoning"], json!({ "max_tokens": 2_000 }));
    assert_eq!(sent(Server::DeepSeek)["thinking"], json!({ "type": "enabled" }));
    let named = Settings::default().tool_choice(ToolChoice::Named("f".into()));
    let choice = with_settings(Server::OpenAi, named)["tool_choice"].clone();
    assert_eq!(choice, json!({ "type": "function", "function": { "name": "f" } }));
}

#[test]
fn a_schema_is_added_to_the_prompt_if_the_server_does_not_enforce_it() {
    let schema = RawJson::parse(r#"{"type":"object"}"#.into()).unwrap();
    let output = Some(OutputSchema::new("answer", schema).strict(true));
    let settings = Settings::default().output(output);
    let format = json!({ "type": "json_schema", "json_schema": {
        "name": "answer", "schema": { "type": "object" }, "strict": true,
    } });
    assert_eq!(with_settings(Server::OpenAi, settings.clone())["response_format"], format);
    let prompted = with_settings(Server::DeepSeek, settings);
    assert_eq!(prompted["response_format"], json!({ "type": "json_object" }));
    assert!(prompted["messages"][0]["content"].as_str().unwrap().ends_with(r#"JSON Schema: {"type":"object"}"#));
    assert_eq!(
        (&prompted["messages"][0]["role"], &prompted["messages"][1]["role"]),
        (&json!("system"), &json!("user"))
    );
}

#[test]
fn the_order_of_a_schema_is_kept_and_extra_fields_win() {
    let schema = RawJson::parse(r#"{"type":"object","properties":{"b":{},"a":{}}}"#.into()).unwrap();
    let extra = |name: &str, json: &str| (name.to_owned(), RawJson::parse(json.to_owned()).unwrap());
    let settings = Settings::default()
        .temperature(Some(1.0))
        .extra([extra("temperature", "0.5"), extra("top_k", "3"), extra("stream", "true")].into());
    let tools = ToolSet::new(vec![ToolSpec::new("f", "", schema)]);
    let request = ChatRequest::new("?").settings(settings).tools(tools);
    let body = OpenAi::builder().build().unwrap().model("m").encode(&request, false).unwrap();
    let body = String::from_utf8(body).unwrap();
    assert!(body.contains(r#""properties":{"b":{},"a":{}}"#), "{body}");
    assert!(body.ends_with(r#""temperature":0.5,"top_k":3}"#), "{body}");
}

#[test]
fn a_message_is_encoded_once_for_each_variant() {
    let message = Message::user("hello");
    let other = Quirks { system_role: "developer", ..Quirks::default() };
    assert_ne!(other.variant(), Quirks::default().variant());
    let first = messages(Server::OpenAi, vec![message.clone()]);
    let written = message.write_encoded(
        Dialect { name: DIALECT, variant: Quirks::default().variant() },
        &mut Vec::new(),
        |_, _| Err("again"),
    );
    assert_eq!((written, &first[0]["content"]), (Ok(()), &json!("hello")));
}

#[test]
fn instructions_are_encoded_once_for_each_role_that_servers_give_them() {
    let request = ChatRequest::new("Hi").instructions(Some(Message::system("Be brief.")));
    for system_role in ["system", "developer"] {
        let quirks = Quirks { system_role, ..Quirks::default() };
        let variant = quirks.variant();
        let model = OpenAi::builder().quirks(quirks).build().unwrap().model("m");
        for _ in 0..2 {
            let body: Value = serde_json::from_slice(&model.encode(&request, false).unwrap()).unwrap();
            assert_eq!(body["messages"][0], json!({ "role": system_role, "content": "Be brief." }));
        }
        let instructions = request.instructions.as_ref().unwrap();
        let dialect = Dialect { name: DIALECT, variant };
        assert_eq!(instructions.write_encoded(dialect, &mut Vec::new(), |_, _| Err("again")), Ok(()));
    }
}
