//! Bytes from the Responses API become a reply.

use std::collections::BTreeMap;

use brigade_core::{
    Arguments, ChatReply, Delta, FinishReason, Message, ModelError, ModelErrorKind, Part, ProviderData, RawJson, Role,
    TextPart, ToolCall, Usage,
};
use serde_json::value::RawValue;

use super::{
    responses::DIALECT,
    wire::{self, OutputItem, Response, StreamEvent},
};
use crate::{
    http::{provider_error, sse::SseEvent},
    json::json,
    protocol::{
        protocol::{EventSink, Progress, ReplyDecoder, WireQuirk},
        tool_calls,
    },
};

/// Puts an answer together.
///
/// An item is followed by its place in the output, which may have gaps: some servers give one item another id in each
/// event. What counts is the item as it is when done, as the final response can repeat the output in part, under other
/// ids, or not at all.
#[derive(Debug, Default)]
pub struct ResponsesDecoder {
    done: BTreeMap<u64, RawJson>,
    usage: Option<Usage>,
    reply: Option<ChatReply>,
}

impl ReplyDecoder for ResponsesDecoder {
    fn event(&mut self, event: &SseEvent, sink: &mut EventSink<'_>) -> Result<Progress, ModelError> {
        let data = event.data.trim_ascii();
        if self.reply.is_some() {
            return Ok(Progress::Done);
        }
        // OpenRouter ends its stream as Chat Completions do; the answer has ended before.
        if data.is_empty() || data == b"[DONE]" {
            return Ok(Progress::More);
        }
        let name = std::str::from_utf8(&event.name).unwrap_or_default();
        let event: Option<StreamEvent<'_>> = json::read(data);
        let event = event.map(|event| StreamEvent { kind: event.kind.or(Some(name)), ..event });
        let event = event.filter(|event| event.kind != Some("error"));
        let event = event.ok_or_else(|| provider_error::not_an_answer("an event of the stream", data))?;
        self.take(&event, data, sink)
    }

    fn finish(&mut self, _sink: &mut EventSink<'_>) -> Result<ChatReply, ModelError> {
        let broken = || ModelError::new(ModelErrorKind::Broken, "the stream ended before the answer did");
        self.reply.take().ok_or_else(broken)
    }

    fn body(&mut self, body: &[u8], sink: &mut EventSink<'_>) -> Result<ChatReply, ModelError> {
        let response: Option<Response<'_>> = json::read(body);
        let response = response.filter(|response| response.output.is_some());
        self.conclude(response, body, sink)
    }

    fn usage(&self) -> Option<Usage> {
        self.usage
    }
}

impl ResponsesDecoder {
    fn take(&mut self, event: &StreamEvent<'_>, data: &[u8], sink: &mut EventSink<'_>) -> Result<Progress, ModelError> {
        let delta = || event.delta.and_then(json::text).unwrap_or_default();
        match event.kind.unwrap_or_default() {
            "response.output_text.delta" | "response.refusal.delta" => sink.delta(|| Delta::Text(delta())),
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                sink.delta(|| Delta::Thinking(delta()));
            }
            "response.function_call_arguments.delta" => sink.delta(|| Delta::Arguments { bytes: delta().len() }),
            "response.output_item.added" => {
                let item = event.item.map(OutputItem::new).filter(|item| item.kind == "function_call");
                if let Some(call) = item {
                    sink.delta(|| Delta::ToolCall { name: call.string("name") });
                }
            }
            "response.output_item.done" => self.keep(event.output_index, event.item, sink),
            "response.completed"
            | "response.incomplete"
            | "response.failed"
            | "response.cancelled"
            | "response.done" => {
                let raw = event.response.map_or(data, |raw| raw.get().as_bytes());
                let reply = self.conclude(json::read(raw), raw, sink)?;
                self.reply = Some(reply);
                return Ok(Progress::Done);
            }
            kind if is_known(kind) => {}
            _ => sink.quirk(WireQuirk::UnknownEvent),
        }
        Ok(Progress::More)
    }

    fn keep(&mut self, index: Option<u64>, item: Option<&RawValue>, sink: &mut EventSink<'_>) {
        let Some(item) = item else { return sink.quirk(WireQuirk::UnknownEvent) };
        let next = self.done.last_key_value().map_or(0, |(last, _)| last.saturating_add(1));
        if index.is_none() {
            sink.quirk(WireQuirk::CallIndexMissing);
        }
        self.done.insert(index.unwrap_or(next), item.to_owned().into());
    }

    /// Makes the reply of a response that has come to its end, whatever the end is.
    fn conclude(
        &mut self,
        response: Option<Response<'_>>,
        raw: &[u8],
        sink: &mut EventSink<'_>,
    ) -> Result<ChatReply, ModelError> {
        self.usage = response.as_ref().and_then(|response| response.usage).and_then(|raw| counted(raw, sink));
        let response = response.filter(|response| response.error.is_none());
        let response = response.ok_or_else(|| provider_error::not_an_answer("the response", raw))?;
        check_ended(response.status.as_deref())?;
        let output = self.output(response.output.as_deref().unwrap_or_default());
        let mut parts = Vec::with_capacity(output.len());
        let mut summary = OutputSummary::default();
        for raw in output {
            parts.push(part(&raw, &mut summary, sink));
        }
        if let (Some(usage), 1..) = (&mut self.usage, summary.web_searches) {
            usage.web_searches = Some(summary.web_searches);
        }
        let reason = response.incomplete_details.and_then(|details| details.reason);
        let finish_reason = finish_reason(response.status.as_deref(), reason.as_deref(), &summary, sink);
        let finish_reason = tool_calls::check(&parts, finish_reason, sink);
        let mut reply = ChatReply::new(Message::new(Role::Assistant, parts));
        reply.usage = self.usage;
        reply.finish_reason = finish_reason;
        reply.raw_finish_reason = reason.or(response.status);
        reply.model = response.model.unwrap_or_default();
        reply.service_tier = response.service_tier;
        reply.response_id = response.id;
        Ok(reply)
    }

    /// The items as they were streamed, unless the end has more of them (a stream may be joined in its middle).
    fn output(&mut self, finally: &[&RawValue]) -> Vec<RawJson> {
        if self.done.len() < finally.len() {
            return finally.iter().map(|raw| (*raw).to_owned().into()).collect();
        }
        std::mem::take(&mut self.done).into_values().collect()
    }
}

