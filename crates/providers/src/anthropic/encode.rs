//! A question becomes the body of a request to Anthropic.

use std::convert::Infallible;

use brigade_core::{
    ChatRequest, Dialect, Effort, Message, OutputSchema, Part, PromptCache, Reasoning, Role, Settings, ToolChoice,
    ToolSpec,
};
use serde_json::json;

use super::{DEFAULT_ANSWER_TOKENS, DIALECT, EffortLevels, Family, Sampling, ThinkingForm, blocks};
use crate::{
    json::{self, Body},
    protocol::Question,
};

/// The least that a thinking budget may be.
const MIN_BUDGET_TOKENS: u32 = 1_024;

/// What is sent as `thinking`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thinking {
    Unsaid,
    Disabled,
    Adaptive,
    Budget(u32),
}

/// How much the model should reason and write, in the API's terms.
#[derive(Debug, Clone, Copy)]
struct Plan {
    max_tokens: u32,
    thinking: Thinking,
    effort: Option<&'static str>,
}

/// The body of a request. Its bytes depend on the question alone.
pub(super) fn body(question: &Question<'_>) -> Vec<u8> {
    let Question { model, request, settings, stream } = *question;
    let family = Family::of(model);
    let plan = Plan::new(family, request, settings);
    let mut body = Body::new(size_hint(request), &settings.extra);
    body.fixed("model", |out| json::string(out, model));
    if stream {
        body.fixed("stream", |out| json::value(out, &true));
    }
    body.optional("max_tokens", Some(&plan.max_tokens));
    write_plan(&mut body, plan, settings.output.as_ref().filter(|output| family.enforces(output)));
    write_sampling(&mut body, plan, family, settings);
    let stop: Vec<&String> = settings.stop_sequences.iter().filter(|text| !text.trim().is_empty()).collect();
    body.optional("stop_sequences", Some(&stop).filter(|stop| !stop.is_empty()));
    body.optional("service_tier", settings.service_tier.as_deref().map(service_tier).as_ref());
    let user = settings.user.as_ref().or_else(|| settings.metadata.get("user_id"));
    body.optional("metadata", user.map(|user| json!({ "user_id": user })).as_ref());
    write_tools(&mut body, family, request, settings);
    write_system(&mut body, family, request, settings);
    body.extras(&["model", "stream", "tools", "messages"]);
    body.fixed("messages", |out| write_messages(out, family, request, settings));
    body.finish()
}

/// Anthropic has two tiers for a request: with the account's priority capacity, or without.
fn service_tier(tier: &str) -> &str {
    match tier {
        "default" | "standard" => "standard_only",
        "priority" => "auto",
        other => other,
    }
}

fn size_hint(request: &ChatRequest) -> usize {
    const PER_MESSAGE: usize = 96;
    let instructions = request.instructions.as_ref().map_or(0, Message::size_bytes);
    let visible = request.transcript.visible_bytes() + request.transcript.len() * PER_MESSAGE;
    1_024 + instructions + request.tools.size_bytes() + visible
}

impl Family {
    /// Whether the API itself can hold the answer to the schema.
    fn enforces(self, output: &OutputSchema) -> bool {
        self.schemas && output.strict
    }

    /// What keeps the model from reasoning, as far as anything does.
    fn silence(self) -> Thinking {
        if self.thinking == ThinkingForm::AdaptiveByDefault { Thinking::Disabled } else { Thinking::Unsaid }
    }

    /// Whether it reasons without being asked to.
    pub(super) fn thinks_unasked(self) -> bool {
        matches!(self.thinking, ThinkingForm::AdaptiveByDefault | ThinkingForm::AdaptiveAlways)
    }

    /// A degree of effort in the nearest word that the model knows.
    fn effort_word(self, effort: Effort) -> Option<&'static str> {
        let high_or = |word, known: bool| Some(if known { word } else { "high" });
        match (self.effort, effort) {
            (EffortLevels::No, _) => None,
            (_, Effort::Minimal | Effort::Low) => Some("low"),
            (_, Effort::Medium) => Some("medium"),
            (_, Effort::High) => Some("high"),
            (levels, Effort::XHigh) => high_or("xhigh", levels == EffortLevels::WithXHighAndMax),
            (levels, Effort::Max) => high_or("max", levels != EffortLevels::ToHigh),
        }
    }
}

impl Plan {
    fn new(family: Family, request: &ChatRequest, settings: &Settings) -> Self {
        let limit = settings.output_limit().unwrap_or(DEFAULT_ANSWER_TOKENS).clamp(1, family.max_output_tokens);
        let (thinking, effort) = wanted(family, settings.reasoning);
        let thinking = match thinking {
            Thinking::Disabled => Thinking::Disabled,
            _ if forces_a_tool(request, settings) => family.silence(),
            Thinking::Budget(_) if calls_came_unsigned(request) => Thinking::Unsaid,
            Thinking::Budget(tokens) => within(tokens, limit),
            other => other,
        };
        Self { max_tokens: limit, thinking, effort }
    }

