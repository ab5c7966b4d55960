//! Completes a decoded reply in ways that are the same for all protocols.

use brigade_core::{Arguments, ChatReply, FinishReason, Message, Part, ProviderData, RawJson, TextPart, ToolCall};

use super::{
    event_sink::EventSink,
    protocol::WireQuirk,
    think_tags::{self, TaggedText},
};
use crate::json::repair;

/// Joins characters whose halves came in different deltas, and separates reasoning between tags from the text.
pub(crate) fn complete(mut reply: ChatReply, repaired: bool, sink: &mut EventSink<'_>) -> ChatReply {
    if repaired {
        let parts = reply.message.parts().iter().map(resolved).collect();
        reply.message = Message::new(reply.message.role(), parts);
    }
    let is_text = |part: &&Part| matches!(part, Part::Text(text) if !text.text.trim().is_empty());
    if let Some(Part::Text(text)) = reply.message.parts().iter().find(is_text)
        && let Some(tagged) = think_tags::split(&text.text, reply.finish_reason == FinishReason::MaxTokens)
    {
        let has_calls = reply.message.tool_calls().next().is_some();
        let tagged =
            if has_calls || reply.finish_reason == FinishReason::MaxTokens { tagged } else { tagged.or_answer() };
        sink.quirk(WireQuirk::ThinkTags);
        reply.message = separated(&reply.message, text, &tagged);
    }
    reply
}

/// The message with one of its texts separated. The provider's own form of that text has the tags, so it is left out.
fn separated(message: &Message, text: &TextPart, tagged: &TaggedText<'_>) -> Message {
    let mut parts = Vec::with_capacity(message.parts().len() + 1);
    for part in message.parts() {
        match part {
            Part::Text(part) if std::ptr::eq(part, text) => {
                let thinking = TextPart::new(tagged.thinking);
                parts.extend((!thinking.text.is_empty()).then_some(Part::Thinking(thinking)));
                parts.extend((!tagged.answer.is_empty()).then(|| Part::text(tagged.answer)));
            }
            part => parts.push(part.clone()),
        }
    }
    Message::new(message.role(), parts)
}

fn resolved(part: &Part) -> Part {
    let data = |data: &Option<ProviderData>| data.as_ref().map(resolved_data);
    match part {
        Part::Text(text) => Part::Text(TextPart::new(repair::resolve(&text.text)).data(data(&text.data))),
        Part::Thinking(text) => Part::Thinking(TextPart::new(repair::resolve(&text.text)).data(data(&text.data))),
        Part::ToolCall(call) => {
            let arguments = match &call.arguments {
                Arguments::Json(raw) => Arguments::Json(resolved_json(raw)),
                Arguments::Malformed(text) => Arguments::Malformed(repair::resolve(text)),
            };
            let resolved = ToolCall::new(repair::resolve(&call.id), repair::resolve(&call.name), arguments);
            Part::ToolCall(resolved.data(data(&call.data)))
        }
        Part::Opaque(data) => Part::Opaque(resolved_data(data)),
        Part::ToolResult(_) | Part::Image(_) => part.clone(),
    }
}

fn resolved_data(data: &ProviderData) -> ProviderData {
    ProviderData::new(data.dialect.clone(), resolved_json(&data.raw))
}

/// Marks are only within strings, so the document stays one.
fn resolved_json(raw: &RawJson) -> RawJson {
    RawJson::parse(repair::resolve(raw.get())).unwrap_or_else(|_| raw.clone())
}
