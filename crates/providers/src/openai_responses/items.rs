//! The parts of a message become the items of a Responses input.

use std::borrow::Cow;

use brigade_core::{Image, Message, Part, ProviderData, RawJson, Role, TextPart, ToolCall, ToolResult};
use serde_json::{Value, json};

use super::{responses::DIALECT, wire::OutputItem};
use crate::{json::json, protocol::tool_calls};

/// The longest that the API takes a call's id or a function's name to be.
const MAX_ID_BYTES: usize = 64;

/// Appends the items of a message, separated by commas. `stored` says whether the provider keeps answers and knows
/// their items by id.
pub(super) fn write(out: &mut Vec<u8>, message: &Message, stored: bool) {
    match message.role() {
        Role::Assistant => write_answer(out, message.parts(), stored),
        Role::Tool => {
            let start = out.len();
            for result in message.tool_results() {
                separate(out, start);
                write_result(out, result);
            }
        }
        Role::User | Role::System => write_question(out, message),
    }
}

/// Puts a comma where something stands already.
pub(super) fn separate(out: &mut Vec<u8>, start: usize) {
    if out.len() > start {
        out.push(b',');
    }
}

fn write_question(out: &mut Vec<u8>, message: &Message) {
    let start = out.len();
    for item in message.parts().iter().filter_map(own_item) {
        separate(out, start);
        out.extend_from_slice(item.as_bytes());
    }
    let content = content(message.parts());
    if !content.is_empty() {
        separate(out, start);
        let role = if message.role() == Role::System { "developer" } else { "user" };
        json::write(out, &json!({ "role": role, "content": content }));
    }
}

/// A part that is an item by itself, as opposed to a piece of a message's content.
fn own_item(part: &Part) -> Option<&str> {
    let Part::Opaque(data) = part else { return None };
    let raw = own(data)?;
    (!is_content(raw)).then(|| raw.get())
}

fn is_content(raw: &RawJson) -> bool {
    OutputItem::new(raw.as_raw()).kind.starts_with("input_")
}

/// Text, pictures and files as the content of a message or of a result.
fn content(parts: &[Part]) -> Vec<Value> {
    let piece = |part: &Part| match part {
        Part::Text(text) if !text.text.is_empty() => Some(json!({ "type": "input_text", "text": text.text })),
        Part::Image(Image::Url(url)) => Some(json!({ "type": "input_image", "image_url": url })),
        Part::Image(Image::Base64 { media_type, data }) => {
            Some(json!({ "type": "input_image", "image_url": format!("data:{media_type};base64,{data}") }))
        }
        Part::Opaque(data) => {
            own(data).filter(|raw| is_content(raw)).and_then(|raw| serde_json::from_str(raw.get()).ok())
        }
        _ => None,
    };
    parts.iter().filter_map(piece).collect()
}

fn write_result(out: &mut Vec<u8>, result: &ToolResult) {
    let content = content(&result.content);
    let texts: Option<Vec<&str>> = content.iter().map(|piece| piece.get("text")?.as_str()).collect();
    let output = texts.map_or(Value::Array(content.clone()), |texts| texts.join("\n").into());
    let id = call_id(&result.call_id);
    json::write(out, &json!({ "type": "function_call_output", "call_id": id, "output": output }));
}

/// The API refuses a reasoning item that nothing follows, and an item whose id belongs to reasoning that is not there.
fn write_answer(out: &mut Vec<u8>, parts: &[Part], stored: bool) {
    let end = parts.iter().rposition(|part| !matches!(part, Part::Thinking(_)) && says_something(part));
    let parts = parts.get(..end.map_or(0, |end| end + 1)).unwrap_or_default();
    let lost = |thinking: &TextPart| reasoning(thinking, stored).is_none();
    let with_ids = !parts.iter().any(|part| matches!(part, Part::Thinking(thinking) if lost(thinking)));
    let start = out.len();
    for part in parts.iter().filter(|part| says_something(part)) {
        let item = match part {
            Part::Text(text) => match text.data.as_ref().and_then(own) {
                Some(raw) => identified(raw, with_ids),
                None => spoken(&text.text).into(),
            },
            Part::Thinking(thinking) => match reasoning(thinking, stored) {
                Some(raw) => raw.get().into(),
                None => continue,
            },
            Part::ToolCall(call) => called(call, with_ids).into(),
            Part::Opaque(data) => identified(&data.raw, with_ids),
            Part::ToolResult(_) | Part::Image(_) => continue,
        };
        separate(out, start);
        out.extend_from_slice(item.as_bytes());
    }
}

/// Whether a part of an answer can go back at all.
fn says_something(part: &Part) -> bool {
    match part {
        Part::Text(text) => !text.text.is_empty() || text.data.as_ref().and_then(own).is_some(),
        Part::Opaque(data) => own(data).is_some(),
        Part::Thinking(_) | Part::ToolCall(_) => true,
        Part::ToolResult(_) | Part::Image(_) => false,
    }
}

/// A reasoning item that the provider can make sense of: one that it stores, or one that has its content with it.
fn reasoning(thinking: &TextPart, stored: bool) -> Option<&RawJson> {
    let raw = own(thinking.data.as_ref()?)?;
    let item = OutputItem::new(raw.as_raw());
    let filled = |field: &str| item.fields.get(field).is_some_and(|value| !json::is_blank(value));
    (stored || filled("encrypted_content") || filled("content")).then_some(raw)
}

/// An item as it came, or without its id.
fn identified(raw: &RawJson, with_id: bool) -> Cow<'_, str> {
    if with_id {
        return raw.get().into();
    }
    let mut fields = OutputItem::new(raw.as_raw()).fields;
    let bare = fields.remove("id").and_then(|_| RawJson::of(&fields).ok());
    bare.map_or(raw.get().into(), |bare| bare.get().to_owned().into())
}

fn spoken(text: &str) -> String {
    let content = json!([{ "type": "output_text", "text": text }]);
    json!({ "type": "message", "role": "assistant", "content": content }).to_string()
}

fn called(call: &ToolCall, with_id: bool) -> String {
    let known = json!({
        "type": "function_call",
        "call_id": call_id(&call.id),
        "name": tool_calls::valid_id(&call.name, MAX_ID_BYTES),
        "arguments": tool_calls::arguments_object(&call.arguments),
    });
    let known = known.to_string();
    let more = call.data.as_ref().and_then(own).map(|raw| identified(raw, with_id)).unwrap_or_default();
    let more = json::inside(&more);
    if more.is_empty() { known } else { format!("{{{},{more}}}", json::inside(&known)) }
}

/// Ids have no form here, only a greatest length.
fn call_id(id: &str) -> Cow<'_, str> {
    if id.len() <= MAX_ID_BYTES && !id.is_empty() { id.into() } else { tool_calls::valid_id(id, MAX_ID_BYTES) }
}

fn own(data: &ProviderData) -> Option<&RawJson> {
    (data.dialect == DIALECT).then_some(&data.raw)
}
