use brigade_core::{
    Arguments, Effort, Image, Part, ProviderData, RawJson, Reasoning, TextPart, ToolCall, ToolResult, ToolSet,
    Transcript,
};
use serde_json::{Value, json};

use super::*;
use crate::protocol::maker::Maker;

const MODEL: &str = "gpt-5-mini";
const REASONING: &str = r#"{"id":"rs_1","type":"reasoning","encrypted_content":"gAAA","summary":[]}"#;
const BARE: &str = r#"{"id":"rs_2","type":"reasoning","summary":[]}"#;
const SAID: &str = r#"{"id":"msg_1","type":"message","role":"assistant","phase":"commentary","status":"completed","content":[{"type":"output_text","text":"Hm."}]}"#;

fn encoded(model: &str, request: &ChatRequest) -> Value {
    let model_request = ModelRequest {
        model,
        chat: request,
        settings: &request.settings,
        stream: false,
        maker: Maker::new("a", "https://a.test", "m"),
    };
    serde_json::from_slice(&body(&model_request, None)).unwrap()
}

fn raw(json: &str) -> RawJson {
    RawJson::parse(json.to_owned()).unwrap()
}

fn own_data(json: &str) -> ProviderData {
    ProviderData::new(DIALECT, raw(json))
}

fn foreign_data(json: &str) -> ProviderData {
    ProviderData::new("anthropic-messages", raw(json))
}

fn thinking_part(data: ProviderData) -> Part {
    Part::Thinking(TextPart::new("hm").data(Some(data)))
}

fn text_part(data: ProviderData) -> Part {
    Part::Text(TextPart::new("Hm.").data(Some(data)))
}

