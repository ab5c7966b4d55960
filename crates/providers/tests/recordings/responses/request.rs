//! Recorded Responses requests, read into our terms and written again.

use brigade_core::{
    Arguments, ChatRequest, Effort, Image, Message, OutputSchema, Part, ProviderData, RawJson, Reasoning, Role, Text,
    Thinking, ToolCall, ToolChoice, ToolResult, ToolSet, ToolSpec, Transcript,
};
use serde_json::{Map, Value, json};

use super::model;
use crate::{expect::same, recording::Recording};

/// Whether the recorded request can be written again; a reason if it cannot be tried.
pub(super) fn check(recording: &Recording) -> Result<Option<String>, String> {
    let body = &recording.request;
    if body.is_null() {
        return Ok(Some("the request was not recorded".to_owned()));
    }
    if matches!(recording.status(), 400 | 422) {
        return Ok(Some("the provider refused the request".to_owned()));
    }
    let request = match understood(body) {
        Ok(request) => request,
        Err(reason) => return Ok(Some(reason)),
    };
    let stream = body["stream"] == true;
    let model = model(body["model"].as_str().unwrap_or_default());
    let bytes = model.encode(&request, stream).map_err(|error| error.to_string())?;
    let again = model.encode(&request, stream).map_err(|error| error.to_string())?;
    same("bytes written twice", &again, &bytes)?;
    let written: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    let (got, expected) = (normalised(&written), normalised(body));
    if got != expected {
        return Err(format!("request: got {got}\n  expected {expected}"));
    }
    Ok(None)
}

/// The recorded request in our terms, or what it has that they do not. It says itself whether answers are stored.
fn understood(body: &Value) -> Result<ChatRequest, String> {
    let fields = body.as_object().ok_or("no object")?;
    if !body["previous_response_id"].is_null() || !body["conversation"].is_null() {
        return Err("the provider keeps the conversation".to_owned());
    }
    let mut request = ChatRequest::default();
    request.settings.extra.insert("store".to_owned(), raw(body.get("store").unwrap_or(&json!(true))));
    request.settings.extra.insert("include".to_owned(), raw(body.get("include").unwrap_or(&Value::Null)));
    request.transcript = transcript(&body["input"])?;
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
        let settings = &mut request.settings;
        match (name.as_str(), value) {
            ("input" | "model" | "stream" | "store" | "include", _) => {}
            ("instructions", Value::String(text)) => request.instructions = Some(Message::system(text.clone())),
            ("tools", Value::Array(tools)) => {
                let (known, other): (Vec<&Value>, Vec<&Value>) = tools.iter().partition(|tool| is_plain_tool(tool));
                request.tools = ToolSet::new(known.into_iter().map(tool).collect());
                if !other.is_empty() {
                    settings.extra.insert("tools".to_owned(), raw(&json!(other)));
                }
            }
            ("tool_choice", choice) => settings.tool_choice = tool_choice(choice)?,
            ("parallel_tool_calls", Value::Bool(parallel)) => settings.parallel_tool_calls = Some(*parallel),
            ("max_output_tokens", Value::Number(number)) if number.as_u64() >= Some(16) => {
                settings.max_output_tokens = number.as_u64().and_then(|tokens| u32::try_from(tokens).ok());
            }
            ("temperature", Value::Number(number)) => settings.temperature = number.as_f64().map(narrow),
            ("top_p", Value::Number(number)) => settings.top_p = number.as_f64().map(narrow),
            ("prompt_cache_key", Value::String(key)) => settings.prompt_cache_key = Some(key.clone()),
            ("service_tier", Value::String(tier)) => settings.service_tier = Some(tier.clone()),
            ("user", Value::String(user)) => settings.user = Some(user.clone()),
            ("reasoning", reasoning) if has_only(reasoning, &["effort"]) && effort(reasoning).is_some() => {
                settings.reasoning = effort(reasoning);
            }
            ("text", text) if has_only(text, &["format"]) && text["format"]["type"] == "json_schema" => {
                settings.output = Some(output(&text["format"])?);
            }
            (name, value) => {
                settings.extra.insert(name.to_owned(), raw(value));
            }
        }
    }
    Ok(request)
}

fn is_plain_tool(tool: &Value) -> bool {
    let names = ["type", "name", "description", "parameters", "strict"];
    tool["type"] == "function" && tool["parameters"].is_object() && has_only(tool, &names)
}

