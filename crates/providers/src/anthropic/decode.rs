//! Bytes from Anthropic become a reply.

use brigade_core::{
    Arguments, ChatReply, Delta, FinishReason, Message, ModelError, ModelErrorKind, Part, ProviderData, RawJson, Role,
    TextPart, ToolCall, Usage,
};
use serde_json::value::RawValue;

use super::{
    DIALECT,
    wire::{self, Answer, Block, BlockDelta, MessageDelta, StreamEvent},
};
use crate::{
    call, error, json,
    protocol::{self, Progress, Quirk, Sink},
    sse,
};

/// Puts an answer together.
///
/// Blocks keep the order in which they start. A delta finds its block by index; most blocks are complete when they
/// start, or never get a delta.
#[derive(Debug, Default)]
pub struct Assembly {
    id: Option<String>,
    model: Option<String>,
    blocks: Vec<Block>,
    usage: wire::Usage,
    stop: Option<String>,
    ended: bool,
}

impl protocol::Assembly for Assembly {
    fn event(&mut self, event: &sse::Event, sink: &mut Sink<'_>) -> Result<Progress, ModelError> {
        let data = event.data.trim_ascii();
        if self.ended || data.is_empty() {
            return Ok(self.progress());
        }
        if data == b"[DONE]" {
            // Not Anthropic's, but gateways that speak for others add it.
            self.ended = self.stop.is_some();
            return Ok(self.progress());
        }
        let name = std::str::from_utf8(&event.name).unwrap_or_default();
        let event: Option<StreamEvent<'_>> = json::read(data);
        let event = event.map(|event| StreamEvent { kind: event.kind.or(Some(name)), ..event });
        let event = event.filter(|event| event.error.is_none() && event.kind != Some("error"));
        self.take(event.ok_or_else(|| error::not_an_answer("an event of the stream", data))?, sink)?;
        Ok(self.progress())
    }

    fn finish(&mut self, sink: &mut Sink<'_>) -> Result<ChatReply, ModelError> {
        if !self.ended {
            if self.stop.is_none() {
                return Err(broken("the stream ended before the answer did"));
            }
            sink.quirk(Quirk::EndMarkerMissing);
        }
        Ok(self.reply(sink))
    }

    fn body(&mut self, body: &[u8], sink: &mut Sink<'_>) -> Result<ChatReply, ModelError> {
        let answer: Option<Answer<'_>> = json::read(body);
        let answer = answer.filter(|answer| answer.error.is_none() && answer.content.is_some());
        self.begin(answer.ok_or_else(|| error::not_an_answer("the answer", body))?, sink);
        Ok(self.reply(sink))
    }

    fn usage(&self) -> Option<Usage> {
        self.usage.normalised()
    }
}

impl Assembly {
    fn progress(&self) -> Progress {
        if self.ended { Progress::Done } else { Progress::More }
    }

    fn take(&mut self, event: StreamEvent<'_>, sink: &mut Sink<'_>) -> Result<(), ModelError> {
        let StreamEvent { kind, index, message, content_block, delta, usage, error: _ } = event;
        match (kind.unwrap_or_default(), message, content_block, delta) {
            // On a continued container this is already the whole answer, and nothing but `message_stop` follows.
            ("message_start", Some(answer), ..) => self.begin(answer, sink),
            ("content_block_start", _, Some(block), _) => self.open(Block::new(index, block), sink),
            ("content_block_delta", .., Some(delta)) => self.grow(index, delta, sink)?,
            ("message_delta", .., delta) => self.conclude(delta, usage, sink),
            ("message_stop", ..) => self.ended = true,
            ("content_block_stop" | "ping", ..) => {}
            _ => sink.quirk(Quirk::UnknownEvent),
        }
        Ok(())
    }

    fn begin(&mut self, answer: Answer<'_>, sink: &mut Sink<'_>) {
        let Answer { id, model, content, stop_reason, usage, error: _ } = answer;
        self.id = id;
        self.model = model;
        self.stop = stop_reason;
        self.count(usage, sink);
        for raw in content.into_iter().flatten() {
            self.open(Block::new(None, raw), sink);
        }
    }

    fn open(&mut self, block: Block, sink: &mut Sink<'_>) {
        match block.kind() {
            kind @ ("text" | "thinking") => {
                let text = block.string(kind);
                if !text.is_empty() {
                    sink.delta(|| if kind == "text" { Delta::Text(text) } else { Delta::Thinking(text) });
                }
            }
            "tool_use" => sink.delta(|| Delta::ToolCall { name: block.string("name") }),
            _ => {}
        }
        if let Some(model) = block.successor() {
            self.model = Some(model);
        }
        self.blocks.push(block);
    }

