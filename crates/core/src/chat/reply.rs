//! Replies of models.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Charge, Message, ModelId, Usage};

/// A complete reply of a model. Its JSON form has no rate limits.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChatReply {
    /// The model's message.
    pub message: Message,
    /// The tokens used; absent if the provider did not report them.
    pub usage: Option<Usage>,
    /// Why the model stopped.
    pub finish_reason: FinishReason,
    /// The reason in the provider's own term, if it gave one.
    pub raw_finish_reason: Option<String>,
    /// The model that answered, as the provider names it; empty if it did not say. It determines the price.
    pub model: String,
    /// The configured model that answered, if it is not the one that was asked: a fallback.
    pub answered_by: Option<ModelId>,
    /// The service tier that served the call, if the provider reported it.
    pub service_tier: Option<String>,
    /// The provider's id of the request, for support.
    pub request_id: Option<String>,
    /// The provider's id of the reply (OpenAI Responses: the value for `previous_response_id`).
    pub response_id: Option<String>,
    /// The rate limits that the response reported.
    #[serde(skip)]
    pub limits: RateLimits,
    /// The cost of the call; absent until [`Metered`](crate::Metered) sets it.
    pub charge: Option<Charge>,
}

/// Why a model stopped, in the same terms for every provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FinishReason {
    /// The answer is complete.
    EndTurn,
    /// The model calls tools.
    ToolCalls,
    /// The limit of output tokens was reached.
    MaxTokens,
    /// A stop sequence was generated.
    StopSequence,
    /// The model declined to answer.
    Refusal,
    /// A filter of the provider withheld the answer or a part of it.
    ContentFilter,
    /// The provider paused a long turn. Sending the message back continues it.
    Pause,
    /// Prompt and answer together filled the context window.
    ContextWindow,
    /// The provider gave no reason, or an unknown one.
    Unknown,
}

/// The rate limits of an account, as a response reported them. An unreported number is absent, never zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimits {
    /// The limit of requests.
    pub requests: RateLimitStatus,
    /// The limit of input and output tokens together.
    pub tokens: RateLimitStatus,
    /// The limit of input tokens, if they are counted separately.
    pub input_tokens: RateLimitStatus,
    /// The limit of output tokens, if they are counted separately.
    pub output_tokens: RateLimitStatus,
    /// How long the provider asks to wait before the next request. Only meaningful on a failure.
    pub retry_after: Option<Duration>,
}

/// The state of one rate limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimitStatus {
    /// The amount allowed per window.
    pub limit: Option<u64>,
    /// The amount left in this window.
    pub remaining: Option<u64>,
    /// The time until the full amount is available again.
    pub reset: Option<Duration>,
}

setters!(ChatReply {
    usage: Option<Usage>,
    finish_reason: FinishReason,
    raw_finish_reason: Option<String>,
    model: String,
    answered_by: Option<ModelId>,
    service_tier: Option<String>,
    request_id: Option<String>,
    response_id: Option<String>,
    limits: RateLimits,
});

setters!(RateLimits {
    requests: RateLimitStatus,
    tokens: RateLimitStatus,
    input_tokens: RateLimitStatus,
    output_tokens: RateLimitStatus,
    retry_after: Option<Duration>,
});

setters!(RateLimitStatus { limit: Option<u64>, remaining: Option<u64>, reset: Option<Duration> });

impl ChatReply {
    /// A reply with only a message. The finish reason is [`FinishReason::ToolCalls`] if the message calls
    /// tools, else [`FinishReason::EndTurn`].
    pub fn new(message: Message) -> Self {
        let calls = message.tool_calls().next().is_some();
        Self {
            message,
            usage: None,
            finish_reason: if calls { FinishReason::ToolCalls } else { FinishReason::EndTurn },
            raw_finish_reason: None,
            model: String::new(),
            answered_by: None,
            service_tier: None,
            request_id: None,
            response_id: None,
            limits: RateLimits::default(),
            charge: None,
        }
    }
}

impl RateLimits {
    /// Whether the response reported nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

names! { FinishReason:
    EndTurn => "end_turn", ToolCalls => "tool_calls", MaxTokens => "max_tokens", StopSequence => "stop_sequence",
    Refusal => "refusal", ContentFilter => "content_filter", Pause => "pause", ContextWindow => "context_window",
    Unknown => "unknown",
}
