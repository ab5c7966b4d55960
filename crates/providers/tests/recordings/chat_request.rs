//! Recorded Chat Completions requests, converted to a `ChatRequest` and encoded again.

use std::{collections::BTreeMap, ops::RangeFrom};

use brigade_core::{
    Arguments, ChatRequest, Effort, Image, Message, OutputSchema, Part, ProviderData, RawJson, Reasoning, Role,
    Settings, TextPart, ToolCall, ToolChoice, ToolResult, ToolSet, ToolSpec, Transcript,
};
use brigade_providers::ReasoningField;
use serde_json::{Map, Value, json};

use crate::{
    chat::{model, quirks},
    expect::{self, same},
    recording::Recording,
};

/// Fields that are encoded differently for each model.
const FITTED: [&str; 3] = ["reasoning", "reasoning_effort", "thinking"];

/// Checks that the recorded request is encoded alike. Returns a reason if that is skipped.
pub(crate) fn check(recording: &Recording) -> Result<Option<String>, String> {
    if recording.request.is_null() {
        return Ok(Some("the request was not recorded".to_owned()));
    }
    if recording.refused_request() {
        return Ok(Some("the provider refused the request".to_owned()));
    }
    let request = match understood(recording) {
        Ok(request) => request,
        Err(reason) => return Ok(Some(reason)),
    };
    let stream = recording.request["stream"] == true;
    let name = recording.request["model"].as_str().unwrap_or_default();
    let quirks = quirks(recording);
    let body = model(quirks, name).encode(&request, stream).map_err(|error| error.to_string())?;
    let again = model(quirks, name).encode(&request, stream).map_err(|error| error.to_string())?;
    same("bytes written twice", &again, &body)?;
    let mut written: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    if recording.request["stream_options"].is_null() {
        // Usage is always asked for here.
        written["stream_options"] = Value::Null;
    }
    let mut expected = recording.request.clone();
    if quirks.strict_roles && !alternates(&expected["messages"]) {
        // Written in another order; tests of the encoder say which.
        (written["messages"], expected["messages"]) = (Value::Null, Value::Null);
    }
    expect::same_request(&normalised(&written), &normalised(&expected), &FITTED)
}

/// Whether no user follows a user or the results of tools, and no answer an answer.
fn alternates(messages: &Value) -> bool {
    let roles: Vec<&str> =
        messages.as_array().into_iter().flatten().filter_map(|message| message["role"].as_str()).collect();
    let is_strict = |pair: &[&str]| !matches!(pair, ["user" | "tool", "user"] | ["assistant", "assistant"]);
    roles.windows(2).all(is_strict) && roles.last() != Some(&"assistant")
}

/// Converts the recorded request, or returns the feature that cannot be converted.
fn understood(recording: &Recording) -> Result<ChatRequest, String> {
    let body = recording.request.as_object().ok_or("no object")?;
    let quirks = quirks(recording);
    let mut request = ChatRequest::default();
    let messages = body.get("messages").and_then(Value::as_array).ok_or("no messages")?;
    read_messages(messages, quirks.echo, &mut request)?;
    for (name, value) in body {
        if value.is_null() {
            continue;
        }
        let settings = &mut request.settings;
        match (name.as_str(), value) {
            ("messages" | "model" | "stream", _) => {}
            ("tools", Value::Array(tools)) => {
                request.tools = ToolSet::new(tools.iter().map(tool).collect::<Result<_, _>>()?);
            }
            ("tool_choice", choice) => settings.tool_choice = tool_choice(choice)?,
            ("parallel_tool_calls", Value::Bool(parallel)) => settings.parallel_tool_calls = Some(*parallel),
            ("response_format", format) if quirks.json_schema && output(format).is_some() => {
                settings.output = output(format);
            }
            ("max_tokens" | "max_completion_tokens", cap)
                if settings.max_output_tokens.is_none() && small(cap).is_some() =>
            {
                settings.max_output_tokens = small(cap);
            }
            ("temperature", Value::Number(number)) => settings.temperature = number.as_f64().map(narrow),
            ("top_p", Value::Number(number)) => settings.top_p = number.as_f64().map(narrow),
            (name, Value::Number(number)) if name == quirks.seed_field && number.is_u64() => {
                settings.seed = number.as_u64();
            }
            ("stop", stop) if strings(stop).is_some() => {
                settings.stop_sequences = strings(stop).unwrap_or_default();
            }
            ("prompt_cache_key", Value::String(key)) => settings.prompt_cache_key = Some(key.clone()),
            ("service_tier", Value::String(tier)) => settings.service_tier = Some(tier.clone()),
            ("user", Value::String(user)) => settings.user = Some(user.clone()),
            ("reasoning_effort", Value::String(word))
                if quirks.reasoning == ReasoningField::Effort && effort(word).is_some() =>
            {
                settings.reasoning = effort(word);
            }
            (name, value) => extra(settings, name, value),
        }
    }
    Ok(request)
}

