//! Decodes answers of Anthropic.

use std::collections::BTreeMap;

use brigade_core::{
    ChatReply, FinishReason, Message, ModelError, ModelErrorKind, Part, ProviderData, RawJson, Role, TextPart,
    ToolCall, Usage,
};
use serde_json::value::RawValue;

use super::{
    content_block::ContentBlock,
    messages::DIALECT,
    wire::{BlockDelta, MessageDelta, MessageObject, StreamEvent, UsageObject},
};
use crate::{
    http::{provider_error, sse::SseEvent},
    json::json::{self, LooseObject},
    protocol::{
        event_sink::EventSink,
        protocol::{Completeness, Progress, ReplyDecoder, WireQuirk},
        tool_calls,
        usage::stated_cost,
    },
};

/// Decodes one answer.
///
/// Blocks keep the order in which they start. A delta refers to its block by index; most blocks are complete when they
/// start.
#[derive(Debug, Default)]
pub struct MessagesDecoder {
    id: Option<String>,
    model: Option<String>,
    blocks: Vec<ContentBlock>,
    usage: UsageObject,
    stop: Option<String>,
    ended: bool,
}

impl ReplyDecoder for MessagesDecoder {
    fn carries_answer(&self, name: &str) -> bool {
        name.is_empty() || name.starts_with("message") || name.starts_with("content_block")
    }

    fn event(&mut self, event: &SseEvent, sink: &mut EventSink<'_>) -> Result<Progress, ModelError> {
        let name = std::str::from_utf8(&event.name).unwrap_or_default();
        let read: StreamEvent<'_> = json::read(&event.data).unwrap_or_default();
        if read.error.is_some() || read.kind.unwrap_or(name) == "error" {
            return Err(provider_error::in_stream(&event.data));
        }
        self.add_event(StreamEvent { kind: read.kind.or(Some(name)), ..read }, sink);
        Ok(self.progress())
    }

    fn end_marker(&mut self) -> Progress {
        self.ended = self.stop.is_some();
        self.progress()
    }

    fn completeness(&self) -> Completeness {
        match (&self.stop, self.usage.to_usage()) {
            (None, _) => Completeness::Partial,
            (Some(_), None) => Completeness::WithoutUsage,
            (Some(_), Some(_)) => Completeness::Complete,
        }
    }

    fn finish(&mut self, sink: &mut EventSink<'_>) -> Result<ChatReply, ModelError> {
        if !self.ended {
            if self.stop.is_none() {
                return Err(broken("the stream ended before the answer did"));
            }
            sink.quirk(WireQuirk::EndMarkerMissing);
        }
        Ok(self.reply(sink))
    }

    fn body(&mut self, body: &[u8], sink: &mut EventSink<'_>) -> Result<ChatReply, ModelError> {
        let answer: Option<MessageObject<'_>> = json::read(body);
        let answer = answer
            .filter(|answer| answer.error.is_none() && answer.content.is_some_and(|content| content.get() != "null"));
        self.begin(answer.ok_or_else(|| provider_error::not_an_answer("the answer", body))?, sink);
        Ok(self.reply(sink))
    }

    fn usage(&self) -> Option<Usage> {
        self.usage.to_usage()
    }
}

impl MessagesDecoder {
    fn progress(&self) -> Progress {
        if self.ended { Progress::Done } else { Progress::More }
    }

    fn add_event(&mut self, event: StreamEvent<'_>, sink: &mut EventSink<'_>) {
        let StreamEvent { kind, index, message, content_block, delta, usage, error: _ } = event;
        match (kind.unwrap_or_default(), message, content_block, delta) {
            // In a continued container this holds the whole answer, and only `message_stop` follows.
            ("message_start", LooseObject(Some(answer)), ..) => self.begin(answer, sink),
            ("content_block_start", _, Some(block), _) => self.add_block(ContentBlock::new(index, block), sink),
            ("content_block_delta", .., Some(delta)) => self.add_delta(index, delta, sink),
            ("message_delta", .., delta) => self.add_message_delta(delta, usage, sink),
            ("message_stop", ..) => self.ended = true,
            ("content_block_stop" | "ping", ..) => {}
            _ => sink.quirk(WireQuirk::UnknownEvent),
        }
    }

    fn begin(&mut self, answer: MessageObject<'_>, sink: &mut EventSink<'_>) {
        let MessageObject { id, model, content, stop_reason, usage, error: _ } = answer;
        self.id = id;
        self.model = model;
        self.stop = stop_reason;
        self.add_usage(usage, sink);
        let Some(content) = content else { return };
        if let Some(text) = json::text(content) {
            sink.quirk(WireQuirk::ContentForm);
            let block = BTreeMap::from([("type", "text"), ("text", &*text)]);
            if let Ok(raw) = serde_json::value::to_raw_value(&block) {
                self.add_block(ContentBlock::new(None, &raw), sink);
            }
        }
        for raw in serde_json::from_str::<Vec<&RawValue>>(content.get()).unwrap_or_default() {
            self.add_block(ContentBlock::new(None, raw), sink);
        }
    }

    fn add_block(&mut self, block: ContentBlock, sink: &mut EventSink<'_>) {
        match block.kind() {
            "text" => sink.text(&block.string("text")),
            "thinking" => sink.thinking(&block.string("thinking")),
            "tool_use" => sink.tool_call(&block.string("name")),
            _ => {}
        }
        if let Some(model) = block.fallback_model() {
            self.model = Some(model);
        }
        self.blocks.push(block);
    }

