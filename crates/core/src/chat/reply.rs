//! One complete answer of a model.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Charge, Message, Usage};

/// One complete answer of a model.
#[derive(Debug, Clone)]
pub struct ChatReply {
    /// What it said.
    pub message: Message,
    /// Tokens used; absent if the provider did not tell.
    pub usage: Option<Usage>,
    /// Why it stopped.
    pub finish_reason: FinishReason,
    /// The provider's own name of the reason, if it gave one.
    pub raw_finish_reason: Option<String>,
    /// The model that really answered, as the provider names it. The price is this model's.
    pub model: String,
    /// The service tier that really served the call, where the provider tells.
    pub service_tier: Option<String>,
    /// The provider's id of this exchange, for support requests.
    pub request_id: Option<String>,
    /// The provider's id of the answer (OpenAI Responses: what `previous_response_id` may name).
    pub response_id: Option<String>,
    /// What the response said about rate limits.
    pub limits: RateLimits,
    /// What the call cost, once it was metered.
    pub charge: Option<Charge>,
}

/// Why a model stopped, in the same words for every provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// It had said everything.
    EndTurn,
    /// It wants tools to be run.
    ToolCalls,
    /// It reached the limit of output tokens.
    MaxTokens,
    /// It came to a stop sequence.
    StopSequence,
    /// It declined to answer.
    Refusal,
    /// A filter of the provider withheld the answer or a part of it.
    ContentFilter,
    /// The provider paused a long turn; sending the answer back continues it.
    Pause,
    /// Prompt and answer together filled the context window.
    ContextWindow,
    /// The provider gave no reason, or one that is not known here.
    Unknown,
}

/// What a response said about the account's rate limits. Absent is unknown, never zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// Requests.
    pub requests: RateLimitStatus,
    /// Input and output tokens together.
    pub tokens: RateLimitStatus,
    /// Input tokens, where they are counted apart.
    pub input_tokens: RateLimitStatus,
    /// Output tokens, where they are counted apart.
    pub output_tokens: RateLimitStatus,
    /// How long the provider asks to wait before the next request. Only meaningful on a failure.
    pub retry_after: Option<Duration>,
}

/// What is left of one rate limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateLimitStatus {
    /// The most that is allowed in a window.
    pub limit: Option<u64>,
    /// What is left of it.
    pub remaining: Option<u64>,
    /// When the limit is whole again, from now.
    pub reset: Option<Duration>,
}

impl ChatReply {
    /// An answer with nothing known about it but its content; the stop reason follows from whether tools are called.
    pub fn new(message: Message) -> Self {
        let calls = message.tool_calls().next().is_some();
        Self {
            message,
            usage: None,
            finish_reason: if calls { FinishReason::ToolCalls } else { FinishReason::EndTurn },
            raw_finish_reason: None,
            model: String::new(),
            service_tier: None,
            request_id: None,
            response_id: None,
            limits: RateLimits::default(),
            charge: None,
        }
    }
}

impl RateLimits {
    /// Whether the response said nothing at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl FinishReason {
    /// A stable name for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EndTurn => "end_turn",
            Self::ToolCalls => "tool_calls",
            Self::MaxTokens => "max_tokens",
            Self::StopSequence => "stop_sequence",
            Self::Refusal => "refusal",
            Self::ContentFilter => "content_filter",
            Self::Pause => "pause",
            Self::ContextWindow => "context_window",
            Self::Unknown => "unknown",
        }
    }
}