fn call(id: &str, data: Option<ProviderData>) -> Part {
    let arguments = Arguments::parse(r#"{"q":"it"}"#.into());
    Part::ToolCall(ToolCall::new(id, "lookup", arguments).data(data))
}

fn result(id: &str, content: Vec<Part>) -> ToolResult {
    ToolResult::new(&ToolCall::new(id, "lookup", Arguments::default()), content)
}

fn answer(parts: Vec<Part>) -> Message {
    Message::new(Role::Assistant, parts)
}

fn request(messages: Vec<Message>) -> ChatRequest {
    let mut transcript = Transcript::new();
    for message in messages {
        transcript.push(message).unwrap();
    }
    ChatRequest::default().transcript(transcript)
}

fn with_extra(mut request: ChatRequest, name: &str, json: &str) -> ChatRequest {
    request.settings.extra.insert(name.to_owned(), raw(json));
    request
}

/// The items that are sent for an answer, between a user message and the results of its calls.
fn sent_back(parts: Vec<Part>, store: bool) -> Vec<Value> {
    let answer = answer(parts);
    let results: Vec<ToolResult> = answer.tool_calls().map(|call| result(&call.id, vec![])).collect();
    let mut messages = vec![Message::user("?"), answer];
    if !results.is_empty() {
        messages.push(Message::tool(results));
    }
    let body = encoded(MODEL, &with_extra(request(messages), "store", if store { "true" } else { "false" }));
    let items = body["input"].as_array().unwrap().iter().skip(1);
    items.filter(|item| item["type"] != "function_call_output").cloned().collect()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_request_has_the_documented_form() {
    let mut request = request(vec![
        Message::user("Where is it?"),
        answer(vec![
            thinking_part(own_data(REASONING)),
            call("call_1", Some(own_data(r#"{"id":"fc_1","status":"completed"}"#))),
        ]),
        Message::tool(vec![result("call_1", vec![Part::text("Here."), Part::text("Or there.")])]),
    ]);
    let schema = raw(r#"{"type":"object","properties":{}}"#);
    let strict = ToolSpec::new("save", "", schema.clone()).strict(true);
    request.instructions = Some(Message::system("Be brief."));
    request.tools = ToolSet::new(vec![ToolSpec::new("lookup", "Looks it up.", schema.clone()), strict]);
    let parameters = json!({ "type": "object", "properties": {} });
    let expected = json!({
        "model": MODEL,
        "store": false,
        "include": ["reasoning.encrypted_content"],
        "instructions": "Be brief.",
        "tools": [
            { "type": "function", "name": "lookup", "description": "Looks it up.", "parameters": parameters, "strict": false },
            { "type": "function", "name": "save", "parameters": parameters, "strict": true },
        ],
        "input": [
            { "role": "user", "content": [{ "type": "input_text", "text": "Where is it?" }] },
            json(REASONING),
            { "type": "function_call", "id": "fc_1", "status": "completed", "call_id": "call_1", "name": "lookup",
              "arguments": "{\"q\":\"it\"}" },
            { "type": "function_call_output", "call_id": "call_1", "output": "Here.\nOr there." },
        ],
    });
    assert_eq!(encoded(MODEL, &request), expected);
}

#[test]
fn earlier_messages_keep_their_bytes_on_the_next_turn() {
    let bytes = |request: &ChatRequest| {
        String::from_utf8(body(
            &ModelRequest {
                model: MODEL,
                chat: request,
                settings: &request.settings,
                stream: true,
                maker: Maker::new("a", "https://a.test", "m"),
            },
            None,
        ))
        .unwrap()
    };
    let mut conversation =
        request(vec![Message::user("One"), answer(vec![text_part(own_data(SAID))]), Message::user("Two")]);
    let earlier = bytes(&conversation);
    assert_eq!(earlier, bytes(&conversation));
    conversation.transcript.push(Message::assistant("Well.")).unwrap();
    conversation.transcript.push(Message::user("Three")).unwrap();
    assert!(bytes(&conversation).starts_with(earlier.strip_suffix("]}").unwrap()));
}

#[test]
fn items_are_sent_back_unchanged_and_in_order() {
    let search = r#"{"id":"ws_1","type":"web_search_call","status":"completed"}"#;
    let items = sent_back(
        vec![thinking_part(own_data(REASONING)), text_part(own_data(SAID)), Part::Opaque(own_data(search))],
        false,
    );
    assert_eq!(items, [json(REASONING), json(SAID), json(search)]);
}

#[test]
fn reasoning_without_a_following_item_is_left_out() {
    assert_eq!(sent_back(vec![text_part(own_data(SAID)), thinking_part(own_data(REASONING))], true), [json(SAID)]);
    assert_eq!(sent_back(vec![thinking_part(own_data(REASONING))], true), Vec::<Value>::new());
    let unsaid = Part::text("");
    assert_eq!(sent_back(vec![thinking_part(own_data(REASONING)), unsaid], true), Vec::<Value>::new());
}

#[test]
fn without_its_reasoning_an_item_is_sent_without_id() {
    let data = || Some(own_data(r#"{"id":"fc_1","status":"completed"}"#));
    let parts = || vec![thinking_part(own_data(BARE)), text_part(own_data(SAID)), call("call_1", data())];
    let stored = sent_back(parts(), true);
    assert_eq!((&stored[0], &stored[1]["id"], &stored[2]["id"]), (&json(BARE), &json!("msg_1"), &json!("fc_1")));
    let stateless = sent_back(parts(), false);
    assert_eq!(stateless.len(), 2);
    assert_eq!((&stateless[0]["id"], &stateless[1]["id"]), (&Value::Null, &Value::Null));
    assert_eq!((&stateless[0]["phase"], &stateless[1]["status"]), (&json!("commentary"), &json!("completed")));
}

#[test]
fn readable_reasoning_of_open_models_is_sent_back() {
    let open = r#"{"type":"reasoning","summary":[],"content":[{"type":"reasoning_text","text":"hm"}]}"#;
    assert_eq!(
        sent_back(vec![thinking_part(own_data(open)), text_part(own_data(SAID))], false),
        [json(open), json(SAID)]
    );
}

#[test]
fn data_of_another_provider_is_dropped_and_long_ids_are_shortened() {
    let long = "x".repeat(70);
    let parts = vec![
        thinking_part(foreign_data("{}")),
        Part::Opaque(foreign_data(r#"{"type":"server_tool_use"}"#)),
        text_part(foreign_data("{}")),
        call(&long, Some(foreign_data(r#"{"caller":1}"#))),
    ];
    let messages = vec![Message::user("?"), answer(parts), Message::tool(vec![result(&long, vec![])])];
    let body = encoded(MODEL, &request(messages));
    let input = body["input"].as_array().unwrap();
    let content = json!([{ "type": "output_text", "text": "Hm." }]);
    assert_eq!(input[1], json!({ "type": "message", "role": "assistant", "content": content }));
    let id = input[2]["call_id"].as_str().unwrap();
    assert_eq!(id.len(), 64);
    assert_eq!(
        input[2],
        json!({ "type": "function_call", "call_id": id, "name": "lookup", "arguments": "{\"q\":\"it\"}" })
    );
    assert_eq!(input[3]["call_id"], id);
}

#[test]
fn images_are_sent_in_messages_and_results() {
    let picture = || Part::Image(Image::Base64 { media_type: "image/png".into(), data: "iVBO".into() });
    let address = Part::Image(Image::Url("https://example.com/a.png".into()));
    let file = Part::Opaque(own_data(r#"{"type":"input_file","file_id":"f_1"}"#));
    let messages = vec![
        Message::new(Role::User, vec![picture(), address, file]),
        answer(vec![call("c", None)]),
        Message::tool(vec![result("c", vec![Part::text("See."), picture()])]),
    ];
    let body = encoded(MODEL, &request(messages));
    let inline = json!({ "type": "input_image", "image_url": "data:image/png;base64,iVBO" });
    assert_eq!(
        body["input"][0]["content"],
        json!([
            inline,
            { "type": "input_image", "image_url": "https://example.com/a.png" },
            { "type": "input_file", "file_id": "f_1" },
        ])
    );
    assert_eq!(body["input"][2]["output"], json!([{ "type": "input_text", "text": "See." }, inline]));
}

#[test]
fn a_conversation_kept_by_the_provider_is_not_sent_again() {
    let messages = vec![
        Message::user("?"),
        answer(vec![call("c", None)]),
        Message::tool(vec![result("c", vec![Part::text("ok")])]),
        Message::user("Go on."),
    ];
    let body = encoded(MODEL, &with_extra(request(messages), "previous_response_id", "\"resp_1\""));
    let kinds: Vec<&str> =
        body["input"].as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap_or("user")).collect();
    assert_eq!(kinds, ["function_call_output", "user"]);
    assert_eq!((&body["previous_response_id"], &body["store"]), (&json!("resp_1"), &Value::Null));
}

#[test]
fn settings_become_fields() {
    let mut request = request(vec![Message::user("?")]);
    let schema = raw(r#"{"type":"object"}"#);
    request.tools = ToolSet::new(vec![ToolSpec::new("f", "", schema.clone())]);
    request.settings = Settings::default()
        .tool_choice(ToolChoice::Named("f".into()))
        .parallel_tool_calls(Some(false))
        .output(Some(OutputSchema::new("answer", schema).strict(true)))
        .max_output_tokens(Some(5))
        .temperature(Some(0.5))
        .top_p(Some(0.9))
        .stop_sequences(vec!["END".into()])
        .seed(Some(1))
        .reasoning(Some(Reasoning::Effort(Effort::Max)))
        .prompt_cache_key(Some("k".into()))
        .service_tier(Some("flex".into()))
        .user(Some("u".into()))
        .metadata([("team".to_owned(), "a".to_owned())].into())
        .extra(
            [("tools".to_owned(), raw(r#"[{"type":"web_search"}]"#)), ("truncation".to_owned(), raw("\"auto\""))]
                .into(),
        );
    let model_request = ModelRequest {
        model: MODEL,
        chat: &request,
        settings: &request.settings,
        stream: true,
        maker: Maker::new("a", "https://a.test", "m"),
    };
    let mut body: Value = serde_json::from_slice(&body(&model_request, Some("auto"))).unwrap();
    body.as_object_mut().unwrap().remove("input");
    let expected = json!({
        "model": MODEL, "stream": true, "store": false, "include": ["reasoning.encrypted_content"],
        "max_output_tokens": 16, "temperature": 0.5, "top_p": 0.9,
        "reasoning": { "effort": "high", "summary": "auto" },
        "text": { "format": { "type": "json_schema", "name": "answer", "strict": true, "schema": { "type": "object" } } },
        "tools": [
            { "type": "function", "name": "f", "parameters": { "type": "object" }, "strict": false },
            { "type": "web_search" },
        ],
        "tool_choice": { "type": "function", "name": "f" }, "parallel_tool_calls": false,
        "prompt_cache_key": "k", "service_tier": "flex", "user": "u", "metadata": { "team": "a" }, "truncation": "auto",
    });
    // The last digits of a number of single precision do not matter.
    body["top_p"] = json!(0.9);
    assert_eq!(body, expected);
}

#[test]
fn models_that_cannot_reason_get_no_reasoning_fields() {
    let mut request = request(vec![Message::user("?")]);
    request.settings.reasoning = Some(Reasoning::Budget(4_000));
    for model in ["gpt-4.1", "openai/gpt-4o-mini", "ft:gpt-4o:team", "gpt-5-chat-latest"] {
        let body = encoded(model, &request);
        assert_eq!((&body["reasoning"], &body["include"]), (&Value::Null, &Value::Null), "{model}");
    }
    assert_eq!(encoded("openai.gpt-5.5", &request)["reasoning"], json!({ "effort": "low" }));
}
