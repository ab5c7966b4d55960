//! Writes one message.
//!
//! The request types of `async-openai` where they fit, and around them the fields that are a server's own.

use std::{borrow::Cow, collections::BTreeMap};

use async_openai::types::chat::{
    ChatCompletionMessageToolCall, ChatCompletionRequestAssistantMessage, ChatCompletionRequestAssistantMessageContent,
    ChatCompletionRequestMessage, ChatCompletionRequestMessageContentPartImage,
    ChatCompletionRequestMessageContentPartText, ChatCompletionRequestToolMessage,
    ChatCompletionRequestToolMessageContent, ChatCompletionRequestUserMessage, ChatCompletionRequestUserMessageContent,
    ChatCompletionRequestUserMessageContentPart, CustomTool, FunctionCall, ImageUrl,
};
use brigade_core::{Image, Message, ModelError, Part, ProviderData, Role, Text, Thinking, ToolCall, ToolResult};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    DIALECT,
    server::{CallIds, Quirks},
};
use crate::{call::fitted, client::caller_error, digest, json};

/// The longest name of a tool that the API takes (<https://platform.openai.com/docs/api-reference/chat/create>).
const MAX_NAME_BYTES: usize = 64;

/// Writes one message, as several where the protocol wants several.
pub(super) fn write_message(message: &Message, out: &mut Vec<u8>, quirks: &Quirks) -> Result<(), ModelError> {
    match message.role() {
        Role::System => json::value(out, &Words { role: quirks.system_role, content: message.text() }),
        Role::User => write_user(message.parts().iter(), out),
        Role::Assistant => json::value(out, &Assistant::new(message, quirks)?),
        Role::Tool => write_results(message, out, quirks),
    }
    Ok(())
}

/// A message of nothing but words, as most are.
#[derive(Serialize)]
pub(super) struct Words<'a> {
    pub(super) role: &'static str,
    pub(super) content: Cow<'a, str>,
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
    standard: StandardCall,
    #[serde(flatten)]
    echoed: Echoed<'a>,
}

/// A call as the API documents it; `async-openai` writes `custom_tool` where `custom` belongs.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum StandardCall {
    Function(ChatCompletionMessageToolCall),
    Custom { id: String, custom: CustomTool },
}

type Echoed<'a> = BTreeMap<&'a str, Cow<'a, RawValue>>;

impl<'a> Assistant<'a> {
    fn new(message: &'a Message, quirks: &Quirks) -> Result<Self, ModelError> {
        let mut assistant = Self {
            role: "assistant",
            standard: ChatCompletionRequestAssistantMessage::default(),
            tool_calls: Vec::new(),
            echoed: Echoed::new(),
        };
        // Content as a list is only for servers whose reasoning is a part of it.
        let mut list = Vec::new();
        for part in message.parts() {
            match part {
                Part::Text(text) if is_refusal(text) => assistant.standard.refusal = Some(text.text.clone()),
                Part::Text(text) => list.push(Cow::Owned(text_part(&text.text)?)),
                Part::Thinking(Thinking { data: Some(data), .. }) => match own(data) {
                    Some(raw) if is_content_part(raw) => {
                        list.extend(may_echo("content", quirks).then_some(Cow::Borrowed(raw)));
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
        // A model may have made a name up that the API does not take back.
        let name = fitted(&call.name, MAX_NAME_BYTES).into_owned();
        if data.is_some_and(|data| data.get().starts_with("{\"custom\"")) {
            let custom = CustomTool { name, input: arguments };
            return Self { standard: StandardCall::Custom { id, custom }, echoed: Echoed::new() };
        }
        let function = ChatCompletionMessageToolCall { id, function: FunctionCall { name, arguments } };
        let echoed = data.map(|raw| fields(raw, quirks)).unwrap_or_default();
        Self { standard: StandardCall::Function(function), echoed }
    }
}

fn write_user<'a>(parts: impl Iterator<Item = &'a Part> + Clone, out: &mut Vec<u8>) {
    let mut known = parts.clone().filter(|part| matches!(part, Part::Text(_) | Part::Image(_)));
    if let (Some(Part::Text(only)), None) = (known.next(), known.next()) {
        return json::value(out, &Words { role: "user", content: (&only.text).into() });
    }
    let content = ChatCompletionRequestUserMessageContent::Array(parts.filter_map(user_part).collect());
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
