//! Recorded Anthropic requests, converted to a `ChatRequest` and encoded again.

use std::collections::BTreeSet;

use brigade_core::{
    Arguments, ChatRequest, Effort, Image, Message, OutputSchema, Part, PromptCache, ProviderData, RawJson, Reasoning,
    Role, Settings, TextPart, ToolCall, ToolChoice, ToolResult, ToolSet, ToolSpec, Transcript,
};
use serde_json::{Map, Value, json};

use super::model;
use crate::{
    expect::{self, same},
    recording::Recording,
};

/// Fields that are encoded differently for each family of models.
const FITTED: [&str; 5] = ["max_tokens", "output_config", "temperature", "thinking", "top_p"];

/// Checks that the recorded request is encoded alike. Returns a reason if that is skipped.
pub(super) fn check(recording: &Recording) -> Result<Option<String>, String> {
    if recording.request.is_null() {
        return Ok(Some("the request was not recorded".to_owned()));
    }
    if recording.refused_request() {
        return Ok(Some("the provider refused the request".to_owned()));
    }
    let request = match understood(&recording.request) {
        Ok(request) => request,
        Err(reason) => return Ok(Some(reason)),
    };
    let stream = recording.request["stream"] == true;
    let model = model(recording.request["model"].as_str().unwrap_or_default());
    let body = model.encode(&request, stream).map_err(|error| error.to_string())?;
    let again = model.encode(&request, stream).map_err(|error| error.to_string())?;
    same("bytes written twice", &again, &body)?;
    let written: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    let recorded = &recording.request;
    expect::same_request(&normalised(&written), &normalised(recorded), &FITTED).or_else(|why| {
        // A schema that the model is not known to hold to is put into words.
        let in_words = recorded["output_config"]["format"].is_object() && written["output_config"].is_null();
        let fitted: Vec<&str> = FITTED.into_iter().chain(in_words.then_some("system")).collect();
        let reduced = |body: &Value| normalised(&reduced(body));
        let rest = expect::same_request(&reduced(&written), &reduced(recorded), &fitted);
        rest.map(|_| Some("schemas or thinking that the model is not known to take".to_owned())).map_err(|_| why)
    })
}

/// The request without the fields for some families of models only: thinking, and schemas of tool arguments.
fn reduced(body: &Value) -> Value {
    let mut body = body.clone();
    for tool in body["tools"].as_array_mut().into_iter().flatten() {
        tool["strict"] = Value::Null;
    }
    for message in body["messages"].as_array_mut().into_iter().flatten() {
        if let Some(blocks) = message["content"].as_array_mut() {
            blocks.retain(|block| block["type"] != "thinking" && block["type"] != "redacted_thinking");
        }
    }
    body
}

/// Converts the recorded request, or returns the feature that cannot be converted. Blocks with their own cache marks are
/// kept in the provider's form, so that no marks are added.
fn understood(body: &Value) -> Result<ChatRequest, String> {
    let fields = body.as_object().ok_or("no object")?;
    let mut request = ChatRequest::default();
    request.settings.prompt_cache = PromptCache::Off;
    request.transcript = transcript(&body["messages"])?;
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
        let settings = &mut request.settings;
        match (name.as_str(), value) {
            ("messages" | "model" | "stream" | "output_config", _) => {}
            ("system", system) => request.instructions = Some(Message::new(Role::System, instructions(system)?)),
            ("tools", Value::Array(tools)) => {
                let (known, other): (Vec<&Value>, Vec<&Value>) = tools.iter().partition(|tool| is_plain_tool(tool));
                request.tools = ToolSet::new(known.into_iter().map(tool).collect());
                if !other.is_empty() {
                    settings.extra.insert("tools".to_owned(), raw(&json!(other)));
                }
            }
            ("tool_choice", choice) if is_known_choice(choice) => choose(settings, choice),
            ("max_tokens", cap) if small(cap).is_some() => settings.max_output_tokens = small(cap),
            ("temperature", Value::Number(number)) => settings.temperature = number.as_f64().map(narrow),
            ("top_p", Value::Number(number)) => settings.top_p = number.as_f64().map(narrow),
            ("stop_sequences", Value::Array(texts)) if texts.iter().all(has_words) => {
                settings.stop_sequences = texts.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            }
            ("metadata", metadata) if has_only(metadata, &["user_id"]) && metadata["user_id"].is_string() => {
                settings.user = metadata["user_id"].as_str().map(str::to_owned);
            }
            ("service_tier", Value::String(tier)) => settings.service_tier = Some(tier.clone()),
            ("thinking", thinking)
                if thinking["type"] == "enabled"
                    && has_only(thinking, &["type", "budget_tokens"])
                    && small(&thinking["budget_tokens"]).is_some() =>
            {
                settings.reasoning = small(&thinking["budget_tokens"]).map(Reasoning::Budget);
            }
            (name, value) => {
                settings.extra.insert(name.to_owned(), raw(value));
            }
        }
    }
    configure_output(&mut request.settings, &body["output_config"], body);
    Ok(request)
}