/// What the items of an answer add up to.
#[derive(Debug, Default)]
struct OutputSummary {
    calls: bool,
    refused: bool,
    web_searches: u64,
}

/// Whether an event is one that brings nothing new: it begins something, repeats it whole, or tells the progress of a
/// tool that the provider runs.
fn is_known(kind: &str) -> bool {
    const PROGRESS: [&str; 12] = [
        "created",
        "in_progress",
        "queued",
        "content_part",
        "output_text",
        "refusal",
        "function_call_arguments",
        "reasoning_summary_part",
        "reasoning_summary_text",
        "reasoning_text",
        "reasoning_summary",
        "mcp_list_tools",
    ];
    let topic = kind.strip_prefix("response.").and_then(|rest| rest.split('.').next());
    topic.is_some_and(|topic| PROGRESS.contains(&topic) || topic.contains("_call")) || kind == "keepalive"
}

fn counted(raw: &RawValue, sink: &mut EventSink<'_>) -> Option<Usage> {
    let (usage, odd) = wire::usage(raw);
    if odd {
        sink.quirk(WireQuirk::UsageImplausible);
    }
    usage
}

/// A response that still runs, or never will, is no answer.
fn check_ended(status: Option<&str>) -> Result<(), ModelError> {
    match status {
        Some("queued" | "in_progress") => Err(ModelError::new(
            ModelErrorKind::Caller,
            "the response runs in the background and is not there yet; leave `background` out of the request",
        )),
        Some(status @ ("failed" | "cancelled")) => {
            Err(ModelError::new(ModelErrorKind::Transient, format!("the provider gave the response up: {status}")))
        }
        _ => Ok(()),
    }
}

fn finish_reason(
    status: Option<&str>,
    reason: Option<&str>,
    summary: &OutputSummary,
    sink: &mut EventSink<'_>,
) -> FinishReason {
    match status {
        None => sink.quirk(WireQuirk::StopMissing),
        Some("completed" | "incomplete") => {}
        Some(_) => sink.quirk(WireQuirk::UnknownStop),
    }
    match (status, reason) {
        (_, Some("max_output_tokens" | "max_tokens")) => FinishReason::MaxTokens,
        (_, Some("content_filter")) => FinishReason::ContentFilter,
        (Some("incomplete"), _) => {
            sink.quirk(WireQuirk::UnknownStop);
            FinishReason::Unknown
        }
        _ if summary.calls => FinishReason::ToolCalls,
        _ if summary.refused => FinishReason::Refusal,
        _ => FinishReason::EndTurn,
    }
}

/// An item in core's terms. What core has no word for is kept as it is.
fn part(raw: &RawJson, summary: &mut OutputSummary, sink: &mut EventSink<'_>) -> Part {
    let mut item = OutputItem::new(raw.as_raw());
    let data = Some(ProviderData { dialect: DIALECT.into(), raw: raw.clone() });
    match item.kind.as_str() {
        "message" if !matches!(item.string("role").as_str(), "user" | "system" | "developer") => {
            let (text, refused) = item.words("content", "");
            summary.refused |= refused;
            Part::Text(TextPart { text, data })
        }
        "reasoning" => {
            let (summary, _) = item.words("summary", "\n\n");
            let text = if summary.is_empty() { item.words("content", "").0 } else { summary };
            Part::Thinking(TextPart { text, data })
        }
        "function_call" => {
            summary.calls = true;
            let id = [item.string("call_id"), item.string("id")].into_iter().find(|id| !id.is_empty());
            let name = item.string("name");
            let arguments = item.fields.get("arguments").map(|raw| arguments(raw, sink)).unwrap_or_default();
            item.fields.retain(|field, _| !matches!(field.as_str(), "type" | "call_id" | "name" | "arguments"));
            let more = RawJson::of(&item.fields).ok().filter(|_| !item.fields.is_empty());
            let data = more.map(|raw| ProviderData { dialect: DIALECT.into(), raw });
            Part::ToolCall(ToolCall { id: id.unwrap_or_default(), name, arguments, data })
        }
        _ => {
            summary.web_searches += u64::from(item.is_web_search());
            Part::Opaque(ProviderData { dialect: DIALECT.into(), raw: raw.clone() })
        }
    }
}

/// Arguments are JSON in a string; some servers send the JSON itself.
fn arguments(raw: &RawValue, sink: &mut EventSink<'_>) -> Arguments {
    match json::text(raw) {
        Some(text) => Arguments::parse(text),
        None if raw.get() == "null" => Arguments::default(),
        None => {
            sink.quirk(WireQuirk::ArgumentsForm);
            Arguments::Json(raw.to_owned().into())
        }
    }
}

#[cfg(test)]
mod tests;