    fn thinks(&self) -> bool {
        matches!(self.thinking, Thinking::Adaptive | Thinking::Budget(_))
    }
}

/// What the settings ask of this family, before anything forbids it.
fn wanted(family: Family, reasoning: Option<Reasoning>) -> (Thinking, Option<&'static str>) {
    let Some(reasoning) = reasoning else { return (Thinking::Unsaid, None) };
    match (family.thinking, reasoning) {
        (ThinkingForm::No, _) => (Thinking::Unsaid, None),
        // The least that a model can be asked for which cannot stop.
        (ThinkingForm::AdaptiveAlways, Reasoning::Off) => (Thinking::Unsaid, family.effort_word(Effort::Minimal)),
        (_, Reasoning::Off) => (family.silence(), None),
        (ThinkingForm::Budget | ThinkingForm::BudgetOrAdaptive, Reasoning::Budget(tokens)) => {
            (Thinking::Budget(tokens), None)
        }
        (ThinkingForm::Budget, Reasoning::Effort(effort)) => {
            (Thinking::Budget(effort.tokens()), family.effort_word(effort))
        }
        (_, Reasoning::Budget(tokens)) => (Thinking::Adaptive, family.effort_word(effort_of(tokens))),
        (_, Reasoning::Effort(effort)) => (Thinking::Adaptive, family.effort_word(effort)),
    }
}

/// A budget must leave room under the limit of the whole answer, and has a least size. A quarter of the limit is kept
/// for the answer where the two collide.
fn within(tokens: u32, limit: u32) -> Thinking {
    let tokens = if tokens < limit { tokens } else { limit - limit / 4 };
    let tokens = tokens.max(MIN_BUDGET_TOKENS);
    if tokens < limit { Thinking::Budget(tokens) } else { Thinking::Unsaid }
}

fn effort_of(budget_tokens: u32) -> Effort {
    match budget_tokens {
        0..=2_048 => Effort::Low,
        2_049..=8_192 => Effort::Medium,
        _ => Effort::High,
    }
}

/// The API refuses to think when it is told which tool to call.
fn forces_a_tool(request: &ChatRequest, settings: &Settings) -> bool {
    !request.tools.is_empty() && matches!(settings.tool_choice, ToolChoice::Required | ToolChoice::Named(_))
}

/// With a budget, the API wants the calls in progress to begin with the thinking that led to them. Another provider's
/// calls have none. The model thinks once in a turn, before its first call, so that later calls come without.
fn calls_came_unsigned(request: &ChatRequest) -> bool {
    let messages: Vec<&Message> = request.transcript.visible().collect();
    if messages.last().is_none_or(|last| last.role() != Role::Tool) {
        return false;
    }
    let mut turn = messages.iter().rev().take_while(|message| message.role() != Role::User);
    !turn.any(|message| {
        let first = message.parts().first();
        matches!(first, Some(Part::Thinking(thinking)) if thinking.data.as_ref().is_some_and(blocks::is_own))
    })
}

fn write_plan(body: &mut Body<'_>, plan: Plan, output: Option<&OutputSchema>) {
    let thinking = match plan.thinking {
        Thinking::Unsaid => None,
        Thinking::Disabled => Some(json!({ "type": "disabled" })),
        Thinking::Adaptive => Some(json!({ "type": "adaptive" })),
        Thinking::Budget(tokens) => Some(json!({ "budget_tokens": tokens, "type": "enabled" })),
    };
    body.optional("thinking", thinking.as_ref());
    if plan.effort.is_none() && output.is_none() {
        return;
    }
    body.field("output_config", |out| {
        out.push(b'{');
        if let Some(effort) = plan.effort {
            out.extend_from_slice(b"\"effort\":");
            json::string(out, effort);
        }
        if let Some(output) = output {
            out.extend_from_slice(if plan.effort.is_some() { b",\"format\":" } else { b"\"format\":" });
            out.extend_from_slice(b"{\"type\":\"json_schema\",\"schema\":");
            out.extend_from_slice(output.schema.get().as_bytes());
            out.push(b'}');
        }
        out.push(b'}');
    });
}

/// The API refuses a temperature beside thinking, and takes `top_p` there only from 0.95 on.
fn write_sampling(body: &mut Body<'_>, plan: Plan, family: Family, settings: &Settings) {
    let allowed = family.sampling != Sampling::Neither;
    let temperature = settings.temperature.filter(|_| allowed && !plan.thinks()).map(|value| value.clamp(0.0, 1.0));
    let alone = family.sampling == Sampling::Both || temperature.is_none();
    let top_p = settings.top_p.filter(|value| allowed && alone && (!plan.thinks() || *value >= 0.95));
    body.optional("temperature", temperature.as_ref());
    body.optional("top_p", top_p.as_ref());
}