/// Other fields are passed on unchanged.
fn extra(settings: &mut Settings, name: &str, value: &Value) {
    settings.extra.insert(name.to_owned(), raw(value));
}

fn read_messages(messages: &[Value], echo: &[&str], request: &mut ChatRequest) -> Result<(), String> {
    let mut transcript = Transcript::new();
    let mut results: Vec<ToolResult> = Vec::new();
    for (place, message) in messages.iter().enumerate() {
        let role = message["role"].as_str().unwrap_or_default();
        if role != "tool" && !results.is_empty() {
            transcript.push(Message::tool(std::mem::take(&mut results))).map_err(|_| "a history with orphans")?;
        }
        known_fields(message, echo)?;
        let parts = message["content"].as_array().into_iter().flatten();
        if !echo.contains(&"content") && parts.into_iter().any(|part| part["type"] == "thinking") {
            return Err("reasoning within the content, for a server that is not known to take it".to_owned());
        }
        let next = match role {
            "system" | "developer" if place == 0 => {
                request.instructions = Some(Message::system(plain_text(&message["content"])?));
                continue;
            }
            "system" | "developer" => return Err("a second system message".to_owned()),
            "user" => Message::new(Role::User, user_parts(&message["content"])?),
            "assistant" => Message::new(Role::Assistant, assistant_parts(message)?),
            "tool" => {
                results.push(result(message, &transcript)?);
                continue;
            }
            other => return Err(format!("a message of the role {other}")),
        };
        let refused = if role == "user" { transcript.push_task(next) } else { transcript.push(next) };
        refused.map_err(|_| "a history with orphans")?;
    }
    if !results.is_empty() {
        transcript.push(Message::tool(results)).map_err(|_| "a history with orphans")?;
    }
    if !transcript.open_calls().is_empty() {
        return Err("a history with orphans".to_owned());
    }
    request.transcript = transcript;
    Ok(())
}

fn known_fields(message: &Value, echo: &[&str]) -> Result<(), String> {
    let known = ["role", "content", "tool_calls", "tool_call_id", "refusal"];
    let fields = message.as_object().ok_or("a message that is not an object")?;
    let unknown = fields
        .iter()
        .find(|(name, value)| !value.is_null() && !known.contains(&name.as_str()) && !echo.contains(&name.as_str()));
    unknown.map_or(Ok(()), |(name, _)| Err(format!("a message with `{name}`")))
}

fn plain_text(content: &Value) -> Result<String, String> {
    match content {
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => match parts.as_slice() {
            [part] if part.as_object().is_some_and(|part| part.len() == 2) && part["text"].is_string() => {
                Ok(part["text"].as_str().unwrap_or_default().to_owned())
            }
            _ => Err("instructions or results of several parts".to_owned()),
        },
        _ => Err("content of an odd form".to_owned()),
    }
}

fn user_parts(content: &Value) -> Result<Vec<Part>, String> {
    let Value::Array(parts) = content else { return Ok(vec![Part::text(plain_text(content)?)]) };
    let part = |part: &Value| {
        let fields = part.as_object().map_or(0, Map::len);
        match part["type"].as_str() {
            Some("text") if fields == 2 && part["text"].is_string() => {
                Ok(Part::text(part["text"].as_str().unwrap_or_default()))
            }
            Some("image_url")
                if fields == 2
                    && part["image_url"].as_object().is_some_and(|image| image.len() == 1)
                    && part["image_url"]["url"].is_string() =>
            {
                Ok(Part::Image(Image::Url(part["image_url"]["url"].as_str().unwrap_or_default().to_owned())))
            }
            kind => Err(format!("a user part `{}` or its options", kind.unwrap_or("?"))),
        }
    };
    parts.iter().map(part).collect()
}