fn configure_output(settings: &mut Settings, config: &Value, body: &Value) {
    let format = &config["format"];
    if has_only(config, &["format"]) && has_only(format, &["type", "schema"]) && format["type"] == "json_schema" {
        settings.output = Some(OutputSchema::new("answer", raw(&format["schema"])).strict(true));
    } else if let Some(effort) = effort(&config["effort"])
        && has_only(config, &["effort"])
        && body["thinking"] == json!({ "type": "adaptive" })
    {
        settings.extra.remove("thinking");
        settings.reasoning = Some(Reasoning::Effort(effort));
    } else if config.is_object() {
        settings.extra.insert("output_config".to_owned(), raw(config));
    }
}

fn effort(word: &Value) -> Option<Effort> {
    match word.as_str()? {
        "low" => Some(Effort::Low),
        "medium" => Some(Effort::Medium),
        "high" => Some(Effort::High),
        "xhigh" => Some(Effort::XHigh),
        "max" => Some(Effort::Max),
        _ => None,
    }
}

fn is_known_choice(choice: &Value) -> bool {
    let named = choice["type"] == "tool" && choice["name"].is_string();
    (named || ["auto", "none", "any"].iter().any(|kind| choice["type"] == *kind) && choice["name"].is_null())
        && has_only(choice, &["type", "name", "disable_parallel_tool_use"])
}

fn choose(settings: &mut Settings, choice: &Value) {
    settings.tool_choice = match (choice["type"].as_str(), choice["name"].as_str()) {
        (Some("none"), _) => ToolChoice::None,
        (Some("any"), _) => ToolChoice::Required,
        (Some("tool"), Some(name)) => ToolChoice::Named(name.to_owned()),
        _ => ToolChoice::Auto,
    };
    settings.parallel_tool_calls = choice["disable_parallel_tool_use"].as_bool().map(|disabled| !disabled);
}

fn is_plain_tool(tool: &Value) -> bool {
    tool["input_schema"].is_object()
        && tool["name"].is_string()
        && (tool["description"].is_null() || tool["description"].is_string())
        && (tool["strict"].is_null() || tool["strict"].is_boolean())
        && has_only(tool, &["name", "description", "input_schema", "strict"])
}

fn tool(tool: &Value) -> ToolSpec {
    let text = |name: &str| tool[name].as_str().unwrap_or_default();
    let spec = ToolSpec::new(text("name"), text("description"), raw(&tool["input_schema"]));
    spec.strict(tool["strict"] == true)
}

fn transcript(messages: &Value) -> Result<Transcript, String> {
    const ORPHANS: &str = "a history with orphans";
    let mut transcript = Transcript::new();
    for message in messages.as_array().ok_or("no messages")? {
        if !has_only(message, &["role", "content"]) {
            return Err("a message with other fields".to_owned());
        }
        let content = parts(&message["content"])?;
        match message["role"].as_str() {
            Some("assistant") => transcript.push(Message::new(Role::Assistant, content)).map_err(|_| ORPHANS)?,
            Some("user") => {
                let end = content.iter().take_while(|part| matches!(part, Part::ToolResult(_))).count();
                let (results, words) = content.split_at(end);
                if words.iter().any(|part| matches!(part, Part::ToolResult(_))) {
                    return Err("results after words".to_owned());
                }
                if !results.is_empty() {
                    transcript.push(Message::new(Role::Tool, results.to_vec())).map_err(|_| ORPHANS)?;
                }
                if !words.is_empty() {
                    transcript.push_task(Message::new(Role::User, words.to_vec())).map_err(|_| ORPHANS)?;
                }
            }
            other => return Err(format!("a message of the role {}", other.unwrap_or("?"))),
        }
    }
    if transcript.open_calls().is_empty() { Ok(transcript) } else { Err(ORPHANS.to_owned()) }
}

