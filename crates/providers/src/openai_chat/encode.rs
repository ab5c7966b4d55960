//! Writes a request.
//!
//! Messages and tools are written once each and their bytes kept with them, so that a turn only adds what is new.

use std::{borrow::Cow, collections::BTreeMap, convert::Infallible};

use async_openai::types::chat::{
    ChatCompletionMessageCustomToolCall, ChatCompletionMessageToolCall, ChatCompletionMessageToolCalls,
    ChatCompletionNamedToolChoice, ChatCompletionRequestAssistantMessage, ChatCompletionRequestAssistantMessageContent,
    ChatCompletionRequestMessage, ChatCompletionRequestMessageContentPartImage,
    ChatCompletionRequestMessageContentPartText, ChatCompletionRequestToolMessage,
    ChatCompletionRequestToolMessageContent, ChatCompletionRequestUserMessage, ChatCompletionRequestUserMessageContent,
    ChatCompletionRequestUserMessageContentPart, ChatCompletionToolChoiceOption, CustomTool, FunctionCall,
    FunctionName, ImageUrl,
};
use brigade_core::{
    Dialect, Effort, Image, Message, ModelError, OutputSchema, Part, ProviderData, Reasoning, Role, Text, Thinking,
    ToolCall, ToolChoice, ToolResult, ToolSpec,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::server::{CallIds, Quirks, ReasoningField};
use crate::{
    client::caller_error,
    digest,
    json::{self, Body},
    protocol::Question,
};

/// The name under which this protocol keeps what is its own in a transcript.
pub(super) const DIALECT: &str = "openai-chat";

/// What `extra` cannot replace: the framing of the answer, and what is written from kept bytes.
const RESERVED: [&str; 4] = ["model", "messages", "tools", "stream"];

/// The body of a request.
pub(super) fn request(question: &Question<'_>, quirks: &Quirks) -> Result<Vec<u8>, ModelError> {
    let Question { model, request, settings, stream } = *question;
    let size = 512 + request.transcript.visible_bytes() * 5 / 4 + request.tools.size_bytes() * 5 / 4;
    let mut body = Body::new(size, &settings.extra);
    body.fixed("model", |out| json::string(out, model));
    let mut written = Ok(());
    body.fixed("messages", |out| written = messages(out, question, quirks));
    if !request.tools.is_empty() {
        let dialect = Dialect { name: DIALECT, variant: 0 };
        body.fixed("tools", |out| {
            let Ok(()) = request.tools.write_encoded(dialect, out, write_tools);
        });
        write_tool_choice(&mut body, &settings.tool_choice, quirks);
        body.optional("parallel_tool_calls", settings.parallel_tool_calls.as_ref());
    }
    if let Some(schema) = &settings.output {
        body.field("response_format", |out| json::value(out, &response_format(schema, quirks)));
    }
    body.optional(quirks.max_tokens_field, settings.max_output_tokens.as_ref());
    body.optional("temperature", settings.temperature.as_ref());
    body.optional("top_p", settings.top_p.as_ref());
    body.optional("stop", Some(&settings.stop_sequences).filter(|stops| !stops.is_empty()));
    body.optional("seed", settings.seed.as_ref());
    if let Some(reasoning) = settings.reasoning {
        write_reasoning(&mut body, reasoning, quirks.reasoning);
    }
    body.optional("prompt_cache_key", settings.prompt_cache_key.as_ref());
    body.optional("service_tier", settings.service_tier.as_ref());
    body.optional("user", settings.user.as_ref());
    body.optional("metadata", Some(&settings.metadata).filter(|labels| !labels.is_empty()));
    if stream {
        body.fixed("stream", |out| out.extend_from_slice(b"true"));
        if quirks.stream_options {
            body.field("stream_options", |out| out.extend_from_slice(br#"{"include_usage":true}"#));
        }
    }
    body.extras(&RESERVED);
    written.map(|()| body.finish())
}

fn messages(out: &mut Vec<u8>, question: &Question<'_>, quirks: &Quirks) -> Result<(), ModelError> {
    let dialect = Dialect { name: DIALECT, variant: quirks.variant() };
    out.push(b'[');
    for message in question.request.instructions.iter().chain(question.request.transcript.visible()) {
        separate(out);
        message.write_encoded(dialect, out, |message, out| write_message(message, out, quirks))?;
    }
    if let Some(schema) = question.settings.output.as_ref().filter(|_| !quirks.json_schema) {
        separate(out);
        let text = format!("Answer with one JSON document that matches this JSON Schema: {}", schema.schema.get());
        json::value(out, &Instructions { role: quirks.system_role, content: text.into() });
    }
    out.push(b']');
    Ok(())
}

/// Writes one message, as several where the protocol wants several.
fn write_message(message: &Message, out: &mut Vec<u8>, quirks: &Quirks) -> Result<(), ModelError> {
    match message.role() {
        Role::System => json::value(out, &Instructions { role: quirks.system_role, content: message.text() }),
        Role::User => write_user(message.parts().iter(), out),
        Role::Assistant => json::value(out, &Assistant::new(message, quirks)?),
        Role::Tool => write_results(message, out, quirks),
    }
    Ok(())
}

#[derive(Serialize)]
struct Instructions<'a> {
    role: &'static str,
    content: Cow<'a, str>,
}

/// An assistant's message with the fields of the server's own, which go back as they came.
#[derive(Serialize)]
struct Assistant<'a> {
    role: &'static str,
    #[serde(flatten)]
    standard: ChatCompletionRequestAssistantMessage,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call<'a>>,
    #[serde(flatten)]
    echoed: Echoed<'a>,
}

/// A call with the fields of the server's own.
#[derive(Serialize)]
struct Call<'a> {
    #[serde(flatten)]
    standard: ChatCompletionMessageToolCalls,
    #[serde(flatten)]
    echoed: Echoed<'a>,
}

