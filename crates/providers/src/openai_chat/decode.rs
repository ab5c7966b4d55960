//! Reads an completion, from chunks or from one document.

use std::collections::BTreeMap;

use brigade_core::{
    ChatReply, Delta, FinishReason, Message, ModelError, ModelErrorKind, Part, ProviderData, RawJson, Role, TextPart,
    Usage,
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    chat_completions::DIALECT,
    reasoning::Reasoning,
    tool_call_deltas::{FinishedToolCalls, ToolCallAssembler},
    usage,
    wire::{Choice, ChoiceMessage, Completion, Content, ContentPart, ToolCallDelta},
};
use crate::{
    http::{provider_error, sse::SseEvent},
    json::json::{self, Count, LooseObject, LooseString},
    protocol::protocol::{EventSink, Progress, ReplyDecoder, WireQuirk},
};

/// An completion that is being put together. Only the first of several alternatives is read.
#[derive(Debug, Default)]
pub struct ChatDecoder {
    id: Option<String>,
    model: Option<String>,
    service_tier: Option<String>,
    usage: Option<Usage>,
    stop: Option<String>,
    /// What the model's own vendor message, where a router tells.
    native_stop: Option<String>,
    stop_sequence_matched: bool,
    end_marked: bool,
    choice_seen: bool,
    reasoning: Reasoning,
    content: Vec<ContentBlock>,
    refusal: String,
    annotations: Option<Box<RawValue>>,
    tool_calls: ToolCallAssembler,
}

/// A run of content of one type.
#[derive(Debug)]
enum ContentBlock {
    Text(String),
    /// Reasoning within the content (Mistral), with the server's own form if it came in one piece.
    Thinking(String, Option<Box<RawValue>>),
    Opaque(Box<RawValue>),
}

impl ReplyDecoder for ChatDecoder {
    fn event(&mut self, event: &SseEvent, sink: &mut EventSink<'_>) -> Result<Progress, ModelError> {
        if event.data.trim_ascii() == b"[DONE]" {
            self.end_marked = true;
            return Ok(Progress::Done);
        }
        let completion: Option<LooseObject<Completion<'_>>> = json::read(&event.data);
        let completion = completion
            .and_then(|completion| completion.0)
            .ok_or_else(|| provider_error::not_an_answer("an event of the stream", &event.data))?;
        let is_empty = completion.choices.is_none() && completion.usage.0.is_none() && completion.error.is_none();
        if is_empty && event.name.as_ref() == b"error" {
            return Err(provider_error::not_an_answer("the stream", &event.data));
        }
        if is_empty {
            sink.quirk(WireQuirk::UnknownEvent);
        }
        self.add(completion, sink)?;
        Ok(Progress::More)
    }