fn instructions(system: &Value) -> Result<Vec<Part>, String> {
    let parts = parts(system)?;
    let plain = parts.iter().all(|part| matches!(part, Part::Text(_)));
    if plain { Ok(parts) } else { Err("instructions that are not text".to_owned()) }
}

fn parts(content: &Value) -> Result<Vec<Part>, String> {
    match content {
        Value::String(text) => Ok(vec![Part::text(text.clone())]),
        Value::Array(blocks) => blocks.iter().map(part).collect(),
        _ => Err("content of an odd form".to_owned()),
    }
}

fn part(block: &Value) -> Result<Part, String> {
    let text = |name: &str| block[name].as_str().unwrap_or_default().to_owned();
    let missing = |names: &[&str]| names.iter().any(|name| !block[*name].is_string());
    Ok(match block["type"].as_str().unwrap_or_default() {
        "text" if missing(&["text"]) => Part::Opaque(own(block)),
        "text" => {
            let plain = has_only(block, &["type", "text"]);
            Part::Text(TextPart::new(text("text")).data((!plain).then(|| own(block))))
        }
        "thinking" => Part::Thinking(TextPart::new(text("thinking")).data(Some(own(block)))),
        "redacted_thinking" => Part::Thinking(TextPart::default().data(Some(own(block)))),
        "tool_use"
            if !(block["input"].is_object() && expect::is_plain(&block["id"]) && expect::is_plain(&block["name"])) =>
        {
            return Err("a call that lacks something, or has names that not all take".to_owned());
        }
        "tool_use" => {
            let mut more = block.as_object().cloned().unwrap_or_default();
            more.retain(|name, _| !["type", "id", "name", "input"].contains(&name.as_str()));
            let data = (!more.is_empty()).then(|| own(&Value::Object(more)));
            let arguments = Arguments::Json(raw(&block["input"]));
            Part::ToolCall(ToolCall::new(text("id"), text("name"), arguments).data(data))
        }
        "tool_result" if has_only(block, &["type", "tool_use_id", "content", "is_error"]) => {
            let content = if block["content"].is_null() { Vec::new() } else { parts(&block["content"])? };
            if content.iter().any(|part| !matches!(part, Part::Text(_) | Part::Image(_))) {
                return Err("a result that is neither text nor picture".to_owned());
            }
            let is_error = block["is_error"] == true;
            if is_error && content.is_empty() || missing(&["tool_use_id"]) {
                return Err("a result that lacks something".to_owned());
            }
            let call = ToolCall::new(text("tool_use_id"), "", Arguments::default());
            Part::ToolResult(ToolResult::new(&call, content).is_error(is_error))
        }
        "tool_result" => return Err("a result with options".to_owned()),
        "image" => image(block),
        _ => Part::Opaque(own(block)),
    })
}

fn image(block: &Value) -> Part {
    let source = &block["source"];
    let text = |name: &str| source[name].as_str().unwrap_or_default().to_owned();
    let plain = |names: &[&str]| {
        has_only(block, &["type", "source"])
            && has_only(source, names)
            && names.iter().all(|name| source[*name].is_string())
    };
    match source["type"].as_str() {
        Some("url") if plain(&["type", "url"]) => Part::Image(Image::Url(text("url"))),
        Some("base64") if plain(&["type", "media_type", "data"]) => {
            Part::Image(Image::Base64 { media_type: text("media_type"), data: text("data") })
        }
        _ => Part::Opaque(own(block)),
    }
}

