//! Scripted answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a model answers, and how long that takes.
///
/// Texts and arguments may contain the placeholders `{{last_user}}`, `{{tool_results}}`, `{{turn}}`, `{{model}}` and
/// `{{agent}}`. In arguments their values are escaped for JSON. A rule with tool calls does not match a request that
/// offers no tools, because a model only calls tools that it was offered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ScriptedAnswer {
    /// The thinking before the answer. Each dialect shows it as its vendor does. It is always billed.
    pub thinking: String,
    /// The text of the answer; may be empty if it calls tools.
    pub text: String,
    /// The tool calls, all in one turn.
    pub tool_calls: Vec<ScriptedToolCall>,
    /// The text of a refusal, in place of `text`.
    pub refusal: String,
    /// Why the model stops. By default `tool_calls` if there are any, else `stop`.
    pub stop: Option<ScriptedFinish>,
    /// The model that the reply names. By default the requested one. Vendors name the dated model behind an alias.
    pub model: Option<String>,
    /// Token counts that replace the estimated ones.
    pub usage: TokenCounts,
    /// How long the answer takes. By default the latency of the simulator.
    pub latency: Option<Latency>,
}

impl ScriptedAnswer {
    /// An answer with only a text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// An answer that calls tools.
    pub fn calls(calls: impl IntoIterator<Item = ScriptedToolCall>) -> Self {
        Self { tool_calls: calls.into_iter().collect(), ..Self::default() }
    }

    /// Sets the thinking.
    #[must_use]
    pub fn thinking(mut self, thinking: impl Into<String>) -> Self {
        self.thinking = thinking.into();
        self
    }

    /// Sets the input and output tokens.
    #[must_use]
    pub fn usage(mut self, input: u64, output: u64) -> Self {
        self.usage.input = Some(input);
        self.usage.output = Some(output);
        self
    }

    /// Sets the time to the first delta and between two deltas.
    #[must_use]
    pub fn latency(mut self, first: Duration, between: Duration) -> Self {
        self.latency = Some(Latency::new(first, between));
        self
    }
}

/// One tool call of an answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ScriptedToolCall {
    /// The tool's name. May contain placeholders.
    pub name: String,
    /// The arguments as the model writes them; they may be invalid JSON.
    #[serde(default)]
    pub arguments: String,
}

impl ScriptedToolCall {
    /// A call with arguments that display as JSON, such as `serde_json::json!`.
    pub fn new(name: impl Into<String>, arguments: impl std::fmt::Display) -> Self {
        Self { name: name.into(), arguments: arguments.to_string() }
    }
}

/// Why a model stops. Each vendor has its own words for these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ScriptedFinish {
    /// The answer is complete.
    Stop,
    /// The model calls tools.
    ToolCalls,
    /// The token limit was reached.
    Length,
    /// A content filter cut the answer off.
    ContentFilter,
    /// The model refuses (Anthropic's `refusal`; `OpenAI` reports `stop`).
    Refusal,
}

/// Token counts that replace the estimated ones where they are set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TokenCounts {
    /// Input tokens, including cached ones.
    pub input: Option<u64>,
    /// Input tokens that were read from a cache.
    pub cached: Option<u64>,
    /// Input tokens that were written to a cache.
    pub cache_write: Option<u64>,
    /// Output tokens, including reasoning.
    pub output: Option<u64>,
    /// Output tokens that were reasoning.
    pub reasoning: Option<u64>,
}

/// How long an answer takes. An answer that is not streamed takes as long as its stream would.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Latency {
    /// The time from the request to the first delta.
    #[serde(with = "humantime_serde")]
    pub first: Duration,
    /// The time between two deltas.
    #[serde(with = "humantime_serde")]
    pub between: Duration,
}

impl Latency {
    /// The times from the request to the first delta, and between two deltas.
    pub const fn new(first: Duration, between: Duration) -> Self {
        Self { first, between }
    }
}