    fn grow(&mut self, index: Option<usize>, raw: &RawValue, sink: &mut Sink<'_>) -> Result<(), ModelError> {
        let delta: BlockDelta<'_> = serde_json::from_str(raw.get())
            .map_err(|error| broken("a delta of the stream has not the documented form").caused_by(error))?;
        let known = self.blocks.iter().rposition(|block| block.index == index);
        let position = known.unwrap_or(self.blocks.len());
        if known.is_none() {
            sink.quirk(Quirk::UnknownPart);
            self.blocks.push(Block::implied(index, delta.kind.unwrap_or_default()));
        }
        let Some(block) = self.blocks.get_mut(position) else { return Ok(()) };
        match (delta.kind.unwrap_or_default(), &delta) {
            ("text_delta", BlockDelta { text: Some(text), .. }) => sink.delta(|| Delta::Text(text.clone())),
            ("thinking_delta", BlockDelta { thinking: Some(text), .. }) => sink.delta(|| Delta::Thinking(text.clone())),
            ("input_json_delta", BlockDelta { partial_json: Some(text), .. }) if block.kind() == "tool_use" => {
                sink.delta(|| Delta::Arguments { bytes: text.len() });
            }
            _ => {}
        }
        if !block.grow(delta) {
            sink.quirk(Quirk::UnknownPart);
            block.grow_by_fields(raw);
        }
        Ok(())
    }

    fn conclude(&mut self, delta: Option<&RawValue>, usage: Option<&RawValue>, sink: &mut Sink<'_>) {
        let delta: MessageDelta = delta.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
        if let Some(reason) = delta.stop_reason {
            if self.stop.is_some() {
                sink.quirk(Quirk::StopRepeated);
            }
            self.stop = Some(reason);
        }
        self.count(usage, sink);
    }

    fn count(&mut self, usage: Option<&RawValue>, sink: &mut Sink<'_>) {
        let Some(raw) = usage.filter(|raw| raw.get() != "null") else { return };
        match serde_json::from_str::<wire::Usage>(raw.get()) {
            Ok(usage) if !usage.is_implausible() => self.usage.update(usage),
            Ok(usage) => {
                sink.quirk(Quirk::UsageImplausible);
                self.usage.update(usage);
            }
            Err(_) => sink.quirk(Quirk::UsageImplausible),
        }
    }

    fn reply(&mut self, sink: &mut Sink<'_>) -> ChatReply {
        let stop = self.stop.take();
        let finish_reason = finish_reason(stop.as_deref(), sink);
        let cut = finish_reason == FinishReason::MaxTokens;
        let parts: Vec<Part> = std::mem::take(&mut self.blocks).into_iter().map(|block| part(block, cut)).collect();
        let finish_reason = call::inspect(&parts, finish_reason, sink);
        let mut reply = ChatReply::new(Message::new(Role::Assistant, parts));
        reply.usage = self.usage.normalised();
        reply.finish_reason = finish_reason;
        reply.raw_finish_reason = stop;
        reply.model = self.model.take().unwrap_or_default();
        reply.service_tier = self.usage.service_tier.take();
        reply.response_id = self.id.take();
        reply
    }
}

/// Every reason to stop: <https://docs.anthropic.com/en/api/handling-stop-reasons>.
fn finish_reason(reason: Option<&str>, sink: &mut Sink<'_>) -> FinishReason {
    match reason {
        Some("end_turn") => FinishReason::EndTurn,
        Some("tool_use") => FinishReason::ToolCalls,
        Some("max_tokens") => FinishReason::MaxTokens,
        Some("stop_sequence") => FinishReason::StopSequence,
        Some("refusal") => FinishReason::Refusal,
        Some("pause_turn" | "compaction") => FinishReason::Pause,
        Some("model_context_window_exceeded") => FinishReason::ContextWindow,
        Some(_) => {
            sink.quirk(Quirk::UnknownStop);
            FinishReason::Unknown
        }
        None => {
            sink.quirk(Quirk::StopMissing);
            FinishReason::Unknown
        }
    }
}

/// A block in core's terms. What core has no word for is kept as it is.
fn part(mut block: Block, cut: bool) -> Part {
    match block.kind() {
        "text" => {
            let text = block.string("text");
            let more = block.fields_without(&["type", "text"]).values().any(|value| !json::is_blank(value));
            Part::Text(TextPart { text, data: more.then(|| own(block.into_raw())) })
        }
        "thinking" => {
            let text = block.string("thinking");
            // The token limit can cut a block off before its signature; the API would not take it back.
            let complete = !cut || !block.string("signature").is_empty();
            Part::Thinking(TextPart { text, data: complete.then(|| own(block.into_raw())) })
        }
        "redacted_thinking" => Part::Thinking(TextPart { text: String::new(), data: Some(own(block.into_raw())) }),
        "tool_use" => Part::ToolCall(ToolCall {
            id: block.string("id"),
            name: block.string("name"),
            arguments: Arguments::parse(block.input()),
            data: {
                let more = block.fields_without(&["type", "id", "name", "input"]);
                (!more.is_empty()).then(|| RawJson::of(&more).ok().map(own)).flatten()
            },
        }),
        _ => Part::Opaque(own(block.into_raw())),
    }
}

fn own(raw: RawJson) -> ProviderData {
    ProviderData { dialect: DIALECT.into(), raw }
}

fn broken(message: &str) -> ModelError {
    ModelError::new(ModelErrorKind::Broken, message)
}

#[cfg(test)]
mod tests;
