//! Encodes the parts of a message as input items.

use std::{borrow::Cow, collections::BTreeMap};

use async_openai::types::responses::{FunctionToolCall, InputContent, InputRole, InputTextContent};
use brigade_core::{Image, Message, Part, ProviderData, RawJson, Role, TextPart, ToolCall, ToolResult};
use serde::Serialize;
use serde_json::{json, value::RawValue};

use super::{responses::DIALECT, wire::OutputItem};
use crate::{
    json::json,
    protocol::{maker::wire_format, tool_calls},
};

/// The longest call id and function name that the API accepts.
const MAX_ID_BYTES: usize = 64;

/// Appends the items of a message, separated by commas. `stored` says whether the provider keeps answers and knows
/// their items by id.
pub(super) fn write(out: &mut Vec<u8>, message: &Message, stored: bool) {
    match message.role() {
        Role::Assistant => write_answer(out, message.parts(), stored),
        Role::Tool => json::write_items(out, &message.tool_results().map(FunctionOutput::new).collect::<Vec<_>>()),
        Role::User => write_input(out, message, InputRole::User),
        Role::System => write_input(out, message, InputRole::Developer),
    }
}

/// Appends a comma if anything was written since `start`.
pub(super) fn separate(out: &mut Vec<u8>, start: usize) {
    if out.len() > start {
        out.push(b',');
    }
}

#[derive(Serialize)]
struct InputMessage<'a> {
    role: InputRole,
    content: Vec<Content<'a>>,
}

/// A part of a message's content, or of a tool result.
#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(InputContent),
    Image(InputImage<'a>),
    /// The provider's own form.
    Raw(&'a RawValue),
}

#[derive(Serialize)]
struct InputImage<'a> {
    r#type: &'static str,
    image_url: Cow<'a, str>,
}

#[derive(Serialize)]
struct FunctionOutput<'a> {
    r#type: &'static str,
    call_id: Cow<'a, str>,
    output: Output<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Output<'a> {
    Text(String),
    Content(Vec<Content<'a>>),
}

/// A function call, with the fields that the provider sent beside the documented ones.
#[derive(Serialize)]
struct FunctionCall<'a> {
    r#type: &'static str,
    #[serde(flatten)]
    call: FunctionToolCall,
    #[serde(flatten)]
    extra: BTreeMap<&'a str, &'a RawValue>,
}

fn write_input(out: &mut Vec<u8>, message: &Message, role: InputRole) {
    let start = out.len();
    for item in message.parts().iter().filter_map(own_item) {
        separate(out, start);
        out.extend_from_slice(item.as_bytes());
    }
    let content = content(message.parts());
    if !content.is_empty() {
        separate(out, start);
        json::write(out, &InputMessage { role, content });
    }
}

/// A part that is an item of its own, rather than a part of a message's content.
fn own_item(part: &Part) -> Option<&str> {
    let Part::Opaque(data) = part else { return None };
    let raw = own(data)?;
    (!is_content(raw)).then(|| raw.get())
}

fn is_content(raw: &RawJson) -> bool {
    OutputItem::new(raw.as_raw()).kind.starts_with("input_")
}

