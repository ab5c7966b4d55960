//! Encodes the parts of a message as Anthropic's content blocks.

use brigade_core::{Image, Message, Part, ProviderData, ToolCall, ToolResult};
use serde_json::json;

use super::messages::DIALECT;
use crate::{
    json::json,
    protocol::{maker::wire_format, tool_calls},
};

/// The longest tool name that the API accepts. It has no limit for ids.
const MAX_ID_BYTES: usize = 128;

/// True if a cache mark can be inserted into the last block of a message. A block in the provider's own form is refused,
/// because it may already have a mark.
pub(super) fn is_markable(message: &Message) -> bool {
    let last = message.parts().iter().rfind(|part| match part {
        Part::Text(text) => text.data.as_ref().is_some_and(is_anthropic) || !text.text.trim().is_empty(),
        Part::Opaque(data) => is_anthropic(data),
        _ => true,
    });
    match last {
        Some(Part::Text(text)) => !text.data.as_ref().is_some_and(is_anthropic),
        Some(Part::Image(_) | Part::ToolResult(_)) => true,
        _ => false,
    }
}

/// Appends the content blocks, separated by commas. Thinking is left out for models without it.
pub(super) fn write(out: &mut Vec<u8>, parts: &[Part], thinks: bool) {
    let start = out.len();
    // The API refuses a message that ends in thinking.
    let mut end = start;
    for part in parts {
        let before = out.len();
        separate(out, start);
        let content = out.len();
        match part {
            Part::Text(text) => match text.data.as_ref().filter(|data| is_anthropic(data)) {
                Some(data) => out.extend_from_slice(data.raw.get().as_bytes()),
                // The API refuses empty text blocks.
                None if text.text.trim().is_empty() => {}
                None => write_text(out, &text.text),
            },
            Part::Thinking(thinking) => {
                let data = thinking.data.as_ref().filter(|data| thinks && is_anthropic(data));
                out.extend_from_slice(data.map(|data| data.raw.get()).unwrap_or_default().as_bytes());
            }
            Part::ToolCall(call) => write_call(out, call),
            Part::ToolResult(result) => write_result(out, result),
            Part::Image(image) => write_image(out, image),
            Part::Opaque(data) if is_anthropic(data) => out.extend_from_slice(data.raw.get().as_bytes()),
            Part::Opaque(_) => {}
        }
        if out.len() == content {
            out.truncate(before);
        } else if !matches!(part, Part::Thinking(_)) {
            end = out.len();
        }
    }
    out.truncate(end);
}

pub(super) fn is_anthropic(data: &ProviderData) -> bool {
    wire_format(data) == DIALECT
}

pub(super) fn separate(out: &mut Vec<u8>, start: usize) {
    if out.len() > start {
        out.push(b',');
    }
}

pub(super) fn write_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(b"{\"type\":\"text\",\"text\":");
    json::write(out, text);
    out.push(b'}');
}

fn write_call(out: &mut Vec<u8>, call: &ToolCall) {
    out.extend_from_slice(b"{\"type\":\"tool_use\",\"id\":");
    json::write(out, &*tool_calls::valid_id(&call.id, MAX_ID_BYTES));
    out.extend_from_slice(b",\"name\":");
    json::write(out, &*tool_calls::valid_id(&call.name, MAX_ID_BYTES));
    out.extend_from_slice(b",\"input\":");
    out.extend_from_slice(tool_calls::arguments_object(&call.arguments).as_bytes());
    let more = call.data.as_ref().filter(|data| is_anthropic(data)).map(|data| json::inside(data.raw.get()));
    if let Some(more) = more.filter(|more| !more.is_empty()) {
        out.push(b',');
        out.extend_from_slice(more.as_bytes());
    }
    out.push(b'}');
}

fn write_result(out: &mut Vec<u8>, result: &ToolResult) {
    out.extend_from_slice(b"{\"type\":\"tool_result\",\"tool_use_id\":");
    json::write(out, &*tool_calls::valid_id(&result.call_id, MAX_ID_BYTES));
    let mut content = Vec::new();
    write(&mut content, &result.content, false);
    if content.is_empty() && result.is_error {
        // The API refuses an error without content.
        write_text(&mut content, "The tool failed and gave no reason.");
    }
    if !content.is_empty() {
        out.extend_from_slice(b",\"content\":[");
        out.extend_from_slice(&content);
        out.push(b']');
    }
    out.extend_from_slice(if result.is_error { b",\"is_error\":true}" } else { b"}" });
}

fn write_image(out: &mut Vec<u8>, image: &Image) {
    let inline = match image {
        Image::Base64 { media_type, data } => Some((media_type.as_str(), data.as_str())),
        // The API fetches URLs but does not accept `data:` URLs.
        Image::Url(url) => url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")),
    };
    let source = match (inline, image) {
        (Some((media_type, data)), _) => json!({ "type": "base64", "media_type": media_type, "data": data }),
        (None, Image::Url(url)) => json!({ "type": "url", "url": url }),
        (None, Image::Base64 { .. }) => return,
    };
    out.extend_from_slice(b"{\"type\":\"image\",\"source\":");
    json::write(out, &source);
    out.push(b'}');
}
