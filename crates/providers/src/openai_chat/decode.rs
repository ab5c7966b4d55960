//! Decodes answers, from chunks or from one document.

use std::collections::BTreeMap;

use brigade_core::{
    ChatReply, FinishReason, Message, ModelError, ModelErrorKind, Part, RawJson, Role, TextPart, Usage,
};
use serde_json::value::RawValue;

use super::{
    content_block::{ContentBlock, provider_data},
    reasoning::Reasoning,
    tool_call_deltas::{FinishedToolCalls, ToolCallAssembler},
    usage,
    wire::{Choice, ChoiceMessage, Completion, Content, ContentPart, ToolCallDelta},
};
use crate::{
    http::{provider_error, sse::SseEvent},
    json::json::{self, Count, LooseObject, LooseString},
    protocol::{
        event_sink::EventSink,
        protocol::{Completeness, Progress, ReplyDecoder, WireQuirk},
        usage::larger,
    },
};

/// Decodes one answer. Only the first of several choices is read.
#[derive(Debug, Default)]
pub struct ChatDecoder {
    id: Option<String>,
    model: Option<String>,
    service_tier: Option<String>,
    usage: Option<Usage>,
    finish_reason_text: Option<String>,
    /// The finish reason of the model's own provider, where a router states it.
    native_finish_reason: Option<String>,
    stop_sequence_matched: bool,
    has_end_marker: bool,
    has_choice: bool,
    reasoning: Reasoning,
    content: Vec<ContentBlock>,
    refusal: String,
    annotations: Option<Box<RawValue>>,
    tool_calls: ToolCallAssembler,
}

impl ReplyDecoder for ChatDecoder {
    /// Chat Completions has no names of events; some servers use one of these.
    fn carries_answer(&self, name: &str) -> bool {
        matches!(name, "" | "message" | "data" | "chunk" | "delta" | "completion" | "chat.completion.chunk")
    }

    fn event(&mut self, event: &SseEvent, sink: &mut EventSink<'_>) -> Result<Progress, ModelError> {
        let completion: Completion<'_> = json::read(&event.data).unwrap_or_default();
        let is_empty = completion.choices.0.is_none() && completion.usage.is_none() && completion.error.is_none();
        if is_empty && event.name.as_ref() == b"error" {
            return Err(provider_error::in_stream(&event.data));
        }
        if is_empty {
            sink.quirk(WireQuirk::UnknownEvent);
        }
        self.add(completion, sink)?;
        Ok(Progress::More)
    }

    fn end_marker(&mut self) -> Progress {
        self.has_end_marker = true;
        Progress::Done
    }

    fn completeness(&self) -> Completeness {
        match (&self.finish_reason_text, self.usage) {
            (None, _) => Completeness::Partial,
            (Some(_), None) => Completeness::WithoutUsage,
            (Some(_), Some(_)) => Completeness::Complete,
        }
    }

    fn finish(&mut self, sink: &mut EventSink<'_>) -> Result<ChatReply, ModelError> {
        match (&self.finish_reason_text, self.has_end_marker) {
            (None, false) => {
                let message = "the stream ended without a finish reason and without `[DONE]`";
                return Err(ModelError::new(ModelErrorKind::Broken, message));
            }
            (None, true) => sink.quirk(WireQuirk::StopMissing),
            (Some(_), false) => sink.quirk(WireQuirk::EndMarkerMissing),
            (Some(_), true) => {}
        }
        self.reply(sink)
    }

    fn body(&mut self, body: &[u8], sink: &mut EventSink<'_>) -> Result<ChatReply, ModelError> {
        let completion: Option<Completion<'_>> = json::read(body);
        let completion = completion.filter(|completion| completion.choices.0.is_some() && completion.error.is_none());
        let completion = completion.ok_or_else(|| provider_error::not_an_answer("the answer", body))?;
        self.add(completion, sink)?;
        if self.finish_reason_text.is_none() {
            sink.quirk(WireQuirk::StopMissing);
        }
        self.reply(sink)
    }

    fn usage(&self) -> Option<Usage> {
        self.usage
    }
}

impl ChatDecoder {
    fn add(&mut self, completion: Completion<'_>, sink: &mut EventSink<'_>) -> Result<(), ModelError> {
        set_if_absent(&mut self.id, &completion.id);
        set_if_absent(&mut self.model, &completion.model);
        set_if_absent(&mut self.service_tier, &completion.service_tier);
        self.add_usage(&completion, sink);
        if let Some(error) = completion.error.filter(|error| !json::is_blank(error)) {
            return Err(provider_error::in_band(error));
        }
        for choice in completion.choices.0.into_iter().flatten().filter_map(|choice| choice.0) {
            if choice.index.get().unwrap_or(0) == 0 {
                self.add_choice(choice, sink)?;
            }
        }
        Ok(())
    }