type Echoed<'a> = BTreeMap<&'a str, Cow<'a, RawValue>>;

impl<'a> Assistant<'a> {
    fn new(message: &'a Message, quirks: &Quirks) -> Result<Self, ModelError> {
        let mut assistant =
            Self { role: "assistant", standard: Default::default(), tool_calls: Vec::new(), echoed: Echoed::new() };
        // Content as a list is only for servers whose reasoning is a part of it.
        let mut list = Vec::new();
        for part in message.parts() {
            match part {
                Part::Text(text) if is_refusal(text) => assistant.standard.refusal = Some(text.text.clone()),
                Part::Text(text) => list.push(Cow::Owned(text_part(&text.text)?)),
                Part::Thinking(Thinking { data: Some(data), .. }) => match own(data) {
                    Some(raw) if is_content_part(raw) => {
                        list.extend(may_echo("content", quirks).then_some(Cow::Borrowed(raw)))
                    }
                    Some(raw) => assistant.echoed.extend(fields(raw, quirks)),
                    None => {}
                },
                Part::Opaque(data) if may_echo("content", quirks) => list.extend(own(data).map(Cow::Borrowed)),
                Part::ToolCall(call) => assistant.tool_calls.push(Call::new(call, quirks)),
                Part::Thinking(_) | Part::Opaque(_) | Part::ToolResult(_) | Part::Image(_) => {}
            }
        }
        let text = message.parts().iter().filter_map(|part| match part {
            Part::Text(text) if !is_refusal(text) => Some(text.text.as_str()),
            _ => None,
        });
        if list.iter().any(|part| matches!(part, Cow::Borrowed(_))) {
            assistant.echoed.insert("content", Cow::Owned(raw(&list)?));
        } else if !list.is_empty() {
            assistant.standard.content = Some(ChatCompletionRequestAssistantMessageContent::Text(text.collect()));
        } else if assistant.tool_calls.is_empty() && assistant.standard.refusal.is_none() {
            // A message must have something in it.
            assistant.standard.content = Some(ChatCompletionRequestAssistantMessageContent::Text(String::new()));
        }
        Ok(assistant)
    }
}

impl<'a> Call<'a> {
    fn new(call: &'a ToolCall, quirks: &Quirks) -> Self {
        let id = call_id(&call.id, quirks.call_ids).into_owned();
        let data = call.data.as_ref().and_then(own);
        let arguments = call.arguments.as_str().to_owned();
        let name = call.name.clone();
        if data.is_some_and(|data| data.get().starts_with("{\"custom\"")) {
            let custom_tool = CustomTool { name, input: arguments };
            let custom = ChatCompletionMessageCustomToolCall { id, custom_tool };
            return Self { standard: ChatCompletionMessageToolCalls::Custom(custom), echoed: Echoed::new() };
        }
        let function = ChatCompletionMessageToolCall { id, function: FunctionCall { name, arguments } };
        let echoed = data.map(|raw| fields(raw, quirks)).unwrap_or_default();
        Self { standard: ChatCompletionMessageToolCalls::Function(function), echoed }
    }
}

