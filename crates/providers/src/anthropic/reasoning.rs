//! Translates reasoning settings into what a model family accepts.

use std::borrow::Cow;

use brigade_core::{ChatRequest, Effort, Message, Part, Reasoning, Role, Settings, ToolChoice};

use super::{
    blocks,
    model_family::{DEFAULT_ANSWER_TOKENS, ModelFamily, ThinkingForm},
};
use crate::protocol::{maker::Maker, protocol::ModelRequest};

/// The smallest thinking budget that the API accepts.
const MIN_BUDGET_TOKENS: u32 = 1_024;

/// The value of `thinking`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ThinkingMode {
    /// The field is not sent.
    Unset,
    Disabled,
    Adaptive,
    Budget(u32),
}

/// The limits of an answer: its tokens and its reasoning.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReasoningPlan {
    pub(super) max_tokens: u32,
    pub(super) thinking: ThinkingMode,
    pub(super) effort: Option<&'static str>,
}

impl ReasoningPlan {
    pub(super) fn new(family: ModelFamily, request: &ModelRequest<'_>) -> Self {
        let ModelRequest { chat, settings, maker, .. } = *request;
        let limit = settings.output_limit().unwrap_or(DEFAULT_ANSWER_TOKENS).clamp(1, family.max_output_tokens);
        let (thinking, effort) = requested(family, settings.reasoning);
        let thinking = match thinking {
            ThinkingMode::Disabled => ThinkingMode::Disabled,
            _ if forces_a_tool(chat, settings) => disabled(family),
            ThinkingMode::Budget(_) if calls_lack_signed_thinking(chat, maker) => ThinkingMode::Unset,
            ThinkingMode::Budget(tokens) => limited(tokens, limit),
            other => other,
        };
        Self { max_tokens: limit, thinking, effort }
    }

    pub(super) fn thinks(&self) -> bool {
        matches!(self.thinking, ThinkingMode::Adaptive | ThinkingMode::Budget(_))
    }
}

/// The thinking mode and effort that the settings request, before the API's other rules apply.
fn requested(family: ModelFamily, reasoning: Option<Reasoning>) -> (ThinkingMode, Option<&'static str>) {
    let Some(reasoning) = reasoning else { return (ThinkingMode::Unset, None) };
    match (family.thinking, reasoning) {
        (ThinkingForm::No, _) => (ThinkingMode::Unset, None),
        // This model cannot stop reasoning; the lowest effort comes closest.
        (ThinkingForm::AdaptiveAlways, Reasoning::Off) => (ThinkingMode::Unset, family.effort_name(Effort::Minimal)),
        (_, Reasoning::Off) => (disabled(family), None),
        (ThinkingForm::Budget | ThinkingForm::BudgetOrAdaptive, Reasoning::Budget(tokens)) => {
            (ThinkingMode::Budget(tokens), None)
        }
        (ThinkingForm::Budget, Reasoning::Effort(effort)) => {
            (ThinkingMode::Budget(effort.tokens()), family.effort_name(effort))
        }
        (_, Reasoning::Budget(tokens)) => (ThinkingMode::Adaptive, family.effort_name(effort_of(tokens))),
        (_, Reasoning::Effort(effort)) => (ThinkingMode::Adaptive, family.effort_name(effort)),
    }
}

/// A budget must be smaller than the limit of the whole answer, and has a minimum. A budget at or above the limit is
/// cut to three quarters of it.
fn limited(tokens: u32, limit: u32) -> ThinkingMode {
    let tokens = if tokens < limit { tokens } else { limit - limit / 4 };
    let tokens = tokens.max(MIN_BUDGET_TOKENS);
    if tokens < limit { ThinkingMode::Budget(tokens) } else { ThinkingMode::Unset }
}

fn effort_of(budget_tokens: u32) -> Effort {
    match budget_tokens {
        0..=2_048 => Effort::Low,
        2_049..=8_192 => Effort::Medium,
        _ => Effort::High,
    }
}

/// Whether the request forces a tool call, which the API does not allow together with thinking.
fn forces_a_tool(request: &ChatRequest, settings: &Settings) -> bool {
    !request.tools.is_empty() && matches!(settings.tool_choice, ToolChoice::Required | ToolChoice::Named(_))
}

/// Whether a tool call in progress came without signed thinking, as another provider's do. With a thinking budget the API
/// refuses such calls. The model thinks once in a turn, before its first call, so its later calls have no thinking either.
fn calls_lack_signed_thinking(request: &ChatRequest, maker: Maker) -> bool {
    let messages: Vec<&Message> = request.transcript.visible().collect();
    if messages.last().is_none_or(|last| last.role() != Role::Tool) {
        return false;
    }
    let turn = messages.iter().rev().take_while(|message| message.role() != Role::User);
    let calls: Vec<&Message> = turn.copied().filter(|message| message.role() == Role::Assistant).collect();
    let is_signed = |message: &Message| {
        let Some(Part::Thinking(thinking)) = message.parts().first() else { return false };
        thinking.data.as_ref().is_some_and(|data| blocks::is_anthropic(data) && !maker.is_foreign(data))
    };
    let Some(signed) = calls.iter().find(|message| is_signed(message)) else { return true };
    let is_of_another = |message: &Message| {
        let forms = form_of_ids(message).zip(form_of_ids(signed));
        matches!(maker.readable(message), Cow::Owned(_)) || forms.is_some_and(|(one, other)| one != other)
    };
    calls.iter().any(|message| !is_signed(message) && is_of_another(message))
}

/// How the ids of the calls of a message begin, such as `toolu` or `call`. Each provider has its own form.
fn form_of_ids(message: &Message) -> Option<&str> {
    message.tool_calls().next().and_then(|call| Some(call.id.split_once('_')?.0))
}

/// The mode that keeps the model from thinking, if the family has one.
fn disabled(family: ModelFamily) -> ThinkingMode {
    if family.thinking == ThinkingForm::AdaptiveByDefault { ThinkingMode::Disabled } else { ThinkingMode::Unset }
}
