use brigade_core::{
    Arguments, Effort, Image, Part, ProviderData, RawJson, Reasoning, TextPart, ToolCall, ToolResult, ToolSet,
    Transcript,
};
use serde_json::Value;

use super::*;
use crate::anthropic_answer_tokens;
use crate::protocol::maker::Maker;

const MODEL: &str = "claude-sonnet-4-5";

/// The default settings of a model.
fn defaults(model: &str) -> Settings {
    Settings::default().answer_tokens(Some(anthropic_answer_tokens(model)))
}

fn bytes(model: &str, request: &ChatRequest, stream: bool) -> Vec<u8> {
    let settings = request.settings.over(&defaults(model));
    body(&ModelRequest {
        model,
        chat: request,
        settings: &settings,
        stream,
        maker: Maker::new("a", "https://a.test", "m"),
    })
}

fn encoded(model: &str, request: &ChatRequest) -> Value {
    serde_json::from_slice(&bytes(model, request, false)).unwrap()
}

fn raw(json: &str) -> RawJson {
    RawJson::parse(json.to_owned()).unwrap()
}

fn own_data(json: &str) -> ProviderData {
    ProviderData::new(DIALECT, raw(json))
}

fn foreign_data(json: &str) -> ProviderData {
    ProviderData::new("openai-responses", raw(json))
}

fn call(id: &str, name: &str, arguments: &str) -> ToolCall {
    ToolCall::new(id, name, Arguments::parse(arguments.into()))
}

fn result(id: &str, text: &str) -> ToolResult {
    ToolResult::new(&call(id, "lookup", "{}"), vec![Part::text(text)])
}

fn request(messages: Vec<Message>) -> ChatRequest {
    let mut transcript = Transcript::new();
    for message in messages {
        transcript.push(message).unwrap();
    }
    ChatRequest::default().transcript(transcript)
}

fn assistant(parts: Vec<Part>) -> Message {
    Message::new(Role::Assistant, parts)
}

