//! Decodes answers of the Responses API.

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

/// Decodes one answer.
///
/// Items are identified by their index in the output, which may have gaps, because some servers change an item's id from
/// event to event. The items of `response.output_item.done` count: the final response may repeat the output in part, with
/// other ids, or not at all.
#[derive(Debug, Default)]
pub struct ResponsesDecoder {
    items: BTreeMap<u64, RawJson>,
    usage: Option<Usage>,
    reply: Option<ChatReply>,
}

impl ReplyDecoder for ResponsesDecoder {
    fn event(&mut self, event: &SseEvent, sink: &mut EventSink<'_>) -> Result<Progress, ModelError> {
        let data = event.data.trim_ascii();
        if self.reply.is_some() {
            return Ok(Progress::Done);
        }
        // OpenRouter ends its stream like Chat Completions.
        if data.is_empty() || data == b"[DONE]" {
            return Ok(Progress::More);
        }
        let name = std::str::from_utf8(&event.name).unwrap_or_default();
        let event: Option<StreamEvent<'_>> = json::read(data);
        let event = event.map(|event| StreamEvent { kind: event.kind.or(Some(name)), ..event });
        let event = event.filter(|event| event.kind != Some("error"));
        let event = event.ok_or_else(|| provider_error::not_an_answer("an event of the stream", data))?;
        self.add_event(&event, data, sink)
    }

    fn finish(&mut self, _sink: &mut EventSink<'_>) -> Result<ChatReply, ModelError> {
        let broken = || ModelError::new(ModelErrorKind::Broken, "the stream ended before the answer did");
        self.reply.take().ok_or_else(broken)
    }

    fn body(&mut self, body: &[u8], sink: &mut EventSink<'_>) -> Result<ChatReply, ModelError> {
        let response: Option<Response<'_>> = json::read(body);
        let response = response.filter(|response| response.output.is_some());
        self.finish_response(response, body, sink)
    }

    fn usage(&self) -> Option<Usage> {
        self.usage
    }
}

impl ResponsesDecoder {
    fn add_event(
        &mut self,
        event: &StreamEvent<'_>,
        data: &[u8],
        sink: &mut EventSink<'_>,
    ) -> Result<Progress, ModelError> {
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
            "response.output_item.done" => self.add_item(event.output_index, event.item, sink),
            "response.completed"
            | "response.incomplete"
            | "response.failed"
            | "response.cancelled"
            | "response.done" => {
                let raw = event.response.map_or(data, |raw| raw.get().as_bytes());
                let reply = self.finish_response(json::read(raw), raw, sink)?;
                self.reply = Some(reply);
                return Ok(Progress::Done);
            }
            kind if is_ignored(kind) => {}
            _ => sink.quirk(WireQuirk::UnknownEvent),
        }
        Ok(Progress::More)
    }

    fn add_item(&mut self, index: Option<u64>, item: Option<&RawValue>, sink: &mut EventSink<'_>) {
        let Some(item) = item else { return sink.quirk(WireQuirk::UnknownEvent) };
        let next = self.items.last_key_value().map_or(0, |(last, _)| last.saturating_add(1));
        if index.is_none() {
            sink.quirk(WireQuirk::CallIndexMissing);
        }
        self.items.insert(index.unwrap_or(next), item.to_owned().into());
    }

    /// Converts a response that has ended to a reply or an error.
    fn finish_response(
        &mut self,
        response: Option<Response<'_>>,
        raw: &[u8],
        sink: &mut EventSink<'_>,
    ) -> Result<ChatReply, ModelError> {
        self.usage = response.as_ref().and_then(|response| response.usage).and_then(|raw| parse_usage(raw, sink));
        let response = response.filter(|response| response.error.is_none());
        let response = response.ok_or_else(|| provider_error::not_an_answer("the response", raw))?;
        check_status(response.status.as_deref())?;
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

    /// The streamed items, unless the final response has more (a client may join a stream in its middle).
    fn output(&mut self, final_items: &[&RawValue]) -> Vec<RawJson> {
        if self.items.len() < final_items.len() {
            return final_items.iter().map(|raw| (*raw).to_owned().into()).collect();
        }
        std::mem::take(&mut self.items).into_values().collect()
    }
}

/// What the items of an answer contain.
#[derive(Debug, Default)]
struct OutputSummary {
    calls: bool,
    refused: bool,
    web_searches: u64,
}

/// Whether an event is known but not needed: it begins something, repeats it, or reports the progress of a tool that the
/// provider runs.
fn is_ignored(kind: &str) -> bool {
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

fn parse_usage(raw: &RawValue, sink: &mut EventSink<'_>) -> Option<Usage> {
    let (usage, implausible) = wire::usage(raw);
    if implausible {
        sink.quirk(WireQuirk::UsageImplausible);
    }
    usage
}

/// Fails for a response that has not ended, or that the provider aborted.
fn check_status(status: Option<&str>) -> Result<(), ModelError> {
    match status {
        Some("queued" | "in_progress") => Err(ModelError::new(
            ModelErrorKind::Caller,
            "the response is still running in the background; remove `background` from the request",
        )),
        Some(status @ ("failed" | "cancelled")) => Err(ModelError::new(
            ModelErrorKind::Transient,
            format!("the provider did not complete the response: {status}"),
        )),
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

/// Converts an item to a part. A type that core does not know is kept unchanged.
fn part(raw: &RawJson, summary: &mut OutputSummary, sink: &mut EventSink<'_>) -> Part {
    let mut item = OutputItem::new(raw.as_raw());
    let data = Some(ProviderData { dialect: DIALECT.into(), raw: raw.clone() });
    match item.kind.as_str() {
        "message" if !matches!(item.string("role").as_str(), "user" | "system" | "developer") => {
            let (text, refused) = item.text("content", "");
            summary.refused |= refused;
            Part::Text(TextPart { text, data })
        }
        "reasoning" => {
            let (summary, _) = item.text("summary", "\n\n");
            let text = if summary.is_empty() { item.text("content", "").0 } else { summary };
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