fn write_user<'a>(parts: impl Iterator<Item = &'a Part> + Clone, out: &mut Vec<u8>) {
    let mut list: Vec<_> = parts.filter_map(user_part).collect();
    let content = match (list.pop(), list.is_empty()) {
        (Some(ChatCompletionRequestUserMessageContentPart::Text(only)), true) => {
            ChatCompletionRequestUserMessageContent::Text(only.text)
        }
        (last, _) => ChatCompletionRequestUserMessageContent::Array(list.into_iter().chain(last).collect()),
    };
    let message = ChatCompletionRequestUserMessage { content, name: None };
    json::value(out, &ChatCompletionRequestMessage::User(message));
}

fn user_part(part: &Part) -> Option<ChatCompletionRequestUserMessageContentPart> {
    match part {
        Part::Text(text) => {
            let text = text.text.clone();
            let part = ChatCompletionRequestMessageContentPartText { text, prompt_cache_breakpoint: None };
            Some(ChatCompletionRequestUserMessageContentPart::Text(part))
        }
        Part::Image(image) => {
            let url = match image {
                Image::Url(url) => url.clone(),
                Image::Base64 { media_type, data } => format!("data:{media_type};base64,{data}"),
            };
            let image_url = ImageUrl { url, detail: None };
            let part = ChatCompletionRequestMessageContentPartImage { image_url, prompt_cache_breakpoint: None };
            Some(ChatCompletionRequestUserMessageContentPart::ImageUrl(part))
        }
        _ => None,
    }
}

/// One message for each result. Results are text here, so their pictures follow in a message of the user.
fn write_results(message: &Message, out: &mut Vec<u8>, quirks: &Quirks) {
    let results: Vec<&ToolResult> = message.tool_results().collect();
    for (place, result) in results.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        let texts = result.content.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.text.as_str()),
            _ => None,
        });
        let message = ChatCompletionRequestToolMessage {
            content: ChatCompletionRequestToolMessageContent::Text(texts.collect::<Vec<_>>().join("\n")),
            tool_call_id: call_id(&result.call_id, quirks.call_ids).into_owned(),
        };
        json::value(out, &ChatCompletionRequestMessage::Tool(message));
    }
    let images = results.iter().flat_map(|result| &result.content).filter(|part| matches!(part, Part::Image(_)));
    if images.clone().next().is_some() {
        out.push(b',');
        write_user(images, out);
    }
}

#[derive(Serialize)]
struct Tool<'a> {
    r#type: &'static str,
    function: Function<'a>,
}

/// A tool. The schema goes out as it was written, since the order of its properties is the order of the answer's;
/// `async-openai` would sort it.
#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    parameters: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

fn write_tools(specs: &[ToolSpec], out: &mut Vec<u8>) -> Result<(), Infallible> {
    let tools: Vec<Tool<'_>> = specs.iter().map(tool).collect();
    json::value(out, &tools);
    Ok(())
}

fn tool(spec: &ToolSpec) -> Tool<'_> {
    Tool {
        r#type: "function",
        function: Function {
            name: &spec.name,
            description: &spec.description,
            parameters: spec.input_schema.as_raw(),
            strict: spec.strict.then_some(true),
        },
    }
}

