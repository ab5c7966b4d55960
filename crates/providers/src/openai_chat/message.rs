//! Writes one message.
//!
//! The request types of `async-openai` for what is rare and of many forms, such as pictures. What every turn adds has
//! types of its own: they borrow their texts, and have room for the fields that are a server's own.

use std::{borrow::Cow, collections::BTreeMap};

use async_openai::types::chat::{
    ChatCompletionRequestMessage, ChatCompletionRequestMessageContentPartImage,
    ChatCompletionRequestMessageContentPartText, ChatCompletionRequestUserMessage,
    ChatCompletionRequestUserMessageContent, ChatCompletionRequestUserMessageContentPart, ImageUrl,
};
use brigade_core::{Image, Message, ModelError, Part, ProviderData, Role, TextPart, ToolCall, ToolResult};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    chat_completions::DIALECT,
    server::{CallIds, Quirks},
};
use crate::{
    json::json,
    protocol::{digest, protocol::caller_error, tool_calls::valid_id},
};

/// The longest name of a tool that the API takes (<https://platform.openai.com/docs/api-reference/chat/create>).
const MAX_NAME_BYTES: usize = 64;

/// Writes one message, as several where the protocol wants several.
pub(super) fn write_message(message: &Message, out: &mut Vec<u8>, quirks: &Quirks) -> Result<(), ModelError> {
    match message.role() {
        Role::System => json::write(out, &Words { role: quirks.system_role, content: message.text() }),
        Role::User => write_user(message.parts().iter(), out),
        Role::Assistant => json::write(out, &Assistant::new(message, quirks)?),
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
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call<'a>>,
    #[serde(flatten)]
    echoed: Echoed<'a>,
}

/// A call with the fields of the server's own.
#[derive(Serialize)]
struct Call<'a> {
    r#type: &'static str,
    id: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<Function<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom: Option<Custom<'a>>,
    #[serde(flatten)]
    echoed: Echoed<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: Cow<'a, str>,
    arguments: &'a str,
}

#[derive(Serialize)]
struct Custom<'a> {
    name: Cow<'a, str>,
    input: &'a str,
}

/// What a tool answered.
#[derive(Serialize)]
struct Answer<'a> {
    role: &'static str,
    content: Cow<'a, str>,
    tool_call_id: Cow<'a, str>,
}

type Echoed<'a> = BTreeMap<&'a str, Cow<'a, RawValue>>;

impl<'a> Assistant<'a> {
    fn new(message: &'a Message, quirks: &Quirks) -> Result<Self, ModelError> {
        let (mut refusal, mut tool_calls, mut echoed) = (None, Vec::new(), Echoed::new());
        for part in message.parts() {
            match part {
                Part::Text(text) if is_refusal(text) => refusal = Some(&*text.text),
                Part::Thinking(TextPart { data: Some(data), .. }) => {
                    let beside = own(data).filter(|raw| !is_content_part(raw));
                    echoed.extend(beside.map(|raw| fields(raw, quirks)).unwrap_or_default());
                }
                Part::ToolCall(call) => tool_calls.push(Call::new(call, quirks)),
                _ => {}
            }
        }
        let mut content = joined(message.parts().iter().filter_map(said), "");
        // Content as a list is only for servers whose reasoning is a part of it.
        if message.parts().iter().any(|part| listed(part, quirks).is_some()) {
            echoed.insert("content", Cow::Owned(list(message.parts(), quirks)?));
            content = None;
        } else if content.is_none() && tool_calls.is_empty() && refusal.is_none() {
            // A message must have something in it.
            content = Some(Cow::default());
        }
        Ok(Self { role: "assistant", content, refusal, tool_calls, echoed })
    }
}

impl<'a> Call<'a> {
    fn new(call: &'a ToolCall, quirks: &Quirks) -> Self {
        let id = call_id(&call.id, quirks.call_ids);
        let data = call.data.as_ref().and_then(own);
        let arguments = call.arguments.as_str();
        // A model may have made a name up that the API does not take back.
        let name = valid_id(&call.name, MAX_NAME_BYTES);
        if data.is_some_and(|data| data.get().starts_with("{\"custom\"")) {
            let custom = Some(Custom { name, input: arguments });
            return Self { r#type: "custom", id, function: None, custom, echoed: Echoed::new() };
        }
        let echoed = data.map(|raw| fields(raw, quirks)).unwrap_or_default();
        Self { r#type: "function", id, function: Some(Function { name, arguments }), custom: None, echoed }
    }
}

/// What the model said in words.
fn said(part: &Part) -> Option<&str> {
    match part {
        Part::Text(text) if !is_refusal(text) => Some(&text.text),
        _ => None,
    }
}

/// What goes back in a list of content, as the server gave it.
fn listed<'a>(part: &'a Part, quirks: &Quirks) -> Option<&'a RawValue> {
    let raw = match part {
        Part::Thinking(TextPart { data: Some(data), .. }) => own(data).filter(|raw| is_content_part(raw)),
        Part::Opaque(data) => own(data),
        _ => None,
    };
    raw.filter(|_| may_echo("content", quirks))
}

fn list(parts: &[Part], quirks: &Quirks) -> Result<Box<RawValue>, ModelError> {
    let mut list = Vec::new();
    for part in parts {
        if let Some(text) = said(part) {
            list.push(Cow::Owned(text_part(text)?));
        } else {
            list.extend(listed(part, quirks).map(Cow::Borrowed));
        }
    }
    raw(&list)
}

/// The texts as one; absent if there are none. A single one, as there mostly is, is not copied.
fn joined<'a>(mut texts: impl Iterator<Item = &'a str>, separator: &'a str) -> Option<Cow<'a, str>> {
    let mut joined = Cow::Borrowed(texts.next()?);
    for text in texts {
        joined += separator;
        joined += text;
    }
    Some(joined)
}

fn write_user<'a>(parts: impl Iterator<Item = &'a Part> + Clone, out: &mut Vec<u8>) {
    let mut known = parts.clone().filter(|part| matches!(part, Part::Text(_) | Part::Image(_)));
    if let (Some(Part::Text(only)), None) = (known.next(), known.next()) {
        return json::write(out, &Words { role: "user", content: (&only.text).into() });
    }
    let content = ChatCompletionRequestUserMessageContent::Array(parts.filter_map(user_part).collect());
    let message = ChatCompletionRequestUserMessage { content, name: None };
    json::write(out, &ChatCompletionRequestMessage::User(message));
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
        let content = joined(texts, "\n").unwrap_or_default();
        let tool_call_id = call_id(&result.call_id, quirks.call_ids);
        json::write(out, &Answer { role: "tool", content, tool_call_id });
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

fn is_refusal(text: &TextPart) -> bool {
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