    fn add_delta(&mut self, index: Option<usize>, raw: &RawValue, sink: &mut EventSink<'_>) {
        let delta: BlockDelta<'_> = json::read(raw.get().as_bytes()).unwrap_or_default();
        let known = self.blocks.iter().rposition(|block| block.index == index);
        let position = known.unwrap_or(self.blocks.len());
        if known.is_none() {
            sink.quirk(WireQuirk::UnknownPart);
            self.blocks.push(ContentBlock::implied(index, delta.kind.unwrap_or_default()));
        }
        let Some(block) = self.blocks.get_mut(position) else { return };
        match (delta.kind.unwrap_or_default(), &delta) {
            ("text_delta", BlockDelta { text: Some(text), .. }) => sink.text(text),
            ("thinking_delta", BlockDelta { thinking: Some(text), .. }) => sink.thinking(text),
            ("input_json_delta", BlockDelta { partial_json: Some(text), .. }) if block.kind() == "tool_use" => {
                sink.arguments(text.len());
            }
            _ => {}
        }
        if !block.apply(delta) {
            sink.quirk(WireQuirk::UnknownPart);
            block.apply_unknown(raw);
        }
    }

    fn add_message_delta(&mut self, delta: Option<&RawValue>, usage: Option<&RawValue>, sink: &mut EventSink<'_>) {
        let delta: MessageDelta = delta.and_then(|raw| json::read(raw.get().as_bytes())).unwrap_or_default();
        if let Some(reason) = delta.stop_reason {
            if self.stop.is_some() {
                sink.quirk(WireQuirk::StopRepeated);
            }
            self.stop = Some(reason);
        }
        self.add_usage(usage, sink);
    }

    fn add_usage(&mut self, usage: Option<&RawValue>, sink: &mut EventSink<'_>) {
        let Some(raw) = usage.filter(|raw| raw.get() != "null") else { return };
        let usage: Option<UsageObject> = json::read(raw.get().as_bytes());
        if usage.as_ref().is_none_or(UsageObject::is_implausible) {
            sink.quirk(WireQuirk::UsageImplausible);
        }
        let usage = UsageObject { stated_cost: stated_cost(raw), ..usage.unwrap_or_default() };
        self.usage.update(usage);
    }

    fn reply(&mut self, sink: &mut EventSink<'_>) -> ChatReply {
        let stop = self.stop.take();
        let finish_reason = finish_reason(stop.as_deref(), sink);
        let cut_off = finish_reason == FinishReason::MaxTokens;
        let parts: Vec<Part> =
            std::mem::take(&mut self.blocks).into_iter().map(|block| part(block, cut_off, sink)).collect();
        let finish_reason = tool_calls::check(&parts, finish_reason, sink);
        let mut reply = ChatReply::new(Message::new(Role::Assistant, parts));
        reply.usage = self.usage.to_usage();
        reply.finish_reason = finish_reason;
        reply.raw_finish_reason = stop;
        reply.model = self.model.take().unwrap_or_default();
        reply.service_tier = self.usage.service_tier.take();
        reply.response_id = self.id.take();
        reply
    }
}

/// All stop reasons: <https://docs.anthropic.com/en/api/handling-stop-reasons>.
fn finish_reason(reason: Option<&str>, sink: &mut EventSink<'_>) -> FinishReason {
    match reason {
        Some("end_turn") => FinishReason::EndTurn,
        Some("tool_use") => FinishReason::ToolCalls,
        Some("max_tokens") => FinishReason::MaxTokens,
        Some("stop_sequence") => FinishReason::StopSequence,
        Some("refusal") => FinishReason::Refusal,
        Some("pause_turn" | "compaction") => FinishReason::Pause,
        Some("model_context_window_exceeded") => FinishReason::ContextWindow,
        Some(_) => {
            sink.quirk(WireQuirk::UnknownStop);
            FinishReason::Unknown
        }
        None => {
            sink.quirk(WireQuirk::StopMissing);
            FinishReason::Unknown
        }
    }
}

/// Converts a block to a part. A type that core does not know is kept unchanged.
fn part(mut block: ContentBlock, cut_off: bool, sink: &mut EventSink<'_>) -> Part {
    match block.kind() {
        "text" => {
            let text = block.string("text");
            let more = block.fields_without(&["type", "text"]).values().any(|value| !json::is_blank(value));
            Part::Text(TextPart::new(text).data(more.then(|| provider_data(block.into_raw()))))
        }
        "thinking" => {
            let text = block.string("thinking");
            // The token limit can cut a block off before its signature. The API would refuse such a block.
            let complete = !cut_off || !block.string("signature").is_empty();
            Part::Thinking(TextPart::new(text).data(complete.then(|| provider_data(block.into_raw()))))
        }
        "redacted_thinking" => Part::Thinking(TextPart::default().data(Some(provider_data(block.into_raw())))),
        "tool_use" => {
            let (id, name) = (block.string("id"), block.string("name"));
            let arguments = tool_calls::parse_arguments(block.input(), sink);
            let more = block.fields_without(&["type", "id", "name", "input"]);
            let data = (!more.is_empty()).then(|| RawJson::of(&more).ok().map(provider_data)).flatten();
            Part::ToolCall(ToolCall::new(id, name, arguments).data(data))
        }
        _ => Part::Opaque(provider_data(block.into_raw())),
    }
}

fn provider_data(raw: RawJson) -> ProviderData {
    ProviderData::new(DIALECT, raw)
}

fn broken(message: &str) -> ModelError {
    ModelError::new(ModelErrorKind::Broken, message)
}

#[cfg(test)]
mod tests;