fn assistant_parts(message: &Value) -> Result<Vec<Part>, String> {
    let own = |raw: Value| Some(ProviderData::new("openai-chat", self::raw(&raw)));
    let mut parts = Vec::new();
    let fields = ["reasoning", "reasoning_content", "reasoning_details", "extra_content"];
    let reasoning: Map<String, Value> = fields
        .iter()
        .filter(|name| !message[**name].is_null())
        .map(|name| ((*name).to_owned(), message[*name].clone()))
        .collect();
    if !reasoning.is_empty() {
        parts.push(Part::Thinking(TextPart::default().data(own(reasoning.into()))));
    }
    match &message["content"] {
        Value::Null => {}
        Value::String(text) if text.is_empty() => {}
        Value::Array(list) if list.iter().any(|part| part["type"] == "thinking") => {
            for part in list {
                parts.push(match part["type"].as_str() {
                    Some("text") => Part::text(part["text"].as_str().unwrap_or_default()),
                    Some("thinking") => Part::Thinking(TextPart::default().data(own(part.clone()))),
                    _ => return Err("an assistant part of an odd form".to_owned()),
                });
            }
        }
        Value::Array(list) if list.is_empty() => {}
        content => parts.push(Part::text(plain_text(content)?)),
    }
    if let Some(refusal) = message["refusal"].as_str() {
        parts.push(Part::Text(TextPart::new(refusal).data(own(json!({ "refusal": refusal })))));
    }
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        let function = &call["function"];
        parts.push(Part::ToolCall(
            ToolCall::new(
                call["id"].as_str().unwrap_or_default().to_owned(),
                function["name"]
                    .as_str()
                    .filter(|_| expect::is_plain(&function["name"]))
                    .ok_or("a custom tool, or a name that not all take")?
                    .to_owned(),
                Arguments::parse(function["arguments"].as_str().ok_or("arguments that are not text")?.to_owned()),
            )
            .data(call.get("extra_content").and_then(|extra| own(json!({ "extra_content": extra })))),
        ));
    }
    Ok(parts)
}

/// A tool result, by position, because the transcript may have changed its id.
fn result(message: &Value, transcript: &Transcript) -> Result<ToolResult, String> {
    let id = message["tool_call_id"].as_str().ok_or("a result without an id")?;
    let open = transcript.open_calls();
    let renamed =
        |call: &&&ToolCall| call.id == id || call.id.strip_prefix(id).is_some_and(|rest| rest.starts_with('_'));
    let call = open.iter().find(renamed).ok_or("a history with orphans")?;
    let content = vec![Part::text(plain_text(&message["content"])?)];
    Ok(ToolResult::new(call, content))
}

fn tool(tool: &Value) -> Result<ToolSpec, String> {
    let function = tool["function"]
        .as_object()
        .filter(|_| tool["type"].is_null() || tool["type"] == "function")
        .ok_or("a tool that is not a function")?;
    only(tool, &["type", "function"], "a tool")?;
    only(&tool["function"], &["name", "description", "parameters", "strict"], "a tool")?;
    let text = |name: &str| function.get(name).and_then(Value::as_str).unwrap_or_default();
    if !function.get("name").is_some_and(Value::is_string) {
        return Err("a tool without a name".to_owned());
    }
    let schema = function.get("parameters").filter(|schema| schema.is_object()).ok_or("a tool without parameters")?;
    let mut spec = ToolSpec::new(text("name"), text("description"), raw(schema));
    spec.strict = function.get("strict") == Some(&Value::Bool(true));
    Ok(spec)
}

/// An object without other fields.
fn only(value: &Value, known: &[&str], what: &str) -> Result<(), String> {
    let fields = value.as_object().ok_or_else(|| format!("{what} that is not an object"))?;
    let other = fields.iter().find(|(name, value)| !known.contains(&name.as_str()) && !value.is_null());
    other.map_or(Ok(()), |(name, _)| Err(format!("{what} with `{name}`")))
}

fn tool_choice(choice: &Value) -> Result<ToolChoice, String> {
    const ODD: &str = "a tool choice";
    match choice.as_str() {
        Some("auto") => return Ok(ToolChoice::Auto),
        Some("none") => return Ok(ToolChoice::None),
        Some("required" | "any") => return Ok(ToolChoice::Required),
        _ => {}
    }
    only(choice, &["type", "function"], ODD)?;
    only(&choice["function"], &["name"], ODD)?;
    choice["function"]["name"].as_str().map(|name| ToolChoice::Named(name.to_owned())).ok_or(ODD.to_owned())
}

fn output(format: &Value) -> Option<OutputSchema> {
    let schema = &format["json_schema"];
    only(format, &["type", "json_schema"], "").and_then(|()| only(schema, &["name", "schema", "strict"], "")).ok()?;
    let plain = format["type"] == "json_schema" && schema["schema"].is_object();
    let name = schema["name"].as_str().filter(|_| plain)?.to_owned();
    Some(OutputSchema::new(name, raw(&schema["schema"])).strict(schema["strict"] == true))
}

fn effort(word: &str) -> Option<Reasoning> {
    Some(match word {
        "none" => Reasoning::Off,
        "minimal" => Reasoning::Effort(Effort::Minimal),
        "low" => Reasoning::Effort(Effort::Low),
        "medium" => Reasoning::Effort(Effort::Medium),
        "high" => Reasoning::Effort(Effort::High),
        _ => return None,
    })
}

