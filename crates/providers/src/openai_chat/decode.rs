//! Reads an answer, from chunks or from one document.

use std::{borrow::Cow, collections::BTreeMap};

use brigade_core::{
    ChatReply, Delta, FinishReason, Message, ModelError, ModelErrorKind, Part, ProviderData, RawJson, Role, TextPart,
    Usage,
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    DIALECT,
    calls::{Calls, Closed},
    reasoning::Reasoning,
    usage,
    wire::{Answer, Call, Choice, Content, ContentPart, Said, Word},
};
use crate::{
    error,
    json::{self, Count, Object},
    protocol::{self, Progress, Quirk, Sink},
    sse,
};

/// An answer that is being put together. Only the first of several alternatives is read.
#[derive(Debug, Default)]
pub struct Assembly {
    id: Option<String>,
    model: Option<String>,
    service_tier: Option<String>,
    usage: Option<Usage>,
    stop: Option<String>,
    /// What the model's own vendor said, where a router tells.
    native_stop: Option<String>,
    stop_sequence_matched: bool,
    end_marked: bool,
    choice_seen: bool,
    reasoning: Reasoning,
    content: Vec<Piece>,
    refusal: String,
    annotations: Option<Box<RawValue>>,
    calls: Calls,
}

/// A run of content of one type.
#[derive(Debug)]
enum Piece {
    Text(String),
    /// Reasoning within the content (Mistral), with the server's own form if it came in one piece.
    Thinking(String, Option<Box<RawValue>>),
    Opaque(Box<RawValue>),
}

impl protocol::Assembly for Assembly {
    fn event(&mut self, event: &sse::Event, sink: &mut Sink<'_>) -> Result<Progress, ModelError> {
        if event.data.trim_ascii() == b"[DONE]" {
            self.end_marked = true;
            return Ok(Progress::Done);
        }
        let answer: Option<Object<Answer<'_>>> = json::read(&event.data);
        let answer = answer
            .and_then(|answer| answer.0)
            .ok_or_else(|| error::not_an_answer("an event of the stream", &event.data))?;
        let says_nothing = answer.choices.is_none() && answer.usage.0.is_none() && answer.error.is_none();
        if says_nothing && event.name.as_ref() == b"error" {
            return Err(error::not_an_answer("the stream", &event.data));
        }
        if says_nothing {
            sink.quirk(Quirk::UnknownEvent);
        }
        self.add(answer, sink)?;
        Ok(Progress::More)
    }

    fn finish(&mut self, sink: &mut Sink<'_>) -> Result<ChatReply, ModelError> {
        match (&self.stop, self.end_marked) {
            (None, false) => {
                let message = "the stream ended without a finish reason and without `[DONE]`";
                return Err(ModelError::new(ModelErrorKind::Broken, message));
            }
            (None, true) => sink.quirk(Quirk::StopMissing),
            (Some(_), false) => sink.quirk(Quirk::EndMarkerMissing),
            (Some(_), true) => {}
        }
        self.reply(sink)
    }

    fn body(&mut self, body: &[u8], sink: &mut Sink<'_>) -> Result<ChatReply, ModelError> {
        let answer: Option<Object<Answer<'_>>> = json::read(body);
        let answer =
            answer.and_then(|answer| answer.0).filter(|answer| answer.choices.is_some() && answer.error.is_none());
        let answer = answer.ok_or_else(|| error::not_an_answer("the body", body))?;
        self.add(answer, sink)?;
        if self.stop.is_none() {
            sink.quirk(Quirk::StopMissing);
        }
        self.reply(sink)
    }

    fn usage(&self) -> Option<Usage> {
        self.usage
    }
}

impl Assembly {
    fn add(&mut self, answer: Answer<'_>, sink: &mut Sink<'_>) -> Result<(), ModelError> {
        keep(&mut self.id, &answer.id);
        keep(&mut self.model, &answer.model);
        keep(&mut self.service_tier, &answer.service_tier);
        self.add_usage(&answer, sink);
        if let Some(error) = answer.error.filter(|error| !json::is_blank(error)) {
            return Err(error::in_band(error));
        }
        for choice in answer.choices.into_iter().flatten().filter_map(|choice| choice.0) {
            if choice.index.get().unwrap_or(0) == 0 {
                self.add_choice(choice, sink)?;
            }
        }
        Ok(())
    }

    /// Usage may come on any chunk, several times; it is a running total, so the last one counts.
    fn add_usage(&mut self, answer: &Answer<'_>, sink: &mut Sink<'_>) {
        let groq = || answer.x_groq.0.as_ref()?.usage.0.as_ref();
        let Some(stated) = answer.usage.0.as_ref().or_else(groq) else { return };
        let (usage, implausible) = usage::normalised(stated);
        if implausible {
            sink.quirk(Quirk::UsageImplausible);
        }
        self.usage = usage.or(self.usage);
    }

    fn add_choice(&mut self, choice: Choice<'_>, sink: &mut Sink<'_>) -> Result<(), ModelError> {
        self.choice_seen = true;
        if let Some(error) = choice.error.filter(|error| !json::is_blank(error)) {
            return Err(error::in_band(error));
        }
        // Perplexity repeats the whole message beside each delta.
        let whole = choice.delta.0.is_none();
        if let Some(said) = choice.delta.0.or(choice.message.0) {
            self.add_said(said, whole, sink);
        }
        if let Some(stop) = choice.finish_reason.filled() {
            if self.stop.is_some() {
                sink.quirk(Quirk::StopRepeated);
            }
            self.stop = Some(stop.to_owned());
        }
        keep(&mut self.native_stop, &choice.native_finish_reason);
        self.stop_sequence_matched |= choice.stop_reason.filled().is_some();
        Ok(())
    }

