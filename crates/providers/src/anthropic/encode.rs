//! Encodes requests to Anthropic.

use std::{borrow::Cow, convert::Infallible};

use brigade_core::{ChatRequest, Dialect, Message, OutputSchema, PromptCache, Role, Settings, ToolChoice, ToolSpec};
use serde::Serialize;
use serde_json::{json, value::RawValue};

use super::{
    blocks,
    messages::DIALECT,
    model_family::{ModelFamily, Sampling, ThinkingForm},
    reasoning::{ReasoningPlan, ThinkingMode},
};
use crate::{
    json::{body_writer::BodyWriter, json},
    protocol::{maker::Maker, protocol::ModelRequest},
};

/// The body of a request. Its bytes depend on the request alone.
pub(super) fn body(request: &ModelRequest<'_>) -> Vec<u8> {
    let ModelRequest { model, chat, settings, stream, .. } = *request;
    let family = ModelFamily::of(model);
    let plan = ReasoningPlan::new(family, request);
    let mut body = BodyWriter::new(size_hint(chat), &settings.extra);
    body.fixed("model", |out| json::write(out, model));
    if stream {
        body.fixed("stream", |out| json::write(out, &true));
    }
    body.field("max_tokens", Some(&plan.max_tokens));
    write_thinking(&mut body, plan.thinking);
    let schema = settings.output.as_ref().filter(|output| family.enforces(output));
    if plan.effort.is_some() || schema.is_some() {
        body.field("output_config", Some(&OutputConfig::new(plan.effort, schema)));
    }
    write_sampling(&mut body, plan, family, settings);
    let stop: Vec<&String> = settings.stop_sequences.iter().filter(|text| !text.trim().is_empty()).collect();
    body.field("stop_sequences", Some(&stop).filter(|stop| !stop.is_empty()));
    body.field("service_tier", settings.service_tier.as_deref().map(service_tier));
    let user = settings.user.as_ref().or_else(|| settings.metadata.get("user_id"));
    body.field("metadata", user.map(|user| json!({ "user_id": user })).as_ref());
    write_tools(&mut body, family, chat, settings);
    write_system(&mut body, family, request);
    body.extras(&["model", "stream", "tools", "messages"]);
    body.fixed("messages", |out| write_messages(out, family, request));
    body.finish()
}

/// The name of a service tier. Anthropic has two for requests: with the account's priority capacity, or without.
fn service_tier(tier: &str) -> &str {
    match tier {
        "default" | "standard" => "standard_only",
        "priority" => "auto",
        other => other,
    }
}

fn size_hint(chat: &ChatRequest) -> usize {
    const PER_MESSAGE: usize = 96;
    let instructions = chat.instructions.as_ref().map_or(0, Message::size_bytes);
    let visible = chat.transcript.visible_bytes() + chat.transcript.len() * PER_MESSAGE;
    1_024 + instructions + chat.tools.size_bytes() + visible
}

fn write_thinking(body: &mut BodyWriter<'_>, thinking: ThinkingMode) {
    let thinking = match thinking {
        ThinkingMode::Unset => None,
        ThinkingMode::Disabled => Some(json!({ "type": "disabled" })),
        ThinkingMode::Adaptive => Some(json!({ "type": "adaptive" })),
        ThinkingMode::Budget(tokens) => Some(json!({ "budget_tokens": tokens, "type": "enabled" })),
    };
    body.field("thinking", thinking.as_ref());
}

#[derive(Serialize)]
struct OutputConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<OutputFormat<'a>>,
}

#[derive(Serialize)]
struct OutputFormat<'a> {
    r#type: &'static str,
    schema: &'a RawValue,
}