fn write_tool_choice(body: &mut Body<'_>, choice: &ToolChoice, quirks: &Quirks) {
    match choice {
        ToolChoice::Auto => {}
        ToolChoice::None => body.field("tool_choice", |out| json::string(out, "none")),
        ToolChoice::Required => body.field("tool_choice", |out| json::string(out, quirks.required_tool_choice)),
        ToolChoice::Named(name) => {
            let function = ChatCompletionNamedToolChoice { function: FunctionName { name: name.clone() } };
            body.field("tool_choice", |out| json::value(out, &ChatCompletionToolChoiceOption::Function(function)));
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ResponseFormat<'a> {
    JsonObject,
    JsonSchema { json_schema: NamedSchema<'a> },
}

#[derive(Serialize)]
struct NamedSchema<'a> {
    name: &'a str,
    schema: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

fn response_format<'a>(output: &'a OutputSchema, quirks: &Quirks) -> ResponseFormat<'a> {
    if !quirks.json_schema {
        return ResponseFormat::JsonObject;
    }
    let strict = output.strict.then_some(true);
    ResponseFormat::JsonSchema { json_schema: NamedSchema { name: &output.name, schema: output.raw(), strict } }
}

fn write_reasoning(body: &mut Body<'_>, reasoning: Reasoning, field: ReasoningField) {
    let word = match reasoning {
        Reasoning::Off => "none",
        Reasoning::Effort(effort) => word(effort),
        Reasoning::Budget(tokens) => word_for(tokens),
    };
    match (field, reasoning) {
        (ReasoningField::Effort, _) => body.field("reasoning_effort", |out| json::string(out, word)),
        (ReasoningField::Object, Reasoning::Budget(tokens)) => {
            body.field("reasoning", |out| json::value(out, &BTreeMap::from([("max_tokens", tokens)])));
        }
        (ReasoningField::Object, _) => {
            body.field("reasoning", |out| json::value(out, &BTreeMap::from([("effort", word)])));
        }
        (ReasoningField::Thinking, Reasoning::Off) => {
            body.field("thinking", |out| out.extend_from_slice(br#"{"type":"disabled"}"#));
        }
        (ReasoningField::Thinking, _) => {
            body.field("thinking", |out| out.extend_from_slice(br#"{"type":"enabled"}"#));
            body.field("reasoning_effort", |out| json::string(out, word));
        }
    }
}

fn word(effort: Effort) -> &'static str {
    match effort {
        Effort::Minimal => "minimal",
        Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        // The highest there is here.
        Effort::XHigh | Effort::Max => "xhigh",
    }
}

/// The effort that comes near a number of tokens; the steps are those that routers use for models with budgets.
fn word_for(tokens: u32) -> &'static str {
    match tokens {
        0 => "none",
        1..=1_024 => "minimal",
        1_025..=4_096 => "low",
        4_097..=16_384 => "medium",
        _ => "high",
    }
}

/// The id in a form that the server accepts, the same every time.
fn call_id(id: &str, form: CallIds) -> Cow<'_, str> {
    match form {
        CallIds::UpTo(length) if id.len() <= length => id.into(),
        CallIds::UpTo(_) => format!("call_{}", digest::alphanumeric(id.as_bytes(), 10)).into(),
        CallIds::NineAlphanumeric if id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) => id.into(),
        CallIds::NineAlphanumeric => digest::alphanumeric(id.as_bytes(), 9).into(),
    }
}

/// The data, if it is of this protocol.
fn own(data: &ProviderData) -> Option<&RawValue> {
    (data.dialect == DIALECT).then(|| data.raw.as_raw())
}

fn may_echo(name: &str, quirks: &Quirks) -> bool {
    quirks.echo.contains(&name)
}

/// The fields of `raw` that may go back.
fn fields<'a>(raw: &'a RawValue, quirks: &Quirks) -> Echoed<'a> {
    let fields: BTreeMap<&str, &RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
    let allowed = fields.into_iter().filter(|(name, _)| may_echo(name, quirks));
    allowed.map(|(name, value)| (name, Cow::Borrowed(value))).collect()
}

fn is_refusal(text: &Text) -> bool {
    let data = text.data.as_ref().and_then(own);
    data.is_some_and(|raw| raw.get().starts_with("{\"refusal\""))
}

/// Whether reasoning is a part of the content (it then has a type) or stands in fields beside it.
fn is_content_part(raw: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Typed {
        r#type: Option<serde::de::IgnoredAny>,
    }
    serde_json::from_str::<Typed>(raw.get()).is_ok_and(|typed| typed.r#type.is_some())
}

fn text_part(text: &str) -> Result<Box<RawValue>, ModelError> {
    raw(&BTreeMap::from([("text", text), ("type", "text")]))
}

fn raw(value: &impl Serialize) -> Result<Box<RawValue>, ModelError> {
    serde_json::value::to_raw_value(value).map_err(|error| caller_error("a message cannot be written").caused_by(error))
}

fn separate(out: &mut Vec<u8>) {
    if out.last() != Some(&b'[') {
        out.push(b',');
    }
}

#[cfg(test)]
mod tests;
