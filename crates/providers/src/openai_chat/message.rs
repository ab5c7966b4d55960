//! Encodes messages.

use std::{borrow::Cow, collections::BTreeMap};

use async_openai::types::chat::{
    ChatCompletionMessageToolCall, ChatCompletionRequestMessage, ChatCompletionRequestMessageContentPartImage,
    ChatCompletionRequestMessageContentPartText, ChatCompletionRequestToolMessage,
    ChatCompletionRequestToolMessageContent, ChatCompletionRequestUserMessage, ChatCompletionRequestUserMessageContent,
    ChatCompletionRequestUserMessageContentPart, CustomTool, FunctionCall, ImageUrl,
};
use brigade_core::{Image, Message, ModelError, Part, ProviderData, Role, TextPart, ToolCall, ToolResult};
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

use super::{
    chat_completions::DIALECT,
    server::{CallIds, Quirks},
};
use crate::{
    json::json,
    protocol::{
        digest,
        maker::wire_format,
        protocol::caller_error,
        tool_calls::{arguments_object, valid_id},
    },
};

/// The longest tool name that the API accepts (<https://platform.openai.com/docs/api-reference/chat/create>).
const MAX_NAME_BYTES: usize = 64;

/// Writes one message, as several where the protocol wants several.
pub(super) fn write_message(message: &Message, out: &mut Vec<u8>, quirks: &Quirks) -> Result<(), ModelError> {
    match message.role() {
        Role::System => json::write(out, &SystemMessage { role: quirks.system_role, content: &message.text() }),
        Role::User => json::write(out, &user_message(message.parts())),
        Role::Assistant => json::write(out, &AssistantMessage::new(message, quirks)?),
        Role::Tool => json::write_items(out, &tool_messages(message, quirks)),
    }
    Ok(())
}

/// Whether nothing of an answer can be sent to the server, which would refuse an empty message.
pub(super) fn is_empty(answer: &Message, quirks: &Quirks) -> bool {
    answer.text().trim().is_empty()
        && answer.parts().iter().all(|part| match part {
            Part::ToolCall(_) => false,
            Part::Thinking(TextPart { data: Some(data), .. }) => {
                content_part(part, quirks).is_none()
                    && own(data).is_none_or(|raw| is_content_part(raw) || accepted_fields(raw, quirks).is_empty())
            }
            Part::Text(_) | Part::Thinking(_) | Part::ToolResult(_) | Part::Image(_) => true,
            Part::Opaque(_) => content_part(part, quirks).is_none(),
        })
}

/// Instructions, under the role that the server calls them by.
#[derive(Serialize)]
pub(super) struct SystemMessage<'a> {
    pub(super) role: &'static str,
    pub(super) content: &'a str,
}

/// An assistant message, with fields of the server's own.
#[derive(Serialize)]
struct AssistantMessage<'a> {
    role: &'static str,
    content: Option<AnswerContent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCallMessage<'a>>,
    #[serde(flatten)]
    extra: ExtraFields<'a>,
}

/// What an assistant said. The vendor's type leaves the field out where its own SDKs send `null`.
#[derive(Serialize)]
#[serde(untagged)]
enum AnswerContent {
    Text(String),
    /// For servers whose reasoning is a part of the content.
    List(Box<RawValue>),
}

/// A tool call, with fields of the server's own.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ToolCallMessage<'a> {
    Function {
        #[serde(flatten)]
        call: ChatCompletionMessageToolCall,
        #[serde(flatten)]
        extra: ExtraFields<'a>,
    },
    Custom {
        id: String,
        custom: CustomTool,
    },
}

type ExtraFields<'a> = BTreeMap<&'a str, Cow<'a, RawValue>>;

impl<'a> AssistantMessage<'a> {
    fn new(message: &'a Message, quirks: &Quirks) -> Result<Self, ModelError> {
        let (mut refusal, mut tool_calls, mut extra) = (None, Vec::new(), ExtraFields::new());
        for part in message.parts() {
            match part {
                Part::Text(text) if is_refusal(text) => refusal = Some(text.text.as_str()),
                Part::Thinking(TextPart { data: Some(data), .. }) => {
                    let fields = own(data).filter(|raw| !is_content_part(raw));
                    extra.extend(fields.map(|raw| accepted_fields(raw, quirks)).unwrap_or_default());
                }
                Part::ToolCall(call) => tool_calls.push(ToolCallMessage::new(call, quirks)),
                _ => {}
            }
        }
        let texts: Vec<&str> = message.parts().iter().filter_map(visible_text).collect();
        let text = texts.concat();
        // The API refuses a message with nothing in it.
        let may_be_null = quirks.null_content && (!tool_calls.is_empty() || refusal.is_some());
        let content = if message.parts().iter().any(|part| content_part(part, quirks).is_some()) {
            Some(AnswerContent::List(content_list(message.parts(), quirks)?))
        } else {
            Some(text).filter(|text| !may_be_null || !text.is_empty()).map(AnswerContent::Text)
        };
        Ok(Self { role: "assistant", content, refusal, tool_calls, extra })
    }
}