fn small(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|number| u32::try_from(number).ok())
}

fn strings(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        value => Some(vec![value.as_str()?.to_owned()]),
    }
}

fn raw(value: &Value) -> RawJson {
    RawJson::of(value).expect("a value can be written")
}

#[expect(clippy::cast_possible_truncation, reason = "settings hold single precision")]
fn narrow(number: f64) -> f32 {
    number as f32
}

/// Normalizes equivalent forms: absent and null; `any` tool and one `required`; a tool with and without its type; `auto` and no tool choice; one stop sequence and a list of one;
/// content as a string and as a list with one text; empty content and none beside tool calls; both names of the token limit;
/// both roles of instructions; integers and floats; call ids.
fn normalised(body: &Value) -> Value {
    let mut body = body.as_object().cloned().unwrap_or_default();
    body.retain(|_, value| !value.is_null());
    if body.get("tools") == Some(&json!([])) {
        body.remove("tools");
    }
    if body.get("tool_choice") == Some(&json!("auto")) || body.get("tools").is_none() {
        body.remove("tool_choice");
    }
    if body.get("tools").is_none() {
        body.remove("parallel_tool_calls");
    }
    if body.get("stream") == Some(&Value::Bool(false)) {
        body.remove("stream");
    }
    if let Some(cap) = body.remove("max_completion_tokens") {
        body.insert("max_tokens".to_owned(), cap);
    }
    if body.get("tool_choice") == Some(&json!("any")) {
        body.insert("tool_choice".to_owned(), "required".into());
    }
    for tool in body.get_mut("tools").and_then(Value::as_array_mut).into_iter().flatten() {
        tool["type"] = "function".into();
    }
    if let Some(choice) = body.get_mut("tool_choice").filter(|choice| choice.is_object()) {
        choice["type"] = "function".into();
    }
    if let Some(stop) = body.remove("stop").filter(|stop| *stop != json!([])) {
        let stops = strings(&stop).map_or(stop, |stops| json!(stops));
        body.insert("stop".to_owned(), stops);
    }
    // Some servers have the model in the path.
    body.entry("model").or_insert_with(|| json!(""));
    if let Some(messages) = body.get_mut("messages").and_then(Value::as_array_mut) {
        let (mut ids, mut calls) = (BTreeMap::new(), 0..);
        for message in messages.iter_mut() {
            normalise_message(message, &mut ids, &mut calls);
        }
        // Results stand in the order of their calls here.
        for results in messages.chunk_by_mut(|one, next| one["role"] == "tool" && next["role"] == "tool") {
            results.sort_by_key(|result| result["tool_call_id"].to_string());
        }
    }
    normalise_values(Value::Object(body))
}

fn normalise_message(message: &mut Value, ids: &mut BTreeMap<String, String>, calls: &mut RangeFrom<usize>) {
    if message["role"] == "developer" {
        message["role"] = "system".into();
    }
    if let Ok(text) = plain_text(&message["content"]) {
        message["content"] = text.into();
    }
    if let Some(fields) = message.as_object_mut() {
        fields.retain(|_, value| !value.is_null() && value != &json!("") && value != &json!([]));
    }
    for call in message.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
        let name = format!("call {:04}", calls.next().unwrap_or_default());
        ids.insert(call["id"].as_str().unwrap_or_default().to_owned(), name.clone());
        let arguments = call["function"]["arguments"].as_str().unwrap_or_default();
        let arguments = serde_json::from_str(arguments)
            .unwrap_or_else(|_| if arguments.is_empty() { json!({}) } else { arguments.into() });
        let arguments = if arguments.is_null() { json!({}) } else { arguments };
        let extra = call["extra_content"].clone();
        *call = json!({ "id": name, "name": call["function"]["name"], "arguments": arguments, "extra": extra });
    }
    if let Some(id) = message["tool_call_id"].as_str().and_then(|id| ids.get(id)) {
        message["tool_call_id"] = id.clone().into();
    }
    if message["tool_call_id"].is_null()
        && let Some(fields) = message.as_object_mut()
    {
        fields.remove("tool_call_id");
    }
}

/// Removes nulls, `strict: false` and empty descriptions of tools, and converts numbers to floats.
fn normalise_values(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(name, value)| {
                !(value.is_null()
                    || name == "strict" && value == &Value::Bool(false)
                    || name == "description" && value == &json!(""))
            });
            Value::Object(kept.map(|(name, value)| (name, normalise_values(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(normalise_values).collect()),
        Value::Number(number) => json!(number.as_f64().map(narrow)),
        other => other,
    }
}