    fn add_said(&mut self, said: Box<Said<'_>>, whole: bool, sink: &mut Sink<'_>) {
        if let Some(thought) = self.reasoning.push(&said) {
            sink.delta(|| Delta::Thinking(thought));
        }
        match said.content {
            Content::Text(text) => self.add_text(text, sink),
            Content::Parts(parts) => {
                sink.quirk(Quirk::ContentForm);
                for part in parts {
                    self.add_part(part, sink);
                }
            }
            Content::Other => {}
        }
        if let Some(refusal) = said.refusal.filled() {
            self.refusal.push_str(refusal);
            sink.delta(|| Delta::Text(refusal.to_owned()));
        }
        if let Some(annotations) = said.annotations.filter(|raw| !json::is_blank(raw)) {
            self.annotations = Some(annotations.to_owned());
        }
        // The form before tool calls has room for one call.
        let legacy = said.function_call.0.map(|function| Call {
            index: Count::Of(0),
            function: Object(Some(function)),
            ..Call::default()
        });
        for call in said.tool_calls.into_iter().flatten().filter_map(|call| call.0).chain(legacy) {
            if whole {
                self.calls.push_whole(&call, sink);
            } else {
                self.calls.push(&call, sink);
            }
        }
    }

    fn add_text(&mut self, text: Cow<'_, str>, sink: &mut Sink<'_>) {
        if text.is_empty() {
            return;
        }
        sink.delta(|| Delta::Text(text.clone().into_owned()));
        match self.content.last_mut() {
            Some(Piece::Text(before)) => before.push_str(&text),
            _ => self.content.push(Piece::Text(text.into_owned())),
        }
    }

    fn add_part(&mut self, raw: &RawValue, sink: &mut Sink<'_>) {
        let part: ContentPart<'_> = serde_json::from_str(raw.get()).unwrap_or_default();
        match (part.kind.filled(), part.thinking) {
            (Some("text"), _) => self.add_text(part.text.0.unwrap_or_default(), sink),
            (Some("thinking"), Some(thinking)) => self.add_thinking(&plain(&thinking), raw, sink),
            _ => {
                sink.quirk(Quirk::UnknownPart);
                self.content.push(Piece::Opaque(raw.to_owned()));
            }
        }
    }

    fn add_thinking(&mut self, text: &str, raw: &RawValue, sink: &mut Sink<'_>) {
        if !text.is_empty() {
            sink.delta(|| Delta::Thinking(text.to_owned()));
        }
        match self.content.last_mut() {
            Some(Piece::Thinking(before, whole)) => {
                before.push_str(text);
                *whole = None;
            }
            _ => self.content.push(Piece::Thinking(text.to_owned(), Some(raw.to_owned()))),
        }
    }

    fn reply(&mut self, sink: &mut Sink<'_>) -> Result<ChatReply, ModelError> {
        if !self.choice_seen {
            return Err(ModelError::new(ModelErrorKind::Broken, "the answer has no choices"));
        }
        let calls = std::mem::take(&mut self.calls).finish(sink);
        let finish_reason = self.finish_reason(&calls, sink)?;
        let reasoning = std::mem::take(&mut self.reasoning).finish().map(Part::Thinking);
        let content = std::mem::take(&mut self.content);
        let mut parts = Vec::with_capacity(content.len() + calls.parts.len() + 2);
        parts.extend(reasoning);
        parts.extend(content.into_iter().map(Piece::into_part));
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
    fn finish_reason(&self, calls: &Closed, sink: &mut Sink<'_>) -> Result<FinishReason, ModelError> {
        let kind = match self.stop.as_deref() {
            Some("error" | "abort") => {
                return Err(ModelError::new(ModelErrorKind::Broken, "the server gave up in the middle of the answer"));
            }
            Some("insufficient_system_resource") => {
                return Err(ModelError::new(ModelErrorKind::Overloaded, "the server has no resources left"));
            }
            word => stop_kind(word.unwrap_or_default()),
        };
        if kind == FinishReason::Unknown && self.stop.is_some() {
            sink.quirk(Quirk::UnknownStop);
        }
        Ok(self.corrected(kind, calls, sink))
    }

    /// What is in the answer can say more than the stop reason.
    fn corrected(&self, kind: FinishReason, calls: &Closed, sink: &mut Sink<'_>) -> FinishReason {
        let native_limit = matches!(self.native_stop.as_deref(), Some("max_output_tokens" | "length" | "MAX_TOKENS"));
        match kind {
            FinishReason::EndTurn if !self.refusal.is_empty() => FinishReason::Refusal,
            FinishReason::EndTurn | FinishReason::ToolCalls | FinishReason::Unknown
                if calls.cut_off || native_limit =>
            {
                sink.quirk(Quirk::StopMismatch);
                FinishReason::MaxTokens
            }
            FinishReason::EndTurn | FinishReason::Unknown if !calls.parts.is_empty() => FinishReason::ToolCalls,
            FinishReason::ToolCalls if calls.parts.is_empty() => {
                sink.quirk(Quirk::StopMismatch);
                FinishReason::EndTurn
            }
            FinishReason::EndTurn if self.stop_sequence_matched => FinishReason::StopSequence,
            kind => kind,
        }
    }
}

impl Piece {
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

fn keep(kept: &mut Option<String>, word: &Word<'_>) {
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
        Content::Text(text) => text.clone().into_owned(),
        Content::Parts(parts) => parts.iter().map(text).collect(),
        Content::Other => String::new(),
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
