//! Encodes requests to the Responses API.

use std::{borrow::Cow, convert::Infallible};

use async_openai::types::responses::{
    IncludeEnum, ReasoningEffort, ToolChoiceFunction, ToolChoiceOptions, ToolChoiceParam,
};
use brigade_core::{ChatRequest, Dialect, Message, OutputSchema, RawJson, Role, Settings, ToolChoice, ToolSpec};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{items, responses::DIALECT};
use crate::{
    json::{body_writer::BodyWriter, json},
    protocol::{
        known_models::{self, can_reason},
        protocol::ModelRequest,
    },
};

/// The smallest answer limit that the API accepts.
const MIN_OUTPUT_TOKENS: u32 = 16;
/// Fields that `extra` cannot replace.
const RESERVED: [&str; 4] = ["model", "stream", "tools", "input"];

/// The body of a request. Its bytes depend on the request alone.
pub(super) fn body(request: &ModelRequest<'_>, summary: Option<&str>) -> Vec<u8> {
    let ModelRequest { model, chat, settings, stream, .. } = *request;
    let state = ConversationState::of(settings);
    let mut body = BodyWriter::new(size_hint(chat), &settings.extra);
    body.fixed("model", |out| json::write(out, model));
    if stream {
        body.fixed("stream", |out| json::write(out, &true));
    }
    let can_reason = can_reason(model);
    if state == ConversationState::Stateless {
        body.field("store", Some(&false));
        body.field("include", Some(&[IncludeEnum::ReasoningEncryptedContent]).filter(|_| can_reason));
    }
    body.field("instructions", chat.instructions.as_ref().map(Message::text).as_ref());
    body.field("max_output_tokens", settings.output_limit().map(|tokens| tokens.max(MIN_OUTPUT_TOKENS)).as_ref());
    body.field("temperature", settings.temperature.as_ref());
    body.field("top_p", settings.top_p.as_ref());
    let effort = settings.reasoning.map(|reasoning| known_models::reasoning_effort(model, reasoning));
    if can_reason && (effort.is_some() || summary.is_some()) {
        body.field("reasoning", Some(&Reasoning { effort, summary }));
    }
    body.field("text", settings.output.as_ref().map(TextConfig::new).as_ref());
    write_tools(&mut body, chat, settings);
    body.field("prompt_cache_key", settings.prompt_cache_key.as_ref());
    body.field("service_tier", settings.service_tier.as_ref());
    body.field("user", settings.user.as_ref());
    body.field("metadata", Some(&settings.metadata).filter(|labels| !labels.is_empty()));
    body.extras(&RESERVED);
    body.fixed("input", |out| write_input(out, request, state));
    body.finish()
}

/// Where the conversation is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ConversationState {
    /// Only here: each request contains the whole conversation.
    Stateless,
    /// Here, and the provider stores answers and knows their items by id.
    Stored,
    /// At the provider: a request contains only the new messages.
    Continued,
}

impl ConversationState {
    fn of(settings: &Settings) -> Self {
        let given = |name: &str| settings.extra.get(name).map(RawJson::get).filter(|raw| *raw != "null");
        if given("previous_response_id").or(given("conversation")).is_some() {
            Self::Continued
        } else if given("store") == Some("true") {
            Self::Stored
        } else {
            Self::Stateless
        }
    }
}

fn size_hint(chat: &ChatRequest) -> usize {
    const PER_MESSAGE: usize = 160;
    let instructions = chat.instructions.as_ref().map_or(0, Message::size_bytes);
    let visible = chat.transcript.visible_bytes() + chat.transcript.len() * PER_MESSAGE;
    1_024 + instructions + chat.tools.size_bytes() * 5 / 4 + visible
}

#[derive(Serialize)]
struct Reasoning<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<ReasoningEffort>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<&'a str>,
}

#[derive(Serialize)]
struct TextConfig<'a> {
    format: TextFormat<'a>,
}

#[derive(Serialize)]
struct TextFormat<'a> {
    r#type: &'static str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
    schema: &'a RawValue,
}

impl<'a> TextConfig<'a> {
    fn new(output: &'a OutputSchema) -> Self {
        let strict = output.strict.then_some(true);
        Self {
            format: TextFormat { r#type: "json_schema", name: &output.name, strict, schema: output.schema.as_raw() },
        }
    }
}

/// Writes the tools, followed by those in `extra` (the provider's own, such as web search).
fn write_tools(body: &mut BodyWriter<'_>, chat: &ChatRequest, settings: &Settings) {
    let more = settings.extra.get("tools").map(|tools| json::inside(tools.get())).unwrap_or_default();
    if chat.tools.is_empty() && more.is_empty() {
        return;
    }
    body.fixed("tools", |out| {
        out.push(b'[');
        let Ok(()) = chat.tools.write_encoded(Dialect { name: DIALECT, variant: 0 }, out, |specs, out| {
            let tools: Vec<Tool<'_>> = specs.iter().map(Tool::new).collect();
            json::write_items(out, &tools);
            Ok::<_, Infallible>(())
        });
        if !chat.tools.is_empty() && !more.is_empty() {
            out.push(b',');
        }
        out.extend_from_slice(more.as_bytes());
        out.push(b']');
    });
    let choice = match &settings.tool_choice {
        ToolChoice::Auto => None,
        ToolChoice::None => Some(ToolChoiceParam::Option(ToolChoiceOptions::None)),
        ToolChoice::Required => Some(ToolChoiceParam::Option(ToolChoiceOptions::Required)),
        ToolChoice::Named(name) => Some(ToolChoiceParam::Function(ToolChoiceFunction { name: name.clone() })),
    };
    body.field("tool_choice", choice.as_ref());
    body.field("parallel_tool_calls", settings.parallel_tool_calls.as_ref());
}

#[derive(Serialize)]
struct Tool<'a> {
    r#type: &'static str,
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    parameters: &'a RawValue,
    /// Always written: the API's default is true, and most schemas do not follow the rules of strict mode.
    strict: bool,
}

impl<'a> Tool<'a> {
    fn new(spec: &'a ToolSpec) -> Self {
        Self {
            r#type: "function",
            name: &spec.name,
            description: &spec.description,
            parameters: spec.input_schema.as_raw(),
            strict: spec.strict,
        }
    }
}

fn write_input(out: &mut Vec<u8>, request: &ModelRequest<'_>, state: ConversationState) {
    let ModelRequest { chat, maker, .. } = *request;
    let messages: Vec<&Message> = chat.transcript.visible().collect();
    let known = messages.iter().rposition(|message| message.role() == Role::Assistant).map_or(0, |last| last + 1);
    let skipped = if state == ConversationState::Continued { known } else { 0 };
    let stored = state != ConversationState::Stateless;
    out.push(b'[');
    let start = out.len();
    for message in messages.into_iter().skip(skipped) {
        let before = out.len();
        items::separate(out, start);
        let content = out.len();
        let readable = maker.readable(message);
        let variant = u64::from(stored) | (u64::from(matches!(readable, Cow::Owned(_))) << 1);
        let Ok(()) = message.write_encoded(Dialect { name: DIALECT, variant }, out, |_, out| {
            items::write(out, &readable, stored);
            Ok::<_, Infallible>(())
        });
        if out.len() == content {
            out.truncate(before);
        }
    }
    out.push(b']');
}

#[cfg(test)]
mod tests;
