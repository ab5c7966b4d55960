//! Recorded Responses requests, converted to a `ChatRequest` and encoded again.

use brigade_core::{
    Arguments, ChatRequest, Effort, Image, Message, OutputSchema, Part, ProviderData, RawJson, Reasoning, Role,
    TextPart, ToolCall, ToolChoice, ToolResult, ToolSet, ToolSpec, Transcript,
};
use serde_json::{Map, Value, json};

use super::model;
use crate::{
    expect::{self, same},
    recording::Recording,
};

/// The longest id that the API accepts.
const MAX_ID_BYTES: usize = 64;
/// Fields that are encoded differently for each model.
const FITTED: [&str; 1] = ["reasoning"];

/// Checks that the recorded request is encoded alike. Returns a reason if that is skipped.
pub(super) fn check(recording: &Recording) -> Result<Option<String>, String> {
    let body = &recording.request;
    if body.is_null() {
        return Ok(Some("the request was not recorded".to_owned()));
    }
    if recording.refused_request() {
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
    expect::same_request(&normalised(&written), &normalised(body), &FITTED)
}

/// Converts the recorded request, or returns the feature that cannot be converted. The request states whether answers
/// are stored.
fn understood(body: &Value) -> Result<ChatRequest, String> {
    let fields = body.as_object().ok_or("no object")?;
    if !body["previous_response_id"].is_null() || !body["conversation"].is_null() {
        return Err("the provider keeps the conversation".to_owned());
    }
    let mut request = ChatRequest::default();
    request.settings.extra.insert("store".to_owned(), raw(body.get("store").unwrap_or(&json!(true))));
    request.settings.extra.insert("include".to_owned(), raw(body.get("include").unwrap_or(&Value::Null)));
    request.transcript = transcript(&body["input"], body["store"] != false)?;
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
            ("tool_choice", choice) if tool_choice(choice).is_some() => {
                settings.tool_choice = tool_choice(choice).unwrap_or_default();
            }
            ("parallel_tool_calls", Value::Bool(parallel)) => settings.parallel_tool_calls = Some(*parallel),
            ("max_output_tokens", cap) if small(cap) >= Some(16) => settings.max_output_tokens = small(cap),
            ("temperature", Value::Number(number)) => settings.temperature = number.as_f64().map(narrow),
            ("top_p", Value::Number(number)) => settings.top_p = number.as_f64().map(narrow),
            ("prompt_cache_key", Value::String(key)) => settings.prompt_cache_key = Some(key.clone()),
            ("service_tier", Value::String(tier)) => settings.service_tier = Some(tier.clone()),
            ("user", Value::String(user)) => settings.user = Some(user.clone()),
            ("reasoning", reasoning) if has_only(reasoning, &["effort"]) && effort(reasoning).is_some() => {
                settings.reasoning = effort(reasoning);
            }
            ("text", text) if has_only(text, &["format"]) && output(&text["format"]).is_some() => {
                settings.output = output(&text["format"]);
            }
            (name, value) => {
                settings.extra.insert(name.to_owned(), raw(value));
            }
        }
    }
    Ok(request)
}

fn is_plain_tool(tool: &Value) -> bool {
    tool["type"] == "function"
        && tool["name"].is_string()
        && tool["parameters"].is_object()
        && (tool["description"].is_null() || tool["description"].is_string())
        && (tool["strict"].is_null() || tool["strict"].is_boolean())
        && has_only(tool, &["type", "name", "description", "parameters", "strict"])
}

fn tool(tool: &Value) -> ToolSpec {
    let text = |name: &str| tool[name].as_str().unwrap_or_default();
    let spec = ToolSpec::new(text("name"), text("description"), raw(&tool["parameters"]));
    spec.strict(tool["strict"] == true)
}

fn tool_choice(choice: &Value) -> Option<ToolChoice> {
    let named = choice["type"] == "function" && has_only(choice, &["type", "name"]);
    match (choice.as_str(), choice["name"].as_str()) {
        (Some("auto"), _) => Some(ToolChoice::Auto),
        (Some("none"), _) => Some(ToolChoice::None),
        (Some("required"), _) => Some(ToolChoice::Required),
        (_, Some(name)) if named => Some(ToolChoice::Named(name.to_owned())),
        _ => None,
    }
}