impl<'a> ToolCallMessage<'a> {
    fn new(call: &'a ToolCall, quirks: &Quirks) -> Self {
        let id = call_id(&call.id, quirks.call_ids).into_owned();
        let data = call.data.as_ref().and_then(own);
        // A model may have invented a name that the API does not accept.
        let name = valid_id(&call.name, MAX_NAME_BYTES).into_owned();
        if data.is_some_and(|data| data.get().starts_with("{\"custom\"")) {
            return Self::Custom { id, custom: CustomTool { name, input: call.arguments.as_str().to_owned() } };
        }
        // Strict servers parse the arguments of the history too.
        let arguments = arguments_object(&call.arguments).into_owned();
        let extra = data.map(|raw| accepted_fields(raw, quirks)).unwrap_or_default();
        Self::Function { call: ChatCompletionMessageToolCall { id, function: FunctionCall { name, arguments } }, extra }
    }
}

/// A text part that is not a refusal.
fn visible_text(part: &Part) -> Option<&str> {
    match part {
        Part::Text(text) if !is_refusal(text) => Some(&text.text),
        _ => None,
    }
}

/// A part that the server sent, and accepts, as a part of its content list.
fn content_part<'a>(part: &'a Part, quirks: &Quirks) -> Option<&'a RawValue> {
    let raw = match part {
        Part::Thinking(TextPart { data: Some(data), .. }) => own(data).filter(|raw| is_content_part(raw)),
        Part::Opaque(data) => own(data),
        _ => None,
    };
    raw.filter(|_| quirks.echo.contains(&"content"))
}

fn content_list(parts: &[Part], quirks: &Quirks) -> Result<Box<RawValue>, ModelError> {
    let mut list = Vec::new();
    for part in parts {
        if let Some(text) = visible_text(part) {
            list.push(Cow::Owned(raw(&json!({ "text": text, "type": "text" }))?));
        } else {
            list.extend(content_part(part, quirks).map(Cow::Borrowed));
        }
    }
    raw(&list)
}

/// A message of texts and images. A single text is written as a string, which every server accepts.
fn user_message<'a>(parts: impl IntoIterator<Item = &'a Part>) -> ChatCompletionRequestMessage {
    let mut content: Vec<_> = parts.into_iter().filter_map(user_part).collect();
    let content = match content.pop() {
        Some(ChatCompletionRequestUserMessageContentPart::Text(only)) if content.is_empty() => {
            ChatCompletionRequestUserMessageContent::Text(only.text)
        }
        last => {
            content.extend(last);
            ChatCompletionRequestUserMessageContent::Array(content)
        }
    };
    ChatCompletionRequestMessage::User(ChatCompletionRequestUserMessage { content, name: None })
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

/// One message for each result. Results are text here, so their images follow in a user message.
fn tool_messages(message: &Message, quirks: &Quirks) -> Vec<ChatCompletionRequestMessage> {
    let results: Vec<&ToolResult> = message.tool_results().collect();
    let mut messages: Vec<_> = results.iter().map(|result| tool_message(result, quirks)).collect();
    let images = results.iter().flat_map(|result| &result.content).filter(|part| matches!(part, Part::Image(_)));
    let images: Vec<&Part> = images.collect();
    if !images.is_empty() {
        messages.push(user_message(images));
    }
    messages
}

fn tool_message(result: &ToolResult, quirks: &Quirks) -> ChatCompletionRequestMessage {
    let text = |part: &'_ Part| if let Part::Text(text) = part { Some(text.text.clone()) } else { None };
    let texts: Vec<String> = result.content.iter().filter_map(text).collect();
    ChatCompletionRequestMessage::Tool(ChatCompletionRequestToolMessage {
        content: ChatCompletionRequestToolMessageContent::Text(texts.join("\n")),
        tool_call_id: call_id(&result.call_id, quirks.call_ids).into_owned(),
    })
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

/// The data, if it belongs to this protocol.
fn own(data: &ProviderData) -> Option<&RawValue> {
    (wire_format(data) == DIALECT).then(|| data.raw.as_raw())
}

/// Whether the data has signed or encrypted parts. Readable reasoning is for every server that takes it.
pub(super) fn is_private(data: &ProviderData) -> bool {
    const MARKS: [&str; 4] = ["\"signature\"", "\"thought_signature\"", "\"reasoning_details\"", "\"encrypted"];
    MARKS.iter().any(|mark| data.raw.get().contains(mark))
}

/// The fields of `raw` that the server accepts.
fn accepted_fields<'a>(raw: &'a RawValue, quirks: &Quirks) -> ExtraFields<'a> {
    let fields: BTreeMap<&str, &RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
    let accepted = fields.into_iter().filter(|(name, _)| quirks.echo.contains(name));
    accepted.map(|(name, value)| (name, Cow::Borrowed(value))).collect()
}

fn is_refusal(text: &TextPart) -> bool {
    let data = text.data.as_ref().and_then(own);
    data.is_some_and(|raw| raw.get().starts_with("{\"refusal\""))
}

/// Whether reasoning is a part of the content, which has a type. Other reasoning is in fields beside the content.
fn is_content_part(raw: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Typed {
        r#type: Option<serde::de::IgnoredAny>,
    }
    serde_json::from_str::<Typed>(raw.get()).is_ok_and(|typed| typed.r#type.is_some())
}

fn raw(value: &impl Serialize) -> Result<Box<RawValue>, ModelError> {
    serde_json::value::to_raw_value(value)
        .map_err(|error| caller_error("a message cannot be encoded as JSON").caused_by(error))
}