fn content(parts: &[Part]) -> Vec<Content<'_>> {
    let image = |image_url| Some(Content::Image(InputImage { r#type: "input_image", image_url }));
    let content = |part| match part {
        &Part::Text(TextPart { ref text, .. }) if !text.is_empty() => {
            let text = InputTextContent { text: text.clone(), prompt_cache_breakpoint: None };
            Some(Content::Text(InputContent::InputText(text)))
        }
        Part::Image(Image::Url(url)) => image(url.into()),
        Part::Image(Image::Base64 { media_type, data }) => image(format!("data:{media_type};base64,{data}").into()),
        Part::Opaque(data) => own(data).filter(|raw| is_content(raw)).map(|raw| Content::Raw(raw.as_raw())),
        _ => None,
    };
    parts.iter().filter_map(content).collect()
}

impl<'a> FunctionOutput<'a> {
    fn new(result: &'a ToolResult) -> Self {
        let content = content(&result.content);
        let texts: Option<Vec<&str>> = content.iter().map(Content::as_text).collect();
        let output = match texts {
            Some(texts) => Output::Text(texts.join("\n")),
            None => Output::Content(content),
        };
        Self { r#type: "function_call_output", call_id: call_id(&result.call_id), output }
    }
}

impl Content<'_> {
    fn as_text(&self) -> Option<&str> {
        if let Self::Text(InputContent::InputText(text)) = self { Some(&text.text) } else { None }
    }
}

/// The API refuses a reasoning item without a following item, and an item whose id belongs to reasoning that is missing.
fn write_answer(out: &mut Vec<u8>, parts: &[Part], stored: bool) {
    let end = parts.iter().rposition(|part| !matches!(part, Part::Thinking(_)) && is_sendable(part));
    let parts = parts.get(..end.map_or(0, |end| end + 1)).unwrap_or_default();
    let lost = |thinking: &TextPart| reasoning(thinking, stored).is_none();
    let with_ids = !parts.iter().any(|part| matches!(part, Part::Thinking(thinking) if lost(thinking)));
    let start = out.len();
    for part in parts.iter().filter(|part| is_sendable(part)) {
        let item = match part {
            Part::Text(text) => match text.data.as_ref().and_then(own) {
                Some(raw) => item(raw, with_ids),
                None => output_message(&text.text).into(),
            },
            Part::Thinking(thinking) => match reasoning(thinking, stored) {
                Some(raw) => raw.get().into(),
                None => continue,
            },
            Part::ToolCall(call) => {
                separate(out, start);
                write_call(out, call, with_ids);
                continue;
            }
            Part::Opaque(data) => item(&data.raw, with_ids),
            Part::ToolResult(_) | Part::Image(_) => continue,
        };
        separate(out, start);
        out.extend_from_slice(item.as_bytes());
    }
}

/// Whether a part of an answer can be sent back.
fn is_sendable(part: &Part) -> bool {
    match part {
        Part::Text(text) => !text.text.is_empty() || text.data.as_ref().and_then(own).is_some(),
        Part::Opaque(data) => own(data).is_some(),
        Part::Thinking(_) | Part::ToolCall(_) => true,
        Part::ToolResult(_) | Part::Image(_) => false,
    }
}

/// A reasoning item that the provider accepts: one that it stores, or one with its content.
fn reasoning(thinking: &TextPart, stored: bool) -> Option<&RawJson> {
    let raw = own(thinking.data.as_ref()?)?;
    let item = OutputItem::new(raw.as_raw());
    let filled = |field: &str| item.fields.get(field).is_some_and(|value| !json::is_blank(value));
    (stored || filled("encrypted_content") || filled("content")).then_some(raw)
}

/// An item as the provider sent it, or without its id.
fn item(raw: &RawJson, with_id: bool) -> Cow<'_, str> {
    if with_id {
        return raw.get().into();
    }
    let mut fields = OutputItem::new(raw.as_raw()).fields;
    let without_id = fields.remove("id").and_then(|_| RawJson::of(&fields).ok());
    without_id.map_or(raw.get().into(), |without_id| without_id.get().to_owned().into())
}

/// An answer of another provider, which has neither the id nor the status that an output message needs elsewhere.
fn output_message(text: &str) -> String {
    let content = json!([{ "type": "output_text", "text": text }]);
    json!({ "type": "message", "role": "assistant", "content": content }).to_string()
}

fn write_call(out: &mut Vec<u8>, call: &ToolCall, with_id: bool) {
    let raw = call.data.as_ref().and_then(own);
    let mut extra: BTreeMap<&str, &RawValue> =
        raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    if !with_id {
        extra.remove("id");
    }
    let item = FunctionToolCall {
        call_id: call_id(&call.id).into_owned(),
        name: tool_calls::valid_id(&call.name, MAX_ID_BYTES).into_owned(),
        arguments: tool_calls::arguments_object(&call.arguments).into_owned(),
        ..FunctionToolCall::default()
    };
    json::write(out, &FunctionCall { r#type: "function_call", call: item, extra });
}

/// Ids may be of any form, up to a length.
fn call_id(id: &str) -> Cow<'_, str> {
    if id.len() <= MAX_ID_BYTES && !id.is_empty() { id.into() } else { tool_calls::valid_id(id, MAX_ID_BYTES) }
}

fn own(data: &ProviderData) -> Option<&RawJson> {
    (wire_format(data) == DIALECT).then_some(&data.raw)
}
