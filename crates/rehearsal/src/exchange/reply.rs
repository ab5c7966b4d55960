//! The reply to one call, ready to be written in a dialect.

use crate::exchange::event::{argument_pieces, words};
use crate::exchange::request::Request;
use crate::exchange::template::{fill_json, fill_text};
use crate::fault::kinds::ToolDeltas;
use crate::protocol::dialect::WireDialect;
use crate::protocol::ids::Ids;
use crate::protocol::tokens;
use crate::protocol::usage::{BilledUsage, ReportedUsage, UsagePlacement};
use crate::script::answer::{ScriptedAnswer, ScriptedFinish};

/// The creation time of every reply (2026-01-01), fixed so that replies are reproducible.
pub(crate) const CREATED: u64 = 1_767_225_600;

/// One complete reply.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) parts: Vec<Part>,
    pub(crate) finish: ScriptedFinish,
    /// What a vendor would bill.
    pub(crate) usage: BilledUsage,
    /// What the reply reports.
    pub(crate) reported: ReportedUsage,
    pub(crate) usage_placement: UsagePlacement,
    pub(crate) model: String,
    pub(crate) seed: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Thinking(String),
    Text(String),
    Refusal(String),
    Call(Call),
}

/// A tool call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) arguments: String,
}

impl Call {
    /// The arguments, with `{}` for empty ones.
    pub(crate) fn arguments_object(&self) -> &str {
        if self.arguments.is_empty() { "{}" } else { &self.arguments }
    }
}

/// How a reply is written where Chat Completions servers differ.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Style {
    /// Whether thinking is sent as `reasoning_content`, as `DeepSeek` and many compatible servers do.
    pub(crate) reasoning_content: bool,
    /// Unusual tool-call deltas, used by faults only.
    pub(crate) deltas: Option<ToolDeltas>,
}

impl Reply {
    /// The scripted answer for this request.
    pub(crate) fn new(answer: &ScriptedAnswer, request: &Request) -> Self {
        let mut ids = Ids::new(request.seed);
        let mut parts = Vec::new();
        let mut push = |text: &str, part: fn(String) -> Part| {
            if !text.is_empty() {
                parts.push(part(fill_text(text, request)));
            }
        };
        if request.dialect != WireDialect::Anthropic || request.thinking {
            push(&answer.thinking, Part::Thinking);
        }
        push(&answer.text, Part::Text);
        push(&answer.refusal, Part::Refusal);
        for call in &answer.tool_calls {
            parts.push(Part::Call(Call {
                id: call_id(request.dialect, &mut ids),
                name: fill_text(&call.name, request),
                arguments: fill_json(&call.arguments, request),
            }));
        }
        if request.thinking && request.dialect == WireDialect::Anthropic {
            insert_thinking_before_calls(&mut parts);
        }
        let default = if answer.tool_calls.is_empty() { ScriptedFinish::Stop } else { ScriptedFinish::ToolCalls };
        let usage = count(&parts, answer, request);
        Self {
            parts,
            finish: answer.stop.unwrap_or(default),
            usage,
            reported: usage.into(),
            usage_placement: UsagePlacement::Usual,
            model: answer.model.as_ref().unwrap_or(&request.model).clone(),
            seed: ids.next(),
        }
    }

    /// Repeats the last user message: the reply if no rule matches.
    pub(crate) fn echo(request: &Request) -> Self {
        let text = if request.last_user.is_empty() { "Understood." } else { "You said: {{last_user}}" };
        Self::new(&ScriptedAnswer::text(text), request)
    }

    pub(crate) fn calls_mut(&mut self) -> impl Iterator<Item = &mut Call> {
        self.parts.iter_mut().filter_map(|part| match part {
            Part::Call(call) => Some(call),
            Part::Thinking(_) | Part::Text(_) | Part::Refusal(_) => None,
        })
    }

    pub(crate) fn calls(&self) -> impl Iterator<Item = &Call> {
        self.parts.iter().filter_map(|part| match part {
            Part::Call(call) => Some(call),
            Part::Thinking(_) | Part::Text(_) | Part::Refusal(_) => None,
        })
    }

    /// The approximate number of deltas in a stream of this reply.
    pub(crate) fn delta_count(&self) -> usize {
        let count = |part: &Part| match part {
            Part::Thinking(text) | Part::Text(text) | Part::Refusal(text) => words(text).count(),
            Part::Call(call) => 1 + argument_pieces(&call.arguments).count(),
        };
        self.parts.iter().map(count).sum()
    }
}

/// An id in the form that the vendor gives to tool calls.
pub(crate) fn call_id(dialect: WireDialect, ids: &mut Ids) -> String {
    match dialect {
        WireDialect::Anthropic => ids.letters("toolu_01", 22),
        WireDialect::OpenaiChat | WireDialect::OpenaiResponses => ids.letters("call_", 24),
    }
}

/// The tokens of the reply; the script may override each count.
fn count(parts: &[Part], answer: &ScriptedAnswer, request: &Request) -> BilledUsage {
    let scripted = &answer.usage;
    let (mut visible, mut thinking) = (0, 0);
    for part in parts {
        match part {
            Part::Thinking(text) => thinking += (request.count_tokens)(text),
            Part::Text(text) | Part::Refusal(text) => visible += (request.count_tokens)(text),
            Part::Call(call) => visible += tokens::of_call(&call.name, &call.arguments, request.count_tokens),
        }
    }
    let reasoning = scripted.reasoning.unwrap_or(thinking);
    let cached = scripted.cached.unwrap_or(0);
    let cache_write = scripted.cache_write.unwrap_or(0);
    BilledUsage {
        input: scripted.input.unwrap_or(request.prompt_tokens).max(cached + cache_write),
        cached,
        cache_write,
        output: scripted.output.unwrap_or(visible + reasoning),
        reasoning,
    }
}

/// If thinking is enabled, Anthropic always sends a thinking block before tool calls; an empty one has only a signature.
fn insert_thinking_before_calls(parts: &mut Vec<Part>) {
    let has_calls = parts.iter().any(|part| matches!(part, Part::Call(_)));
    if has_calls && !matches!(parts.first(), Some(Part::Thinking(_))) {
        parts.insert(0, Part::Thinking(String::new()));
    }
}