impl<'a> OutputConfig<'a> {
    fn new(effort: Option<&'static str>, schema: Option<&'a OutputSchema>) -> Self {
        let format = schema.map(|output| OutputFormat { r#type: "json_schema", schema: output.schema.as_raw() });
        Self { effort, format }
    }
}

/// The API refuses a temperature beside thinking, and accepts `top_p` there only from 0.95 on.
fn write_sampling(body: &mut BodyWriter<'_>, plan: ReasoningPlan, family: ModelFamily, settings: &Settings) {
    let allowed = family.sampling != Sampling::Neither;
    let temperature = settings.temperature.filter(|_| allowed && !plan.thinks());
    let alone = family.sampling == Sampling::Both || temperature.is_none();
    let top_p = settings.top_p.filter(|value| allowed && alone && (!plan.thinks() || *value >= 0.95));
    body.field("temperature", temperature.as_ref());
    body.field("top_p", top_p.as_ref());
}

/// Writes the tools, followed by those in `extra` (the provider's own, such as web search).
fn write_tools(body: &mut BodyWriter<'_>, family: ModelFamily, chat: &ChatRequest, settings: &Settings) {
    let more = settings.extra.get("tools").map(|tools| json::inside(tools.get())).unwrap_or_default();
    if chat.tools.is_empty() && more.is_empty() {
        return;
    }
    body.fixed("tools", |out| {
        out.push(b'[');
        if !chat.tools.is_empty() {
            let dialect = Dialect { name: DIALECT, variant: u64::from(family.schemas) };
            let Ok(()) = chat.tools.write_encoded(dialect, out, |specs, out| {
                let tools: Vec<Tool<'_>> = specs.iter().map(|spec| Tool::new(spec, family)).collect();
                json::write_items(out, &tools);
                Ok::<_, Infallible>(())
            });
            insert_cache_mark(out, out.len(), cache_mark(settings));
            if !more.is_empty() {
                out.push(b',');
            }
        }
        out.extend_from_slice(more.as_bytes());
        out.push(b']');
    });
    let choice = match (&settings.tool_choice, settings.parallel_tool_calls) {
        (ToolChoice::Auto, Some(false)) => json!({ "type": "auto", "disable_parallel_tool_use": true }),
        (ToolChoice::Auto, _) => return,
        (ToolChoice::None, _) => json!({ "type": "none" }),
        (ToolChoice::Required, Some(false)) => json!({ "type": "any", "disable_parallel_tool_use": true }),
        (ToolChoice::Required, _) => json!({ "type": "any" }),
        (ToolChoice::Named(name), Some(false)) => {
            json!({ "type": "tool", "name": name, "disable_parallel_tool_use": true })
        }
        (ToolChoice::Named(name), _) => json!({ "type": "tool", "name": name }),
    };
    body.field("tool_choice", Some(&choice));
}

#[derive(Serialize)]
struct Tool<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    input_schema: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

impl<'a> Tool<'a> {
    fn new(spec: &'a ToolSpec, family: ModelFamily) -> Self {
        Self {
            name: &spec.name,
            description: &spec.description,
            input_schema: spec.input_schema.as_raw(),
            strict: (spec.strict && family.schemas).then_some(true),
        }
    }
}

fn write_system(body: &mut BodyWriter<'_>, family: ModelFamily, request: &ModelRequest<'_>) {
    let ModelRequest { chat, settings, maker, .. } = *request;
    let mut system = Vec::new();
    if let Some(instructions) = &chat.instructions {
        write_message(&mut system, instructions, family, maker);
    }
    // Instructions in the provider's own form may have a mark already, and the API refuses two.
    let mut markable = chat.instructions.as_ref().is_none_or(blocks::is_markable);
    if let Some(output) = settings.output.as_ref().filter(|output| !family.enforces(output)) {
        let schema = output.schema.get();
        let request = "Answer with one JSON document and nothing else. It must match this JSON Schema:";
        blocks::separate(&mut system, 0);
        blocks::write_text(&mut system, &format!("{request}\n{schema}"));
        markable = true;
    }
    if system.is_empty() || settings.extra.contains_key("system") {
        return;
    }
    body.fixed("system", |out| {
        out.push(b'[');
        out.extend_from_slice(&system);
        insert_cache_mark(out, out.len(), cache_mark(settings).filter(|_| markable));
        out.push(b']');
    });
}

/// Writes the conversation. Neighbors of the same role become one message, because the API wants roles to alternate
/// and the results of all calls in one message.
fn write_messages(out: &mut Vec<u8>, family: ModelFamily, request: &ModelRequest<'_>) {
    let ModelRequest { chat, settings, maker, .. } = *request;
    let mut open_role = None;
    let mut ends: Vec<usize> = Vec::new();
    let mut ends_before_turn = 0;
    out.push(b'[');
    for message in chat.transcript.visible() {
        let role = if message.role() == Role::Assistant { "assistant" } else { "user" };
        let before = out.len();
        if open_role == Some(role) {
            out.push(b',');
        } else {
            out.extend_from_slice(if open_role.is_some() { b"]},{\"role\":\"" } else { b"{\"role\":\"" });
            out.extend_from_slice(role.as_bytes());
            out.extend_from_slice(b"\",\"content\":[");
        }
        let start = out.len();
        write_message(out, message, family, maker);
        if out.len() == start {
            out.truncate(before);
            continue;
        }
        if open_role.replace(role) != Some(role) {
            ends_before_turn = ends.len();
        }
        if role == "user" && blocks::is_markable(message) {
            ends.truncate(ends_before_turn);
            ends.push(out.len());
        }
    }
    out.extend_from_slice(if open_role.is_some() { b"]}]" } else { b"]" });
    // The second mark is where the turn before ended: the cache looks back only 20 blocks from a mark, and a turn with
    // many parallel tools has more.
    let mark = cache_mark(settings).filter(|_| !settings.extra.contains_key("cache_control"));
    for end in ends.into_iter().rev().take(2) {
        insert_cache_mark(out, end, mark);
    }
}

/// The mark that ends a cached prefix: <https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching>.
fn cache_mark(settings: &Settings) -> Option<&'static str> {
    match settings.prompt_cache {
        PromptCache::Auto => Some(r#","cache_control":{"type":"ephemeral"}"#),
        PromptCache::OneHour => Some(r#","cache_control":{"type":"ephemeral","ttl":"1h"}"#),
        PromptCache::Off => None,
    }
}

/// Inserts a mark into the block that ends at `end`.
fn insert_cache_mark(out: &mut Vec<u8>, end: usize, mark: Option<&str>) {
    if let Some(mark) = mark {
        let brace = end.saturating_sub(1);
        out.splice(brace..brace, mark.bytes());
    }
}

/// Appends the content blocks of a message, separated by commas.
fn write_message(out: &mut Vec<u8>, message: &Message, family: ModelFamily, maker: Maker) {
    let thinks = family.thinking != ThinkingForm::No;
    let readable = maker.readable(message);
    let variant = u64::from(thinks) | (u64::from(matches!(readable, Cow::Owned(_))) << 1);
    let Ok(()) = message.write_encoded(Dialect { name: DIALECT, variant }, out, |_, out| {
        blocks::write(out, readable.parts(), thinks);
        Ok::<_, Infallible>(())
    });
}

#[cfg(test)]
mod tests;