/// Normalizes equivalent forms: content as a string and as a list with one text; neighbors of one role and one
/// message; empty texts and none; defaults and absent fields; tools, and results of one turn, in any order.
fn normalised(body: &Value) -> Value {
    let mut body = body.as_object().cloned().unwrap_or_default();
    body.retain(|_, value| !value.is_null());
    // Some servers have the model in the path.
    body.entry("model").or_insert_with(|| json!(""));
    if let Some(Value::Object(choice)) = body.get_mut("tool_choice") {
        choice
            .retain(|name, value| !(value.is_null() || name == "disable_parallel_tool_use" && *value == json!(false)));
    }
    for name in ["stream", "tools", "tool_choice", "temperature", "stop_sequences"] {
        let default = match name {
            "stream" => json!(false),
            "tool_choice" => json!({ "type": "auto" }),
            "temperature" => json!(1.0),
            _ => json!([]),
        };
        if body.get(name) == Some(&default) {
            body.remove(name);
        }
    }
    // Said where a tool is forced, as thinking would be refused there.
    if body.get("thinking") == Some(&json!({ "type": "disabled" })) {
        body.remove("thinking");
    }
    if let Some(system) = body.remove("system").map(|system| content(&system)).filter(|system| *system != json!([])) {
        body.insert("system".to_owned(), system);
    }
    if let Some(Value::Array(tools)) = body.remove("tools") {
        let sorted: BTreeSet<String> = tools.into_iter().map(|tool| without_defaults(tool).to_string()).collect();
        body.insert("tools".to_owned(), json!(sorted));
    } else {
        body.remove("tool_choice");
    }
    let messages = body.get("messages").and_then(Value::as_array).cloned().unwrap_or_default();
    body.insert("messages".to_owned(), merged(&messages).into());
    floats(Value::Object(body))
}

fn merged(messages: &[Value]) -> Vec<Value> {
    let mut merged: Vec<(Value, Vec<Value>)> = Vec::new();
    for message in messages {
        let Value::Array(blocks) = content(&message["content"]) else { continue };
        match merged.last_mut().filter(|(role, _)| *role == message["role"]) {
            _ if blocks.is_empty() => {}
            Some((_, known)) => known.extend(blocks),
            None => merged.push((message["role"].clone(), blocks)),
        }
    }
    for (_, content) in &mut merged {
        let end = content.iter().take_while(|block| block["type"] == "tool_result").count();
        content[..end].sort_by_key(|result| result["tool_use_id"].to_string());
    }
    merged.into_iter().map(|(role, content)| json!({ "role": role, "content": content })).collect()
}

/// Content without empty texts, nulls, defaults, or thinking at the end.
pub(super) fn content(content: &Value) -> Value {
    let mut blocks = match content {
        Value::String(text) => vec![json!({ "type": "text", "text": text })],
        other => other.as_array().cloned().unwrap_or_default(),
    };
    blocks.retain(|block| {
        block["type"] != "text"
            || block["citations"].is_array()
            || !block["text"].as_str().unwrap_or_default().trim().is_empty()
    });
    while blocks
        .last()
        .is_some_and(|block| ["thinking", "redacted_thinking"].contains(&block["type"].as_str().unwrap_or_default()))
    {
        blocks.pop();
    }
    blocks.into_iter().map(block).collect::<Vec<_>>().into()
}

fn block(mut block: Value) -> Value {
    if block["type"] == "tool_result" {
        block["content"] = content(&block["content"]);
        if block["content"] == json!([]) {
            block["content"] = Value::Null;
        }
    }
    let is_text = block["type"] == "text";
    if let Some(fields) = block.as_object_mut().filter(|_| is_text) {
        fields.retain(|name, value| name == "text" || ![json!([]), json!({}), json!("")].contains(value));
    }
    without_defaults(block)
}

/// Removes top-level nulls, `false` flags and empty descriptions.
fn without_defaults(value: Value) -> Value {
    let Value::Object(fields) = value else { return value };
    let said = |name: &str, value: &Value| {
        !(value.is_null()
            || ["is_error", "strict"].contains(&name) && value == &json!(false)
            || name == "description" && value == &json!(""))
    };
    fields.into_iter().filter(|(name, value)| said(name, value)).collect::<Map<_, _>>().into()
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

fn has_words(text: &Value) -> bool {
    text.as_str().is_some_and(|text| !text.trim().is_empty())
}

fn small(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|number| u32::try_from(number).ok())
}

fn has_only(value: &Value, names: &[&str]) -> bool {
    value.as_object().is_some_and(|fields| fields.keys().all(|name| names.contains(&name.as_str())))
}

fn own(block: &Value) -> ProviderData {
    ProviderData::new("anthropic-messages", raw(block))
}

fn raw(value: &Value) -> RawJson {
    RawJson::of(value).expect("a value can be written")
}