fn tool(tool: &Value) -> ToolSpec {
    let text = |name: &str| tool[name].as_str().unwrap_or_default();
    let spec = ToolSpec::new(text("name"), text("description"), raw(&tool["parameters"]));
    ToolSpec { strict: tool["strict"] == true, ..spec }
}

fn tool_choice(choice: &Value) -> Result<ToolChoice, String> {
    match (choice.as_str(), choice["type"].as_str(), choice["name"].as_str()) {
        (Some("auto"), ..) => Ok(ToolChoice::Auto),
        (Some("none"), ..) => Ok(ToolChoice::None),
        (Some("required"), ..) => Ok(ToolChoice::Required),
        (_, Some("function"), Some(name)) => Ok(ToolChoice::Named(name.to_owned())),
        _ => Err("an odd tool choice".to_owned()),
    }
}

fn output(format: &Value) -> Result<OutputSchema, String> {
    if !has_only(format, &["type", "name", "schema", "strict"]) {
        return Err("an output schema with other fields".to_owned());
    }
    let name = format["name"].as_str().unwrap_or_default().to_owned();
    Ok(OutputSchema { name, schema: raw(&format["schema"]), strict: format["strict"] == true })
}

fn effort(reasoning: &Value) -> Option<Reasoning> {
    Some(match reasoning["effort"].as_str()? {
        "none" => Reasoning::Off,
        "minimal" => Reasoning::Effort(Effort::Minimal),
        "low" => Reasoning::Effort(Effort::Low),
        "medium" => Reasoning::Effort(Effort::Medium),
        "high" => Reasoning::Effort(Effort::High),
        "xhigh" => Reasoning::Effort(Effort::XHigh),
        _ => return None,
    })
}

/// Items of one side in a row are one message.
fn transcript(input: &Value) -> Result<Transcript, String> {
    const ORPHANS: &str = "a history with orphans";
    let items = match input {
        Value::String(text) => vec![json!({ "role": "user", "content": text })],
        other => other.as_array().cloned().ok_or("no input")?,
    };
    let mut turns: Vec<(Role, Vec<Part>)> = Vec::new();
    for item in &items {
        let (role, parts) = read(item)?;
        match turns.last_mut().filter(|(last, _)| *last == role && role != Role::User) {
            Some((_, known)) => known.extend(parts),
            None => turns.push((role, parts)),
        }
    }
    let mut transcript = Transcript::new();
    for (role, parts) in turns {
        let message = Message::new(role, parts);
        let pushed = if role == Role::User { transcript.push_task(message) } else { transcript.push(message) };
        pushed.map_err(|_| ORPHANS)?;
    }
    if transcript.open_calls().is_empty() { Ok(transcript) } else { Err(ORPHANS.to_owned()) }
}

fn read(item: &Value) -> Result<(Role, Vec<Part>), String> {
    let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
    let data = Some(own(item));
    match (item["type"].as_str(), item["role"].as_str()) {
        (None | Some("message"), Some("user")) => Ok((Role::User, content(&item["content"])?)),
        (Some("message"), Some("assistant")) if item["content"].is_array() => {
            let pieces = item["content"].as_array().into_iter().flatten();
            let words = pieces.filter_map(|piece| piece["text"].as_str()).collect();
            Ok((Role::Assistant, vec![Part::Text(Text { text: words, data })]))
        }
        (None | Some("message"), Some("assistant")) => Ok((Role::Assistant, content(&item["content"])?)),
        // Instructions in mid-conversation are the provider's own idea.
        (None | Some("message"), Some(_)) => Ok((Role::User, vec![Part::Opaque(own(item))])),
        (Some("reasoning"), _) => Ok((Role::Assistant, vec![Part::Thinking(Thinking { text: String::new(), data })])),
        (Some("function_call"), _) => {
            let mut more = item.as_object().cloned().unwrap_or_default();
            more.retain(|name, _| !["type", "call_id", "name", "arguments"].contains(&name.as_str()));
            let data = (!more.is_empty()).then(|| own(&Value::Object(more)));
            let arguments = Arguments::parse(text("arguments"));
            Ok((
                Role::Assistant,
                vec![Part::ToolCall(ToolCall { id: text("call_id"), name: text("name"), arguments, data })],
            ))
        }
        (Some("function_call_output"), _) => {
            let content = content(&item["output"])?;
            if content.iter().any(|part| !matches!(part, Part::Text(_) | Part::Image(_))) {
                return Err("a result that is neither text nor picture".to_owned());
            }
            let result = ToolResult { call_id: text("call_id"), name: String::new(), content, is_error: false };
            Ok((Role::Tool, vec![Part::ToolResult(result)]))
        }
        (Some("item_reference"), _) => Err("a reference to an item".to_owned()),
        (Some(_), Some(role)) => Err(format!("an item of the role {role}")),
        _ => Ok((Role::Assistant, vec![Part::Opaque(own(item))])),
    }
}