fn output(format: &Value) -> Option<OutputSchema> {
    let plain = has_only(format, &["type", "name", "schema", "strict"])
        && format["type"] == "json_schema"
        && format["schema"].is_object();
    let name = format["name"].as_str().filter(|_| plain)?.to_owned();
    Some(OutputSchema::new(name, raw(&format["schema"])).strict(format["strict"] == true))
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

/// Consecutive items of one role are one message.
fn transcript(input: &Value, stored: bool) -> Result<Transcript, String> {
    const ORPHANS: &str = "a history with orphans";
    let items = match input {
        Value::String(text) => vec![json!({ "role": "user", "content": text })],
        other => other.as_array().cloned().ok_or("no input")?,
    };
    let mut turns: Vec<(Role, Vec<Part>)> = Vec::new();
    for item in &items {
        let (role, parts) = read(item, stored)?;
        match turns.last_mut().filter(|(last, _)| *last == role && role != Role::User) {
            Some((_, known)) => known.extend(parts),
            None => turns.push((role, parts)),
        }
    }
    let mut transcript = Transcript::new();
    for (role, mut parts) in turns {
        // An answer without words is none.
        parts.retain(|part| !matches!(part, Part::Text(TextPart { text, data: None, .. }) if text.is_empty()));
        if matches!(parts.last(), Some(Part::Thinking(_))) {
            return Err("reasoning that nothing follows".to_owned());
        }
        let message = Message::new(role, parts);
        let pushed = if role == Role::User { transcript.push_task(message) } else { transcript.push(message) };
        pushed.map_err(|_| ORPHANS)?;
    }
    if transcript.open_calls().is_empty() { Ok(transcript) } else { Err(ORPHANS.to_owned()) }
}

fn read(item: &Value, stored: bool) -> Result<(Role, Vec<Part>), String> {
    let whole = |role: Role| Ok((role, vec![Part::Opaque(own(item))]));
    match (item["type"].as_str(), item["role"].as_str()) {
        (None | Some("message"), Some("user")) if has_only(item, &["type", "role", "content"]) => {
            content(&item["content"]).map_or_else(|| whole(Role::User), |parts| Ok((Role::User, parts)))
        }
        (None | Some("message"), Some("assistant")) => {
            let data = (!is_plain_speech(item)).then(|| own(item));
            let pieces = item["content"].as_array().into_iter().flatten();
            let words: String = pieces.filter_map(|piece| piece["text"].as_str()).collect();
            let text = item["content"].as_str().map_or(words, str::to_owned);
            Ok((Role::Assistant, vec![Part::Text(TextPart::new(text).data(data))]))
        }
        // Instructions in mid-conversation, and words with marks, are the provider's own idea.
        (None | Some("message"), Some(_)) => whole(Role::User),
        (Some("reasoning"), _) => {
            let filled = |name: &str| item[name].as_str().is_some_and(|text| !text.is_empty());
            if !(stored
                || filled("encrypted_content")
                || item["content"].as_array().is_some_and(|list| !list.is_empty()))
            {
                return Err("reasoning without its content".to_owned());
            }
            Ok((Role::Assistant, vec![Part::Thinking(TextPart::default().data(Some(own(item))))]))
        }
        (Some("function_call"), _) => Ok((Role::Assistant, vec![call(item)?])),
        (Some("function_call_output"), _) => Ok((Role::Tool, vec![result(item)?])),
        (Some("item_reference"), _) => Err("a reference to an item".to_owned()),
        (Some(_), Some(role)) => Err(format!("an item of the role {role}")),
        (None, None) => Err("an item without a type".to_owned()),
        (Some(_), None) => whole(Role::Assistant),
    }
}

/// An assistant message with one string.
fn is_plain_speech(item: &Value) -> bool {
    item["content"].is_string() && has_only(item, &["type", "role", "content"])
}

fn call(item: &Value) -> Result<Part, String> {
    let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
    let id = text("call_id");
    if id.is_empty() || id.len() > MAX_ID_BYTES || !expect::is_plain(&item["name"]) || !item["arguments"].is_string() {
        return Err("a call that lacks something, or has names that not all take".to_owned());
    }
    let arguments = Arguments::parse(text("arguments"));
    if !arguments.as_str().starts_with('{') || matches!(arguments, Arguments::Malformed(_)) {
        return Err("arguments that are not an object".to_owned());
    }
    let mut more = item.as_object().cloned().unwrap_or_default();
    more.retain(|name, _| !["type", "call_id", "name", "arguments"].contains(&name.as_str()));
    let data = (!more.is_empty()).then(|| own(&Value::Object(more)));
    Ok(Part::ToolCall(ToolCall::new(id, text("name"), arguments).data(data)))
}

fn result(item: &Value) -> Result<Part, String> {
    let call_id = item["call_id"].as_str().unwrap_or_default().to_owned();
    if !has_only(item, &["type", "call_id", "output", "status"]) {
        return Err("a result with other fields".to_owned());
    }
    let content = match &item["output"] {
        Value::String(text) => vec![Part::text(text.clone())],
        output => content(output).ok_or("a result of an odd form")?,
    };
    if content.iter().any(|part| !matches!(part, Part::Text(_) | Part::Image(_))) {
        return Err("a result that is neither text nor picture".to_owned());
    }
    if content.len() > 1 && content.iter().all(|part| matches!(part, Part::Text(_))) {
        return Err("a result of several texts".to_owned());
    }
    Ok(Part::ToolResult(ToolResult::new(&ToolCall::new(call_id, "", Arguments::default()), content)))
}

/// Content that is not empty.
fn content(content: &Value) -> Option<Vec<Part>> {
    let piece = |piece: &Value| match piece["type"].as_str() {
        Some("input_text") if has_only(piece, &["type", "text"]) && says(&piece["text"]) => {
            Some(Part::text(piece["text"].as_str()?))
        }
        Some("input_image") if has_only(piece, &["type", "image_url"]) && says(&piece["image_url"]) => {
            Some(Part::Image(Image::Url(piece["image_url"].as_str()?.to_owned())))
        }
        Some(kind) if kind.starts_with("input_") && kind != "input_text" => Some(Part::Opaque(own(piece))),
        _ => None,
    };
    match content {
        Value::String(text) if !text.is_empty() => Some(vec![Part::text(text.clone())]),
        Value::Array(pieces) if !pieces.is_empty() => pieces.iter().map(piece).collect(),
        _ => None,
    }
}

fn says(text: &Value) -> bool {
    text.as_str().is_some_and(|text| !text.is_empty())
}

/// Normalizes equivalent forms: input and content as a string and as a list; messages with and without their
/// type; defaults and absent fields; tools, and results in a row, in any order; the status of results; an
/// empty answer and none; the spacing of arguments.
fn normalised(body: &Value) -> Value {
    let mut body = body.as_object().cloned().unwrap_or_default();
    body.retain(|name, value| {
        !(value.is_null()
            || name == "store" && *value == json!(true)
            || name == "stream" && *value == json!(false)
            || name == "tool_choice" && *value == json!("auto")
            || name == "tools" && *value == json!([]))
    });
    // Some servers have the model in the path.
    body.entry("model").or_insert_with(|| json!(""));
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
    let mut input = input.into_iter().filter(|item| !wordless(item)).map(item).collect::<Vec<_>>();
    let is_result = |item: &Value| item["type"] == "function_call_output";
    for results in input.chunk_by_mut(|one, next| is_result(one) && is_result(next)) {
        results.sort_by_key(|result| result["call_id"].to_string());
    }
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
    if item["type"] == "function_call"
        && let Some(arguments) = item["arguments"].as_str().map(str::trim)
    {
        let none = if arguments.is_empty() { "{}" } else { arguments };
        item["arguments"] = serde_json::from_str(none).unwrap_or_else(|_| arguments.into());
    }
    without_defaults(&item)
}

/// Removes top-level nulls, `false` flags and empty descriptions.
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

fn small(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|number| u32::try_from(number).ok())
}

fn own(item: &Value) -> ProviderData {
    ProviderData::new("openai-responses", raw(item))
}

fn raw(value: &Value) -> RawJson {
    RawJson::of(value).expect("a value can be written")
}
