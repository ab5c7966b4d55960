//! Decodes answers of the Responses API.

use std::collections::BTreeMap;

use brigade_core::{
    Arguments, ChatReply, FinishReason, Message, ModelError, ModelErrorKind, Part, ProviderData, RawJson, Role,
    TextPart, ToolCall, Usage,
};
use serde_json::value::RawValue;

use super::{
    responses::DIALECT,
    wire::{self, OutputItem, Response, StreamEvent},
};
use crate::{
    http::{provider_error, sse::SseEvent},
    json::{json, repair},
    protocol::{
        event_sink::EventSink,
        protocol::{Completeness, Progress, ReplyDecoder, WireQuirk},
        tool_calls,
        usage::larger,
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
    /// The text of the deltas by item.
    shown: BTreeMap<u64, String>,
    usage: Option<Usage>,
    reply: Option<ChatReply>,
}

impl ReplyDecoder for ResponsesDecoder {
    fn carries_answer(&self, name: &str) -> bool {
        name.is_empty() || name.starts_with("response.")
    }

    fn event(&mut self, event: &SseEvent, sink: &mut EventSink<'_>) -> Result<Progress, ModelError> {
        let name = std::str::from_utf8(&event.name).unwrap_or_default();
        let read: StreamEvent<'_> = json::read(&event.data).unwrap_or_default();
        match read.kind.unwrap_or(name) {
            "error" => Err(provider_error::in_stream(&event.data)),
            kind => self.add_event(kind, &read, &event.data, sink),
        }
    }

    /// OpenRouter ends its stream like Chat Completions, after the final response.
    fn end_marker(&mut self) -> Progress {
        Progress::More
    }

    /// The final response is the terminal marker itself.
    fn completeness(&self) -> Completeness {
        Completeness::Partial
    }

    fn finish(&mut self, _sink: &mut EventSink<'_>) -> Result<ChatReply, ModelError> {
        let broken = || ModelError::new(ModelErrorKind::Broken, "the stream ended before the answer did");
        self.reply.take().ok_or_else(broken)
    }

    fn body(&mut self, body: &[u8], sink: &mut EventSink<'_>) -> Result<ChatReply, ModelError> {
        let response: Option<Response<'_>> = json::read(body);
        let response = response.filter(|response| response.output.0.is_some());
        self.finish_response(response, body, sink)
    }

    fn usage(&self) -> Option<Usage> {
        self.usage
    }
}

impl ResponsesDecoder {
    fn add_event(
        &mut self,
        kind: &str,
        event: &StreamEvent<'_>,
        data: &[u8],
        sink: &mut EventSink<'_>,
    ) -> Result<Progress, ModelError> {
        let delta = || event.delta.and_then(json::text).unwrap_or_default();
        match kind {
            "response.output_text.delta" | "response.refusal.delta" => {
                let shown = self.shown.entry(event.output_index.unwrap_or_else(|| self.next_index())).or_default();
                shown.push_str(&delta());
                sink.text(&delta());
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => sink.thinking(&delta()),
            "response.function_call_arguments.delta" => sink.arguments(delta().len()),
            "response.output_item.added" => {
                let item = event.item.map(OutputItem::new).filter(|item| item.kind == "function_call");
                if let Some(call) = item {
                    sink.tool_call(&call.string("name"));
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
            "response.in_progress" => {
                let response = event.response.and_then(|raw| json::read(raw.get().as_bytes()));
                self.add_usage(response.as_ref(), sink);
            }
            kind if is_ignored(kind) => {}
            _ => sink.quirk(WireQuirk::UnknownEvent),
        }
        Ok(Progress::More)
    }

    fn add_item(&mut self, index: Option<u64>, item: Option<&RawValue>, sink: &mut EventSink<'_>) {
        let Some(item) = item else { return sink.quirk(WireQuirk::UnknownEvent) };
        let next = self.next_index();
        if index.is_none() {
            sink.quirk(WireQuirk::CallIndexMissing);
        }
        self.items.insert(index.unwrap_or(next), item.to_owned().into());
    }

    fn next_index(&self) -> u64 {
        self.items.last_key_value().map_or(0, |(last, _)| last.saturating_add(1))
    }

    /// Adds the usage of a response, finished or not.
    fn add_usage(&mut self, response: Option<&Response<'_>>, sink: &mut EventSink<'_>) {
        let Some(raw) = response.and_then(|response| response.usage) else { return };
        let (usage, implausible) = wire::usage(raw);
        if implausible {
            sink.quirk(WireQuirk::UsageImplausible);
        }
        self.usage = larger(self.usage, usage);
    }

    /// Converts a response that has ended to a reply or an error.
    fn finish_response(
        &mut self,
        response: Option<Response<'_>>,
        raw: &[u8],
        sink: &mut EventSink<'_>,
    ) -> Result<ChatReply, ModelError> {
        self.add_usage(response.as_ref(), sink);
        let response = response.filter(|response| response.error.is_none());
        let response = response.ok_or_else(|| provider_error::not_an_answer("the response", raw))?;
        check_status(response.status.as_deref())?;
        let output = self.output(response.output.0.as_deref().unwrap_or_default());
        let mut parts = Vec::with_capacity(output.len());
        let mut summary = OutputSummary::default();
        for (index, raw) in output {
            let mut part = part(&raw, &mut summary, sink);
            if let (Part::Text(text), Some(shown)) = (&mut part, self.shown.get(&index)) {
                keep_shown(shown, &mut text.text);
            }
            parts.push(part);
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
    fn output(&mut self, final_items: &[&RawValue]) -> Vec<(u64, RawJson)> {
        if self.items.len() < final_items.len() {
            return (0..).zip(final_items.iter().map(|raw| (*raw).to_owned().into())).collect();
        }
        std::mem::take(&mut self.items).into_iter().collect()
    }
}

/// Keeps the text that the deltas of an item showed, if the item has another one, for example without the marks of
/// citations. An item that has more to add is taken as it is, and so is one whose deltas were not all seen.
fn keep_shown(shown: &str, text: &mut String) {
    let shown = repair::resolve(shown);
    if !text.starts_with(&*shown) && shown.len() >= text.len() / 2 {
        *text = shown;
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
    let data = Some(ProviderData::new(DIALECT, raw.clone()));
    match item.kind.as_str() {
        "message" if !matches!(item.string("role").as_str(), "user" | "system" | "developer") => {
            let (text, refused) = item.text("content", "");
            summary.refused |= refused;
            Part::Text(TextPart::new(text).data(data))
        }
        "reasoning" => {
            let (summary, _) = item.text("summary", "\n\n");
            let text = if summary.is_empty() { item.text("content", "").0 } else { summary };
            Part::Thinking(TextPart::new(text).data(data))
        }
        "function_call" => {
            summary.calls = true;
            let id = [item.string("call_id"), item.string("id")].into_iter().find(|id| !id.is_empty());
            let name = item.string("name");
            let arguments = item.fields.get("arguments").map(|raw| arguments(raw, sink)).unwrap_or_default();
            item.fields.retain(|field, _| !matches!(field.as_str(), "type" | "call_id" | "name" | "arguments"));
            let more = RawJson::of(&item.fields).ok().filter(|_| !item.fields.is_empty());
            let data = more.map(|raw| ProviderData::new(DIALECT, raw));
            Part::ToolCall(ToolCall::new(id.unwrap_or_default(), name, arguments).data(data))
        }
        _ => {
            summary.web_searches += u64::from(item.is_web_search());
            Part::Opaque(ProviderData::new(DIALECT, raw.clone()))
        }
    }
}

/// Arguments are JSON in a string; some servers send the JSON itself.
fn arguments(raw: &RawValue, sink: &mut EventSink<'_>) -> Arguments {
    match json::text(raw) {
        Some(text) => tool_calls::parse_arguments(text, sink),
        None if raw.get() == "null" => Arguments::default(),
        None => {
            sink.quirk(WireQuirk::ArgumentsForm);
            Arguments::Json(raw.to_owned().into())
        }
    }
}

#[cfg(test)]
mod tests;