fn content(content: &Value) -> Result<Vec<Part>, String> {
    let piece = |piece: &Value| match piece["type"].as_str() {
        Some("input_text" | "output_text") if has_only(piece, &["type", "text"]) => {
            Part::text(piece["text"].as_str().unwrap_or_default())
        }
        Some("input_image") if has_only(piece, &["type", "image_url"]) => {
            Part::Image(Image::Url(piece["image_url"].as_str().unwrap_or_default().to_owned()))
        }
        _ => Part::Opaque(own(piece)),
    };
    match content {
        Value::String(text) => Ok(vec![Part::text(text.clone())]),
        Value::Array(pieces) => Ok(pieces.iter().map(piece).collect()),
        _ => Err("content of an odd form".to_owned()),
    }
}

/// Different ways of saying the same: input and content as a string and as a list; messages with and without their
/// type; defaults and silence; tools in any order; a result's status, which says nothing; an empty answer and none.
fn normalised(body: &Value) -> Value {
    let mut body = body.as_object().cloned().unwrap_or_default();
    body.retain(|name, value| {
        !(value.is_null()
            || name == "store" && *value == json!(true)
            || name == "stream" && *value == json!(false)
            || name == "tool_choice" && *value == json!("auto")
            || name == "tools" && *value == json!([]))
    });
    if let Some(Value::Array(tools)) = body.remove("tools") {
        let mut tools: Vec<String> = tools.iter().map(|tool| without_defaults(tool).to_string()).collect();
        tools.sort();
        body.insert("tools".to_owned(), json!(tools));
    } else {
        body.remove("tool_choice");
        body.remove("parallel_tool_calls");
    }
    if let Some(format) = body.get_mut("text").and_then(|text| text.get_mut("format")) {
        *format = without_defaults(format);
    }
    let input = match body.remove("input") {
        Some(Value::String(text)) => vec![json!({ "role": "user", "content": text })],
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    };
    let wordless = |item: &Value| item["role"] == "assistant" && item["content"] == json!("");
    let input = input.into_iter().filter(|item| !wordless(item)).map(item).collect::<Vec<_>>();
    body.insert("input".to_owned(), input.into());
    floats(Value::Object(body))
}

fn item(mut item: Value) -> Value {
    if item["type"] == "message" {
        item["type"] = Value::Null;
    }
    for name in ["content", "output"] {
        let open = item["type"].is_null() || name == "output";
        if let Some(text) = item[name].as_str().filter(|_| open) {
            let kind = if item["role"] == "assistant" { "output_text" } else { "input_text" };
            item[name] = json!([{ "type": kind, "text": text }]);
        }
    }
    if item["type"] == "function_call_output" {
        item["status"] = Value::Null;
    }
    if item["type"] == "function_call" && item["arguments"] == "" {
        item["arguments"] = "{}".into();
    }
    without_defaults(&item)
}

/// Top-level nulls go, as do `false` flags and empty descriptions.
fn without_defaults(value: &Value) -> Value {
    let Some(fields) = value.as_object() else { return value.clone() };
    let said = |name: &str, value: &Value| {
        !(value.is_null() || name == "strict" && *value == json!(false) || name == "description" && *value == json!(""))
    };
    let kept = fields.iter().filter(|(name, value)| said(name, value));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>().into()
}

fn floats(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (name, floats(value))).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => items.into_iter().map(floats).collect::<Vec<_>>().into(),
        Value::Number(number) => json!(number.as_f64().map(narrow)),
        other => other,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "settings hold single precision")]
fn narrow(number: f64) -> f32 {
    number as f32
}

fn has_only(value: &Value, names: &[&str]) -> bool {
    value.as_object().is_some_and(|fields| fields.keys().all(|name| names.contains(&name.as_str())))
}

fn own(item: &Value) -> ProviderData {
    ProviderData { dialect: brigade_providers::openai_responses::DIALECT.into(), raw: raw(item) }
}

fn raw(value: &Value) -> RawJson {
    RawJson::of(value).expect("a value can be written")
}