/// Writes the tools, followed by those in `extra` (the provider's own, such as web search).
fn write_tools(body: &mut Body<'_>, family: Family, request: &ChatRequest, settings: &Settings) {
    let more = settings.extra.get("tools").map(|tools| json::inside(tools.get())).unwrap_or_default();
    if request.tools.is_empty() && more.is_empty() {
        return;
    }
    body.fixed("tools", |out| {
        out.push(b'[');
        if !request.tools.is_empty() {
            let dialect = Dialect { name: DIALECT, variant: u64::from(family.schemas) };
            let Ok(()) = request.tools.write_encoded(dialect, out, |specs, out| {
                write_specs(out, specs, family.schemas);
                Ok::<_, Infallible>(())
            });
            mark_block_before(out, out.len(), cache_mark(settings));
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
    body.optional("tool_choice", Some(&choice));
}

fn write_specs(out: &mut Vec<u8>, specs: &[ToolSpec], schemas: bool) {
    for (position, spec) in specs.iter().enumerate() {
        out.extend_from_slice(if position == 0 { b"{\"name\":" } else { b",{\"name\":" });
        json::string(out, &spec.name);
        if !spec.description.is_empty() {
            out.extend_from_slice(b",\"description\":");
            json::string(out, &spec.description);
        }
        out.extend_from_slice(b",\"input_schema\":");
        out.extend_from_slice(spec.input_schema.get().as_bytes());
        if spec.strict && schemas {
            out.extend_from_slice(b",\"strict\":true");
        }
        out.push(b'}');
    }
}

fn write_system(body: &mut Body<'_>, family: Family, request: &ChatRequest, settings: &Settings) {
    let mut system = Vec::new();
    if let Some(instructions) = &request.instructions {
        write_message(&mut system, instructions, family);
    }
    // Instructions in a provider's own form may have a mark already, and two would be refused.
    let mut plain = request.instructions.as_ref().is_none_or(blocks::is_markable);
    if let Some(output) = settings.output.as_ref().filter(|output| !family.enforces(output)) {
        let schema = output.schema.get();
        let wish = "Answer with one JSON document and nothing else. It must match this JSON Schema:";
        blocks::separate(&mut system, 0);
        blocks::write_text(&mut system, &format!("{wish}\n{schema}"));
        plain = true;
    }
    if system.is_empty() {
        return;
    }
    let mark = cache_mark(settings).filter(|_| plain);
    body.field("system", |out| {
        out.push(b'[');
        out.extend_from_slice(&system);
        mark_block_before(out, out.len(), mark);
        out.push(b']');
    });
}

/// Writes the conversation. Neighbours of the same role become one message, as the API wants roles to alternate and
/// the results of all calls in one place.
fn write_messages(out: &mut Vec<u8>, family: Family, request: &ChatRequest, settings: &Settings) {
    let mut open = None;
    let mut ends: Vec<usize> = Vec::new();
    let mut ends_before_turn = 0;
    out.push(b'[');
    for message in request.transcript.visible() {
        let role = if message.role() == Role::Assistant { "assistant" } else { "user" };
        let before = out.len();
        if open == Some(role) {
            out.push(b',');
        } else {
            out.extend_from_slice(if open.is_some() { b"]},{\"role\":\"" } else { b"{\"role\":\"" });
            out.extend_from_slice(role.as_bytes());
            out.extend_from_slice(b"\",\"content\":[");
        }
        let start = out.len();
        write_message(out, message, family);
        if out.len() == start {
            out.truncate(before);
            continue;
        }
        if open.replace(role) != Some(role) {
            ends_before_turn = ends.len();
        }
        if role == "user" && blocks::is_markable(message) {
            ends.truncate(ends_before_turn);
            ends.push(out.len());
        }
    }
    out.extend_from_slice(if open.is_some() { b"]}]" } else { b"]" });
    // The mark before the last is where the turn before ended: the cache looks back only 20 blocks from a mark, and a
    // turn with many parallel tools has more.
    let mark = cache_mark(settings).filter(|_| !settings.extra.contains_key("cache_control"));
    for end in ends.into_iter().rev().take(2) {
        mark_block_before(out, end, mark);
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

/// Puts a mark into the block that ends at `end`.
fn mark_block_before(out: &mut Vec<u8>, end: usize, mark: Option<&str>) {
    if let Some(mark) = mark {
        let brace = end.saturating_sub(1);
        out.splice(brace..brace, mark.bytes());
    }
}

/// Appends the content blocks of a message, separated by commas, from its kept bytes if it has some.
fn write_message(out: &mut Vec<u8>, message: &Message, family: Family) {
    let thinks = family.thinking != ThinkingForm::No;
    let dialect = Dialect { name: DIALECT, variant: u64::from(thinks) };
    let Ok(()) = message.write_encoded(dialect, out, |message, out| {
        blocks::write(out, message.parts(), thinks);
        Ok::<_, Infallible>(())
    });
}

#[cfg(test)]
mod tests;