    /// Any chunk may have usage. It is a running total.
    fn add_usage(&mut self, completion: &Completion<'_>, sink: &mut EventSink<'_>) {
        let groq = || completion.x_groq.0.as_ref()?.usage;
        let Some(stated) = completion.usage.or_else(groq) else { return };
        let (usage, implausible) = usage::parse(stated);
        if implausible {
            sink.quirk(WireQuirk::UsageImplausible);
        }
        self.usage = larger(self.usage, usage);
    }

    fn add_choice(&mut self, choice: Choice<'_>, sink: &mut EventSink<'_>) -> Result<(), ModelError> {
        self.has_choice = true;
        if let Some(error) = choice.error.filter(|error| !json::is_blank(error)) {
            return Err(provider_error::in_band(error));
        }
        // Perplexity sends the whole message beside each delta.
        let whole = choice.delta.0.is_none();
        if let Some(message) = choice.delta.0.or(choice.message.0) {
            self.add_message(message, whole, sink);
        }
        if let Some(stop) = choice.finish_reason.filled() {
            if self.finish_reason_text.is_some() {
                sink.quirk(WireQuirk::StopRepeated);
            }
            self.finish_reason_text = Some(stop.to_owned());
        }
        set_if_absent(&mut self.native_finish_reason, &choice.native_finish_reason);
        self.stop_sequence_matched |= choice.stop_reason.filled().is_some();
        Ok(())
    }

    fn add_message(&mut self, message: ChoiceMessage<'_>, whole: bool, sink: &mut EventSink<'_>) {
        if let Some(thought) = self.reasoning.push(&message) {
            sink.thinking(&thought);
        }
        match message.content {
            Content::Text(text) if whole => self.add_text(self.missing_rest(&text), sink),
            Content::Text(text) => self.add_text(&text, sink),
            Content::Parts(parts) => {
                sink.quirk(WireQuirk::ContentForm);
                for part in parts {
                    self.add_part(part, sink);
                }
            }
            Content::Absent => {}
        }
        if let Some(refusal) = message.refusal.filled() {
            self.refusal.push_str(refusal);
            sink.text(refusal);
        }
        if let Some(annotations) = message.annotations.filter(|raw| !json::is_blank(raw)) {
            self.annotations = Some(annotations.to_owned());
        }
        // The API's form before tool calls, which has one call.
        let legacy = message.function_call.0.map(|function| ToolCallDelta {
            index: Count::Of(0),
            function: LooseObject(Some(function)),
            ..ToolCallDelta::default()
        });
        for call in message.tool_calls.0.into_iter().flatten().filter_map(|call| call.0).chain(legacy) {
            if whole && self.tool_calls.has_assembled(&call) {
                continue;
            }
            if whole {
                self.tool_calls.push_whole(&call, sink);
            } else {
                self.tool_calls.push(&call, sink);
            }
        }
    }