fn tools() -> ToolSet {
    let schema = raw(r#"{"type":"object","properties":{"q":{"type":"string"}}}"#);
    let strict = ToolSpec::new("save", "", schema.clone()).strict(true);
    ToolSet::new(vec![ToolSpec::new("lookup", "Looks a word up.", schema), strict])
}

fn without_cache_marks() -> Settings {
    Settings::default().prompt_cache(PromptCache::Off)
}

/// A user message, a tool call and its result.
fn conversation() -> Vec<Message> {
    vec![
        Message::user("Where is it?"),
        assistant(vec![
            Part::Thinking(
                TextPart::new("hm").data(Some(own_data(r#"{"type":"thinking","thinking":"hm","signature":"s"}"#))),
            ),
            Part::ToolCall(call("toolu_1", "lookup", r#"{"q":"it"}"#)),
        ]),
        Message::tool(vec![result("toolu_1", "Here.")]),
    ]
}

#[test]
fn a_request_has_the_documented_form() {
    let mut request = request(conversation());
    request.instructions = Some(Message::system("Be brief."));
    request.tools = tools();
    let mark = json!({ "type": "ephemeral" });
    let schema = json!({ "type": "object", "properties": { "q": { "type": "string" } } });
    let expected = json!({
        "model": MODEL,
        "max_tokens": 8192,
        "tools": [
            { "name": "lookup", "description": "Looks a word up.", "input_schema": schema },
            { "name": "save", "input_schema": schema, "strict": true, "cache_control": mark },
        ],
        "system": [{ "type": "text", "text": "Be brief.", "cache_control": mark }],
        "messages": [
            { "role": "user", "content": [{ "type": "text", "text": "Where is it?", "cache_control": mark }] },
            { "role": "assistant", "content": [
                { "type": "thinking", "thinking": "hm", "signature": "s" },
                { "type": "tool_use", "id": "toolu_1", "name": "lookup", "input": { "q": "it" } },
            ] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "toolu_1", "cache_control": mark,
                  "content": [{ "type": "text", "text": "Here." }] },
            ] },
        ],
    });
    assert_eq!(encoded(MODEL, &request), expected);
    let streamed: Value = serde_json::from_slice(&bytes(MODEL, &request, true)).unwrap();
    assert_eq!(streamed["stream"], true);
}

#[test]
fn bytes_before_the_cache_marks_stay_the_same_on_the_next_turn() {
    let without_marks = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).unwrap();
        text.replace(r#","cache_control":{"type":"ephemeral"}"#, "")
    };
    let mut messages = conversation();
    let mut earlier = request(messages.clone());
    earlier.tools = tools();
    messages.push(Message::assistant("It is here."));
    messages.push(Message::user("Thanks."));
    let mut later = request(messages);
    later.tools = tools();
    let (earlier, later) = (without_marks(bytes(MODEL, &earlier, true)), without_marks(bytes(MODEL, &later, true)));
    let shared = earlier.strip_suffix("]}]}").unwrap();
    assert!(later.starts_with(shared), "{earlier}\n{later}");
}

#[test]
fn cached_bytes_have_no_mark_and_the_mark_moves() {
    let first = request(conversation());
    let once = bytes(MODEL, &first, false);
    assert_eq!(once, bytes(MODEL, &first, false));
    let mut longer = first.clone();
    for message in
        [Message::assistant("Here."), Message::user("And that?"), Message::assistant("There."), Message::user("Ah.")]
    {
        longer.transcript.push(message).unwrap();
    }
    let body = encoded(MODEL, &longer);
    let marked: Vec<String> = body["messages"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
        .filter(|(_, message)| message.to_string().contains("cache_control"))
        .map(|(index, _)| index.to_string())
        .collect();
    assert_eq!(marked, ["4", "6"]);
}

#[test]
fn cache_marks_can_last_an_hour_or_be_left_out() {
    let mut request = request(conversation());
    request.settings.prompt_cache = PromptCache::OneHour;
    let text = encoded(MODEL, &request).to_string();
    assert_eq!(text.matches(r#"{"ttl":"1h","type":"ephemeral"}"#).count(), 2);
    request.settings.prompt_cache = PromptCache::Off;
    assert!(!encoded(MODEL, &request).to_string().contains("cache_control"));
}

#[test]
fn results_come_first_and_the_users_text_follows_in_the_same_message() {
    let mut messages = conversation();
    messages.push(Message::user("Well?"));
    messages.push(Message::user("Say."));
    let request = request(messages).settings(without_cache_marks());
    let body = encoded(MODEL, &request);
    let kinds: Vec<&str> = body["messages"][2]["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|block| block["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["tool_result", "text", "text"]);
    assert_eq!(body["messages"].as_array().unwrap().len(), 3);
}

#[test]
fn data_of_another_provider_is_dropped() {
    let parts = vec![
        Part::Thinking(TextPart::new("secret").data(Some(foreign_data("{}")))),
        Part::Thinking(TextPart::new("plain")),
        Part::Opaque(foreign_data(r#"{"type":"reasoning"}"#)),
        Part::Text(TextPart::new("Seen.").data(Some(foreign_data("{}")))),
        Part::ToolCall(call("call|1", "lookup", "").data(Some(foreign_data(r#"{"id":"fc_1"}"#)))),
    ];
    let messages = vec![Message::user("?"), assistant(parts), Message::tool(vec![result("call|1", "ok")])];
    let body = encoded(MODEL, &request(messages).settings(without_cache_marks()));
    let used = body["messages"][1]["content"][1]["id"].as_str().unwrap();
    assert!(used.starts_with("call_1_"));
    assert_eq!(
        body["messages"][1]["content"],
        json!([
            { "type": "text", "text": "Seen." },
            { "type": "tool_use", "id": used, "name": "lookup", "input": {} },
        ])
    );
    assert_eq!(body["messages"][2]["content"][0]["tool_use_id"], used);
}

#[test]
fn own_blocks_are_sent_back_in_order_and_a_renamed_call_keeps_its_new_id() {
    let search = r#"{"type":"server_tool_use","id":"srv_1","name":"web_search","input":{"query":"x"}}"#;
    let cited = r#"{"type":"text","text":"So.","citations":[{"url":"u"}]}"#;
    let redacted = r#"{"type":"redacted_thinking","data":"ZGF0YQ=="}"#;
    let parts = vec![
        Part::Thinking(TextPart::default().data(Some(own_data(redacted)))),
        Part::Opaque(own_data(search)),
        Part::Text(TextPart::new("So.").data(Some(own_data(cited)))),
        Part::ToolCall(call("toolu_1_2", "lookup", "{}").data(Some(own_data(r#"{"caller":{"type":"direct"}}"#)))),
    ];
    let messages = vec![Message::user("?"), assistant(parts), Message::tool(vec![result("toolu_1_2", "ok")])];
    let text = String::from_utf8(bytes(MODEL, &request(messages), false)).unwrap();
    let call = r#"{"type":"tool_use","id":"toolu_1_2","name":"lookup","input":{},"caller":{"type":"direct"}}"#;
    assert!(text.contains(&format!("[{redacted},{search},{cited},{call}]")), "{text}");
}

#[test]
fn a_message_without_sendable_parts_is_left_out() {
    let unsigned = Part::Thinking(TextPart::new("hm").data(Some(foreign_data("{}"))));
    let signed = Part::Thinking(TextPart::new("hm").data(Some(own_data(r#"{"type":"thinking"}"#))));
    let messages = vec![
        Message::user("One"),
        assistant(vec![unsigned]),
        Message::user(" \n"),
        assistant(vec![Part::text("Yes."), signed]),
        Message::user("Two"),
    ];
    let body = encoded(MODEL, &request(messages).settings(without_cache_marks()));
    let roles: Vec<&str> =
        body["messages"].as_array().unwrap().iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "user"]);
    assert_eq!(body["messages"][1]["content"].as_array().unwrap().len(), 1, "trailing thinking is refused");
}

#[test]
fn images_and_failed_tools_are_sent() {
    let picture = Part::Image(Image::Base64 { media_type: "image/png".into(), data: "iVBO".into() });
    let address = Part::Image(Image::Url("https://example.com/a.png".into()));
    let inline = Part::Image(Image::Url("data:image/gif;base64,R0lG".into()));
    let failed = result("t", "").is_error(true).content(vec![]);
    let messages = vec![
        Message::new(Role::User, vec![picture, address, inline]),
        assistant(vec![Part::ToolCall(call("t", "lookup", "{\"q\":"))]),
        Message::tool(vec![failed]),
    ];
    let body = encoded(MODEL, &request(messages).settings(without_cache_marks()));
    assert_eq!(
        body["messages"][0]["content"],
        json!([
            { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "iVBO" } },
            { "type": "image", "source": { "type": "url", "url": "https://example.com/a.png" } },
            { "type": "image", "source": { "type": "base64", "media_type": "image/gif", "data": "R0lG" } },
        ])
    );
    assert_eq!(body["messages"][1]["content"][0]["input"], json!({ "_malformed": "{\"q\":" }));
    assert_eq!(body["messages"][2]["content"][0]["is_error"], true);
    assert!(body["messages"][2]["content"][0]["content"][0]["text"].is_string());
}

fn with(settings: Settings) -> ChatRequest {
    request(vec![Message::user("?")]).settings(settings.prompt_cache(PromptCache::Off))
}

fn reasoning(reasoning: Reasoning) -> ChatRequest {
    with(Settings::default().reasoning(Some(reasoning)))
}

#[test]
fn reasoning_is_requested_in_the_form_of_each_model() {
    let cases = [
        (
            "claude-sonnet-4-5",
            Reasoning::Budget(4_000),
            json!({ "type": "enabled", "budget_tokens": 4000 }),
            Value::Null,
        ),
        (
            "claude-sonnet-4-5",
            Reasoning::Effort(Effort::Low),
            json!({ "type": "enabled", "budget_tokens": 2048 }),
            Value::Null,
        ),
        ("claude-sonnet-4-5", Reasoning::Budget(1), json!({ "type": "enabled", "budget_tokens": 1024 }), Value::Null),
        ("claude-sonnet-4-5", Reasoning::Off, Value::Null, Value::Null),
        (
            "claude-opus-4-5",
            Reasoning::Effort(Effort::Max),
            json!({ "type": "enabled", "budget_tokens": 32000 }),
            json!("high"),
        ),
        ("claude-opus-4-6", Reasoning::Budget(4_000), json!({ "type": "enabled", "budget_tokens": 4000 }), Value::Null),
        ("claude-opus-4-6", Reasoning::Effort(Effort::XHigh), json!({ "type": "adaptive" }), json!("high")),
        ("claude-opus-4-8", Reasoning::Effort(Effort::XHigh), json!({ "type": "adaptive" }), json!("xhigh")),
        ("claude-opus-4-8", Reasoning::Budget(4_000), json!({ "type": "adaptive" }), json!("medium")),
        ("claude-opus-4-8", Reasoning::Off, Value::Null, Value::Null),
        ("claude-sonnet-5", Reasoning::Off, json!({ "type": "disabled" }), Value::Null),
        ("claude-fable-5", Reasoning::Off, Value::Null, json!("low")),
        ("claude-3-haiku-20240307", Reasoning::Budget(4_000), Value::Null, Value::Null),
    ];
    for (model, asked, thinking, effort) in cases {
        let body = encoded(model, &reasoning(asked));
        assert_eq!((&body["thinking"], &body["output_config"]["effort"]), (&thinking, &effort), "{model} {asked:?}");
    }
}

#[test]
fn max_tokens_fit_the_model_and_exceed_the_thinking_budget() {
    let limited = |tokens, budget| {
        let reasoning = Some(Reasoning::Budget(budget));
        let body = encoded(MODEL, &with(Settings::default().max_output_tokens(Some(tokens)).reasoning(reasoning)));
        (body["max_tokens"].as_u64().unwrap(), body["thinking"]["budget_tokens"].as_u64())
    };
    assert_eq!(encoded(MODEL, &reasoning(Reasoning::Budget(4_000)))["max_tokens"], 12_192);
    assert_eq!(encoded("claude-3-haiku-20240307", &with(Settings::default()))["max_tokens"], 4_096);
    assert_eq!(encoded("claude-sonnet-5", &with(Settings::default()))["max_tokens"], 16_384);
    assert_eq!(limited(1_000_000, 2_000), (64_000, Some(2_000)));
    assert_eq!(limited(1_025, 1_024), (1_025, Some(1_024)));
    assert_eq!(limited(8_000, 9_000), (8_000, Some(6_000)));
    assert_eq!(limited(500, 2_000), (500, None));
}

#[test]
fn the_limit_that_is_sent_is_the_one_in_the_settings() {
    let reasonings =
        [Reasoning::Off, Reasoning::Budget(3_000), Reasoning::Effort(Effort::Low), Reasoning::Effort(Effort::Max)];
    for (name, family) in ModelFamily::NAMES {
        for reasoning in reasonings.map(Some).into_iter().chain([None]) {
            let request = with(Settings::default().reasoning(reasoning));
            let expected = request.settings.over(&defaults(name)).output_limit().unwrap().min(family.max_output_tokens);
            assert_eq!(encoded(name, &request)["max_tokens"], expected, "{name} {reasoning:?}");
        }
    }
}

#[test]
fn thinking_is_left_out_where_the_api_refuses_it() {
    let mut forced = reasoning(Reasoning::Budget(2_000));
    forced.tools = tools();
    forced.settings.tool_choice = ToolChoice::Required;
    assert_eq!(encoded(MODEL, &forced)["thinking"], Value::Null);
    assert_eq!(encoded("claude-sonnet-5", &forced)["thinking"], json!({ "type": "disabled" }));
    let mut moved = request(vec![
        Message::user("?"),
        assistant(vec![Part::ToolCall(call("c", "lookup", "{}"))]),
        Message::tool(vec![result("c", "ok")]),
    ]);
    moved.settings.reasoning = Some(Reasoning::Budget(2_000));
    assert_eq!(encoded(MODEL, &moved)["thinking"], Value::Null);
    assert_eq!(encoded("claude-opus-4-8", &moved)["thinking"]["type"], "adaptive");
}

#[test]
fn thinking_continues_in_a_turn_that_began_with_it() {
    let thought = Part::Thinking(TextPart::new("hm").data(Some(own_data(r#"{"type":"thinking"}"#))));
    let mut turn = request(vec![
        Message::user("?"),
        assistant(vec![thought, Part::ToolCall(call("c", "lookup", "{}"))]),
        Message::tool(vec![result("c", "ok")]),
        assistant(vec![Part::ToolCall(call("d", "lookup", "{}"))]),
        Message::tool(vec![result("d", "ok")]),
    ]);
    turn.settings.reasoning = Some(Reasoning::Budget(2_000));
    assert_eq!(encoded(MODEL, &turn)["thinking"]["type"], "enabled");
}

#[test]
fn thinking_ends_in_a_turn_in_which_a_fallback_called_a_tool() {
    let thought = Part::Thinking(TextPart::new("hm").data(Some(own_data(r#"{"type":"thinking"}"#))));
    let thinking = |second: &str, third: &str| {
        let mut turn = request(vec![
            Message::user("?"),
            assistant(vec![thought.clone(), Part::ToolCall(call("toolu_1", "lookup", "{}"))]),
            Message::tool(vec![result("toolu_1", "ok")]),
            assistant(vec![Part::ToolCall(call(second, "lookup", "{}"))]),
            Message::tool(vec![result(second, "ok")]),
            assistant(vec![Part::ToolCall(call(third, "lookup", "{}"))]),
            Message::tool(vec![result(third, "ok")]),
        ]);
        turn.settings.reasoning = Some(Reasoning::Budget(2_000));
        encoded(MODEL, &turn)["thinking"]["type"].clone()
    };
    assert_eq!(thinking("toolu_2", "toolu_3"), "enabled");
    assert_eq!(thinking("toolu_2", "call_3"), Value::Null);
    assert_eq!(thinking("call_2", "toolu_3"), Value::Null);
}

#[test]
fn sampling_is_sent_only_where_it_is_accepted() {
    let sampled = |model: &str, reasoning| {
        let settings = Settings::default().temperature(Some(1.0)).top_p(Some(0.5)).reasoning(reasoning);
        let body = encoded(model, &with(settings));
        (body["temperature"].clone(), body["top_p"].clone())
    };
    assert_eq!(sampled("claude-3-haiku-20240307", None), (json!(1.0), json!(0.5)));
    assert_eq!(sampled(MODEL, None), (json!(1.0), Value::Null));
    assert_eq!(sampled(MODEL, Some(Reasoning::Budget(2_000))), (Value::Null, Value::Null));
    assert_eq!(sampled("claude-opus-4-8", None), (Value::Null, Value::Null));
}

#[test]
fn a_schema_is_enforced_or_added_to_the_instructions() {
    let schema = r#"{"type":"object","properties":{},"additionalProperties":false}"#;
    let output = Some(OutputSchema::new("answer", raw(schema)).strict(true));
    let request = with(Settings::default().output(output));
    let format = json!({ "type": "json_schema", "schema": serde_json::from_str::<Value>(schema).unwrap() });
    assert_eq!(encoded(MODEL, &request)["output_config"], json!({ "format": format }));
    let body = encoded("claude-sonnet-4-20250514", &request);
    assert_eq!(body["output_config"], Value::Null);
    assert!(body["system"][0]["text"].as_str().unwrap().ends_with(schema));
}

#[test]
fn the_choice_of_tools_is_mapped() {
    let chosen = |tool_choice, parallel_tool_calls| {
        let mut request = with(Settings::default().tool_choice(tool_choice).parallel_tool_calls(parallel_tool_calls));
        request.tools = tools();
        encoded(MODEL, &request)["tool_choice"].clone()
    };
    assert_eq!(chosen(ToolChoice::Auto, None), Value::Null);
    assert_eq!(chosen(ToolChoice::Auto, Some(false)), json!({ "type": "auto", "disable_parallel_tool_use": true }));
    assert_eq!(chosen(ToolChoice::None, Some(false)), json!({ "type": "none" }));
    assert_eq!(chosen(ToolChoice::Required, Some(true)), json!({ "type": "any" }));
    let named = json!({ "type": "tool", "name": "lookup", "disable_parallel_tool_use": true });
    assert_eq!(chosen(ToolChoice::Named("lookup".into()), Some(false)), named);
}

#[test]
fn other_settings_and_extra_fields_are_sent() {
    let extra = [
        ("top_k", "5"),
        ("tools", r#"[{"type":"web_search_20250305","name":"web_search"}]"#),
        ("max_tokens", "77"),
        ("model", "\"x\""),
    ];
    let settings = Settings::default()
        .stop_sequences(vec!["END".into(), " ".into()])
        .service_tier(Some("default".into()))
        .user(Some("u1".into()))
        .seed(Some(4))
        .prompt_cache_key(Some("k".into()))
        .extra(extra.into_iter().map(|(name, json)| (name.to_owned(), raw(json))).collect());
    let mut request = with(settings);
    request.tools = tools();
    let body = encoded(MODEL, &request);
    assert_eq!(body["stop_sequences"], json!(["END"]));
    assert_eq!(body["service_tier"], "standard_only");
    assert_eq!(body["metadata"], json!({ "user_id": "u1" }));
    assert_eq!((&body["top_k"], &body["max_tokens"], &body["model"]), (&json!(5), &json!(77), &json!(MODEL)));
    let names: Vec<&str> =
        body["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["lookup", "save", "web_search"]);
    assert!(body.get("seed").is_none() && body.get("prompt_cache_key").is_none());
}

#[test]
fn a_turn_of_results_and_text_has_one_mark_at_its_end() {
    let mut messages = conversation();
    messages.push(Message::user("Well?"));
    let body = encoded(MODEL, &request(messages));
    let marked = |turn: usize| -> Vec<bool> {
        let blocks = body["messages"][turn]["content"].as_array().unwrap();
        blocks.iter().map(|block| block["cache_control"].is_object()).collect()
    };
    assert_eq!((marked(0), marked(1), marked(2)), (vec![true], vec![false, false], vec![false, true]));
}
