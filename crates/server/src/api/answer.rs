//! How a run ended, in the words of Chat Completions.

use axum::http::StatusCode;
use brigade_core::{Degradation, Money, Outcome, RunId, StopReason, Usage};
use serde::Serialize;

use super::ApiError;
use crate::runs::manager::End;

/// The outcome, or the error that a client gets instead. A limit that was met before there was any answer is one.
pub(crate) fn outcome(end: &End) -> Result<&Outcome, ApiError> {
    let outcome = match end {
        End::Outcome(outcome) => outcome,
        End::Failed(failed) => return Err(failed.error.clone()),
        End::Panicked => return Err(ApiError::internal("the run failed by a bug; the log says more")),
    };
    if !outcome.text.is_empty() {
        return Ok(outcome);
    }
    let failed = |status, code| Err(ApiError::new(status, code, outcome.notice.clone()));
    match outcome.stop {
        StopReason::Budget => failed(StatusCode::PAYMENT_REQUIRED, "budget_exhausted"),
        StopReason::Deadline => failed(StatusCode::GATEWAY_TIMEOUT, "deadline_exceeded"),
        StopReason::Cancelled => failed(StatusCode::SERVICE_UNAVAILABLE, "cancelled"),
        StopReason::Finished
        | StopReason::MaxTurns
        | StopReason::LoopDetected
        | StopReason::DelegationCycle
        | StopReason::UnknownToolLimit
        | StopReason::ToolArgumentsTruncated
        | StopReason::ToolArgumentsInvalid
        | StopReason::Refused
        | StopReason::Truncated
        | StopReason::Empty
        | StopReason::InvalidOutput => Ok(outcome),
    }
}

/// `OpenAI` knows four reasons; Brigade's own is told beside.
pub(crate) fn finish_reason(stop: StopReason) -> &'static str {
    match stop {
        StopReason::Finished => "stop",
        StopReason::Refused => "content_filter",
        StopReason::MaxTurns
        | StopReason::Budget
        | StopReason::Deadline
        | StopReason::Cancelled
        | StopReason::LoopDetected
        | StopReason::DelegationCycle
        | StopReason::UnknownToolLimit
        | StopReason::ToolArgumentsTruncated
        | StopReason::ToolArgumentsInvalid
        | StopReason::Truncated
        | StopReason::Empty
        | StopReason::InvalidOutput => "length",
    }
}

/// Tokens of the agent and its workers. What no provider reported is left out.
#[derive(Debug, Clone, Copy, Serialize)]
#[expect(clippy::struct_field_names, reason = "the names are `OpenAI`'s")]
pub(crate) struct Tokens {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens_details: Option<PromptTokens>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens_details: Option<CompletionTokens>,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct PromptTokens {
    cached_tokens: u64,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct CompletionTokens {
    reasoning_tokens: u64,
}

/// What `OpenAI`'s form has no place for.
#[derive(Debug, Serialize)]
pub(crate) struct Details<'a> {
    run_id: RunId,
    trace_id: String,
    stop: StopReason,
    #[serde(skip_serializing_if = "str::is_empty")]
    notice: &'a str,
    turns: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_usd: Option<Money>,
    degraded: Vec<Lost<'a>>,
}

/// A part that the answer had to do without.
#[derive(Debug, Serialize)]
pub(crate) struct Lost<'a> {
    part: &'a str,
    reason: &'a str,
}

impl From<&Usage> for Tokens {
    fn from(usage: &Usage) -> Self {
        let cached = usage.cache_read_tokens.map(|cached_tokens| PromptTokens { cached_tokens });
        let reasoning = usage.reasoning_tokens.map(|reasoning_tokens| CompletionTokens { reasoning_tokens });
        Self {
            prompt_tokens: usage.input_tokens,
            completion_tokens: usage.output_tokens,
            total_tokens: usage.total_tokens(),
            prompt_tokens_details: cached,
            completion_tokens_details: reasoning,
        }
    }
}

impl<'a> Details<'a> {
    pub(crate) fn of(run: RunId, outcome: &'a Outcome) -> Self {
        Self {
            run_id: run,
            trace_id: outcome.trace.to_string(),
            stop: outcome.stop,
            notice: &outcome.notice,
            turns: outcome.turns,
            cost_usd: outcome.cost.total.cost(),
            degraded: outcome.degraded.iter().map(Lost::from).collect(),
        }
    }
}

impl<'a> From<&'a Degradation> for Lost<'a> {
    fn from(degraded: &'a Degradation) -> Self {
        Self { part: &degraded.part, reason: &degraded.reason }
    }
}