    /// The text that a whole message adds to the deltas before it. Some servers end with the message that the deltas made,
    /// perhaps with other blanks. Text that was already shown is kept.
    fn missing_rest<'t>(&self, text: &'t str) -> &'t str {
        let shown: String = self.content.iter().map(ContentBlock::text).collect();
        let visible = |text: &str| text.chars().filter(|character| !character.is_whitespace()).collect::<String>();
        match text.strip_prefix(&*shown) {
            Some(rest) => rest,
            None if visible(text) == visible(&shown) => "",
            None => text,
        }
    }

    fn add_text(&mut self, text: &str, sink: &mut EventSink<'_>) {
        if text.is_empty() {
            return;
        }
        sink.text(text);
        match self.content.last_mut() {
            Some(ContentBlock::Text(before)) => before.push_str(text),
            _ => self.content.push(ContentBlock::Text(text.to_owned())),
        }
    }

    fn add_part(&mut self, raw: &RawValue, sink: &mut EventSink<'_>) {
        let part: ContentPart<'_> = serde_json::from_str(raw.get()).unwrap_or_default();
        match (part.kind.filled(), part.thinking) {
            (Some("text"), _) => self.add_text(part.text.filled().unwrap_or_default(), sink),
            (Some("thinking"), Some(thinking)) => self.add_thinking(&readable_text(&thinking), raw, sink),
            _ => {
                sink.quirk(WireQuirk::UnknownPart);
                self.content.push(ContentBlock::Opaque(raw.to_owned()));
            }
        }
    }

    fn add_thinking(&mut self, text: &str, raw: &RawValue, sink: &mut EventSink<'_>) {
        sink.thinking(text);
        match self.content.last_mut() {
            Some(ContentBlock::Thinking { text: before, raw }) => {
                before.push_str(text);
                *raw = None;
            }
            _ => self.content.push(ContentBlock::Thinking { text: text.to_owned(), raw: Some(raw.to_owned()) }),
        }
    }

    fn reply(&mut self, sink: &mut EventSink<'_>) -> Result<ChatReply, ModelError> {
        if !self.has_choice {
            return Err(ModelError::new(ModelErrorKind::Broken, "the answer has no choices"));
        }
        let calls = std::mem::take(&mut self.tool_calls).finish(sink);
        let finish_reason = self.finish_reason(&calls, sink)?;
        let reasoning = std::mem::take(&mut self.reasoning).finish().map(Part::Thinking);
        let content = std::mem::take(&mut self.content);
        let mut parts = Vec::with_capacity(content.len() + calls.parts.len() + 2);
        parts.extend(reasoning);
        parts.extend(content.into_iter().map(ContentBlock::into_part));
        if let Some(annotations) = self.annotations.take() {
            attach_annotations(&annotations, &mut parts);
        }
        let refusal = std::mem::take(&mut self.refusal);
        if !refusal.is_empty() {
            let data = provider_data(RawJson::of(&BTreeMap::from([("refusal", &refusal)])).ok());
            parts.push(Part::Text(TextPart::new(refusal).data(data)));
        }
        parts.extend(calls.parts);
        let mut reply = ChatReply::new(Message::new(Role::Assistant, parts));
        reply.usage = self.usage;
        reply.finish_reason = finish_reason;
        reply.raw_finish_reason = self.finish_reason_text.take();
        reply.model = self.model.take().unwrap_or_default();
        reply.service_tier = self.service_tier.take();
        reply.response_id = self.id.take();
        Ok(reply)
    }

    /// The finish reason. Some values are errors.
    fn finish_reason(&self, calls: &FinishedToolCalls, sink: &mut EventSink<'_>) -> Result<FinishReason, ModelError> {
        let reason = match self.finish_reason_text.as_deref() {
            Some("error" | "abort") => {
                return Err(ModelError::new(ModelErrorKind::Broken, "the server aborted the answer"));
            }
            Some("insufficient_system_resource") => {
                return Err(ModelError::new(ModelErrorKind::Overloaded, "the server has no resources left"));
            }
            reason => parse_finish_reason(reason.unwrap_or_default()),
        };
        if reason == FinishReason::Unknown && self.finish_reason_text.is_some() {
            sink.quirk(WireQuirk::UnknownStop);
        }
        Ok(self.correct_finish_reason(reason, calls, sink))
    }

    /// Corrects a finish reason that contradicts the answer.
    fn correct_finish_reason(
        &self,
        reason: FinishReason,
        calls: &FinishedToolCalls,
        sink: &mut EventSink<'_>,
    ) -> FinishReason {
        let native_limit =
            matches!(self.native_finish_reason.as_deref(), Some("max_output_tokens" | "length" | "MAX_TOKENS"));
        match reason {
            FinishReason::EndTurn if !self.refusal.is_empty() => FinishReason::Refusal,
            FinishReason::EndTurn | FinishReason::ToolCalls | FinishReason::Unknown
                if calls.cut_off || native_limit =>
            {
                sink.quirk(WireQuirk::StopMismatch);
                FinishReason::MaxTokens
            }
            FinishReason::EndTurn | FinishReason::Unknown if !calls.parts.is_empty() => FinishReason::ToolCalls,
            FinishReason::ToolCalls if calls.parts.is_empty() => {
                sink.quirk(WireQuirk::StopMismatch);
                FinishReason::EndTurn
            }
            FinishReason::EndTurn if self.stop_sequence_matched => FinishReason::StopSequence,
            reason => reason,
        }
    }
}

fn parse_finish_reason(reason: &str) -> FinishReason {
    match reason {
        "stop" | "eos" | "end_turn" | "STOP" => FinishReason::EndTurn,
        "tool_calls" | "function_call" | "tool_use" => FinishReason::ToolCalls,
        "length" | "max_tokens" | "max_output_tokens" | "MAX_TOKENS" => FinishReason::MaxTokens,
        "stop_sequence" => FinishReason::StopSequence,
        "content_filter" | "safety" | "SAFETY" | "RECITATION" => FinishReason::ContentFilter,
        "refusal" => FinishReason::Refusal,
        "model_length" | "model_context_window_exceeded" => FinishReason::ContextWindow,
        _ => FinishReason::Unknown,
    }
}

fn set_if_absent(target: &mut Option<String>, value: &LooseString) {
    if let (None, Some(value)) = (&target, value.filled()) {
        *target = Some(value.to_owned());
    }
}

/// The readable text of a string or of a list of parts.
fn readable_text(content: &Content<'_>) -> String {
    let text = |raw: &&RawValue| -> String {
        let part: ContentPart<'_> = serde_json::from_str(raw.get()).unwrap_or_default();
        part.text.filled().unwrap_or_default().to_owned()
    };
    match content {
        Content::Text(text) => text.clone(),
        Content::Parts(parts) => parts.iter().map(text).collect(),
        Content::Absent => String::new(),
    }
}

/// Attaches citations to the last text.
fn attach_annotations(annotations: &RawValue, parts: &mut [Part]) {
    let last_text = parts.iter_mut().rev().find_map(|part| match part {
        Part::Text(text) => Some(text),
        _ => None,
    });
    if let Some(text) = last_text {
        text.data = provider_data(RawJson::of(&BTreeMap::from([("annotations", annotations)])).ok());
    }
}

#[cfg(test)]
mod tests;