    fn finish(&mut self, sink: &mut EventSink<'_>) -> Result<ChatReply, ModelError> {
        match (&self.stop, self.end_marked) {
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
        let completion: Option<LooseObject<Completion<'_>>> = json::read(body);
        let completion = completion
            .and_then(|completion| completion.0)
            .filter(|completion| completion.choices.is_some() && completion.error.is_none());
        let completion = completion.ok_or_else(|| provider_error::not_an_answer("the body", body))?;
        self.add(completion, sink)?;
        if self.stop.is_none() {
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
        keep(&mut self.id, &completion.id);
        keep(&mut self.model, &completion.model);
        keep(&mut self.service_tier, &completion.service_tier);
        self.add_usage(&completion, sink);
        if let Some(error) = completion.error.filter(|error| !json::is_blank(error)) {
            return Err(provider_error::in_band(error));
        }
        for choice in completion.choices.into_iter().flatten().filter_map(|choice| choice.0) {
            if choice.index.get().unwrap_or(0) == 0 {
                self.add_choice(choice, sink)?;
            }
        }
        Ok(())
    }

    /// Usage may come on any chunk, several times; it is a running total, so the last one counts.
    fn add_usage(&mut self, completion: &Completion<'_>, sink: &mut EventSink<'_>) {
        let groq = || completion.x_groq.0.as_ref()?.usage.0.as_ref();
        let Some(stated) = completion.usage.0.as_ref().or_else(groq) else { return };
        let (usage, implausible) = usage::normalised(stated);
        if implausible {
            sink.quirk(WireQuirk::UsageImplausible);
        }
        self.usage = usage.or(self.usage);
    }

    fn add_choice(&mut self, choice: Choice<'_>, sink: &mut EventSink<'_>) -> Result<(), ModelError> {
        self.choice_seen = true;
        if let Some(error) = choice.error.filter(|error| !json::is_blank(error)) {
            return Err(provider_error::in_band(error));
        }
        // Perplexity repeats the whole message beside each delta.
        let whole = choice.delta.0.is_none();
        if let Some(message) = choice.delta.0.or(choice.message.0) {
            self.add_message(message, whole, sink);
        }
        if let Some(stop) = choice.finish_reason.filled() {
            if self.stop.is_some() {
                sink.quirk(WireQuirk::StopRepeated);
            }
            self.stop = Some(stop.to_owned());
        }
        keep(&mut self.native_stop, &choice.native_finish_reason);
        self.stop_sequence_matched |= choice.stop_reason.filled().is_some();
        Ok(())
    }

    fn add_message(&mut self, message: ChoiceMessage<'_>, whole: bool, sink: &mut EventSink<'_>) {
        if let Some(thought) = self.reasoning.push(&message) {
            sink.delta(|| Delta::Thinking(thought));
        }
        match message.content {
            Content::Text(text) => self.add_text(text, sink),
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
            sink.delta(|| Delta::Text(refusal.to_owned()));
        }
        if let Some(annotations) = message.annotations.filter(|raw| !json::is_blank(raw)) {
            self.annotations = Some(annotations.to_owned());
        }
        // The form before tool calls has room for one call.
        let legacy = message.function_call.0.map(|function| ToolCallDelta {
            index: Count::Of(0),
            function: LooseObject(Some(function)),
            ..ToolCallDelta::default()
        });
        for call in message.tool_calls.into_iter().flatten().filter_map(|call| call.0).chain(legacy) {
            if whole {
                self.tool_calls.push_whole(&call, sink);
            } else {
                self.tool_calls.push(&call, sink);
            }
        }
    }

    fn add_text(&mut self, text: String, sink: &mut EventSink<'_>) {
        if text.is_empty() {
            return;
        }
        sink.delta(|| Delta::Text(text.clone()));
        match self.content.last_mut() {
            Some(ContentBlock::Text(before)) => before.push_str(&text),
            _ => self.content.push(ContentBlock::Text(text)),
        }
    }

    fn add_part(&mut self, raw: &RawValue, sink: &mut EventSink<'_>) {
        let part: ContentPart<'_> = serde_json::from_str(raw.get()).unwrap_or_default();
        match (part.kind.filled(), part.thinking) {
            (Some("text"), _) => self.add_text(part.text.0.unwrap_or_default(), sink),
            (Some("thinking"), Some(thinking)) => self.add_thinking(&plain(&thinking), raw, sink),
            _ => {
                sink.quirk(WireQuirk::UnknownPart);
                self.content.push(ContentBlock::Opaque(raw.to_owned()));
            }
        }
    }

    fn add_thinking(&mut self, text: &str, raw: &RawValue, sink: &mut EventSink<'_>) {
        if !text.is_empty() {
            sink.delta(|| Delta::Thinking(text.to_owned()));
        }
        match self.content.last_mut() {
            Some(ContentBlock::Thinking(before, whole)) => {
                before.push_str(text);
                *whole = None;
            }
            _ => self.content.push(ContentBlock::Thinking(text.to_owned(), Some(raw.to_owned()))),
        }
    }

    fn reply(&mut self, sink: &mut EventSink<'_>) -> Result<ChatReply, ModelError> {
        if !self.choice_seen {
            return Err(ModelError::new(ModelErrorKind::Broken, "the completion has no choices"));
        }
        let calls = std::mem::take(&mut self.tool_calls).finish(sink);
        let finish_reason = self.finish_reason(&calls, sink)?;
        let reasoning = std::mem::take(&mut self.reasoning).finish().map(Part::Thinking);
        let content = std::mem::take(&mut self.content);
        let mut parts = Vec::with_capacity(content.len() + calls.parts.len() + 2);
        parts.extend(reasoning);
        parts.extend(content.into_iter().map(ContentBlock::into_part));
        if let Some(annotations) = self.annotations.take() {
            attach(&annotations, &mut parts);
        }
        let refusal = std::mem::take(&mut self.refusal);
        if !refusal.is_empty() {
            let data = own(RawJson::of(&BTreeMap::from([("refusal", &refusal)])).ok());
            parts.push(Part::Text(TextPart { text: refusal, data }));
        }
        parts.extend(calls.parts);
        let mut reply = ChatReply::new(Message::new(Role::Assistant, parts));
        reply.usage = self.usage;
        reply.finish_reason = finish_reason;
        reply.raw_finish_reason = self.stop.take();
        reply.model = self.model.take().unwrap_or_default();
        reply.service_tier = self.service_tier.take();
        reply.response_id = self.id.take();
        Ok(reply)
    }

    /// Why the model stopped. Some stop reasons are failures.
    fn finish_reason(&self, calls: &FinishedToolCalls, sink: &mut EventSink<'_>) -> Result<FinishReason, ModelError> {
        let kind = match self.stop.as_deref() {
            Some("error" | "abort") => {
                return Err(ModelError::new(
                    ModelErrorKind::Broken,
                    "the server gave up in the middle of the completion",
                ));
            }
            Some("insufficient_system_resource") => {
                return Err(ModelError::new(ModelErrorKind::Overloaded, "the server has no resources left"));
            }
            word => stop_kind(word.unwrap_or_default()),
        };
        if kind == FinishReason::Unknown && self.stop.is_some() {
            sink.quirk(WireQuirk::UnknownStop);
        }
        Ok(self.corrected(kind, calls, sink))
    }

    /// What is in the completion can say more than the stop reason.
    fn corrected(&self, kind: FinishReason, calls: &FinishedToolCalls, sink: &mut EventSink<'_>) -> FinishReason {
        let native_limit = matches!(self.native_stop.as_deref(), Some("max_output_tokens" | "length" | "MAX_TOKENS"));
        match kind {
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
            kind => kind,
        }
    }
}

impl ContentBlock {
    fn into_part(self) -> Part {
        match self {
            Self::Text(text) => Part::text(text),
            Self::Thinking(text, whole) => {
                let rebuilt = || {
                    let inner = BTreeMap::from([("text", &*text), ("type", "text")]);
                    RawJson::of(&ThinkingPart { kind: "thinking", thinking: [inner] }).ok()
                };
                let data = own(whole.map(RawJson::from).or_else(rebuilt));
                Part::Thinking(TextPart { text, data })
            }
            Self::Opaque(raw) => Part::Opaque(ProviderData { dialect: DIALECT.into(), raw: raw.into() }),
        }
    }
}

/// Reasoning as a part of the content.
#[derive(Debug, Serialize)]
struct ThinkingPart<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    thinking: [BTreeMap<&'static str, &'a str>; 1],
}

fn stop_kind(word: &str) -> FinishReason {
    match word {
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

fn keep(kept: &mut Option<String>, word: &LooseString) {
    if let (None, Some(word)) = (&kept, word.filled()) {
        *kept = Some(word.to_owned());
    }
}

/// The readable text of a string or of a list of parts.
fn plain(content: &Content<'_>) -> String {
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

/// Keeps citations with the text that they are about.
fn attach(annotations: &RawValue, parts: &mut [Part]) {
    let last_text = parts.iter_mut().rev().find_map(|part| match part {
        Part::Text(text) => Some(text),
        _ => None,
    });
    if let Some(text) = last_text {
        text.data = own(RawJson::of(&BTreeMap::from([("annotations", annotations)])).ok());
    }
}

fn own(raw: Option<RawJson>) -> Option<ProviderData> {
    raw.map(|raw| ProviderData { dialect: DIALECT.into(), raw })
}

#[cfg(test)]
mod tests;
