//! What the simulator answers, as data.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::protocol::dialect::WireDialect;

/// A list of rules; the first that fits a request says what is answered.
///
/// The script has no memory: what is answered follows from the request alone, so a retry gets the
/// same answer and calls may come in any order. If no rule fits, the simulator repeats the last
/// user message.
///
/// ```
/// use brigade_rehearsal::Script;
///
/// let script = Script::from_toml(r#"
///     [[agent]]
///     name            = "researcher"
///     system_contains = "You are researcher"
///
///     [[rule]]
///     when   = { agent = "researcher", turn = 0 }
///     answer = { tool_calls = [{ name = "search", arguments = '{"query":"{{last_user}}"}' }] }
///
///     [[rule]]
///     when   = { agent = "researcher" }
///     answer = { text = "I found: {{tool_results}}", usage = { input = 800, output = 40 } }
/// "#)?;
/// assert_eq!(script.rules.len(), 2);
/// # Ok::<(), brigade_rehearsal::PlanError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// How to tell which agent asks, for clients that do not send the `x-brigade-agent` header.
    #[serde(rename = "agent")]
    pub agents: Vec<AgentMatcher>,
    /// The rules, in the order in which they are tried.
    #[serde(rename = "rule")]
    pub rules: Vec<Rule>,
}

/// How to recognise an agent by its request. All marks that are given must be there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentMatcher {
    /// The agent's name, as in `when.agent` and in a fault's `match.agent`.
    pub name: String,
    /// Text in the system prompt.
    pub system_contains: Option<String>,
    /// The name of a tool that the request offers.
    pub tool_offered: Option<String>,
}

/// One rule: an answer and when to give it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// What the request must be like.
    pub when: RequestMatcher,
    /// What is answered.
    pub answer: ScriptedAnswer,
}

/// Conditions on a request. Those that are absent hold for every request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RequestMatcher {
    /// The agent that asks, by header or by [`AgentMatcher`].
    pub agent: Option<String>,
    /// The model asked for.
    pub model: Option<String>,
    /// The protocol spoken.
    pub dialect: Option<WireDialect>,
    /// How many assistant turns the history already holds.
    pub turn: Option<usize>,
    /// Text in the last user message.
    pub last_user_contains: Option<String>,
    /// Text in the system prompt.
    pub system_contains: Option<String>,
    /// Whether the request lets the model call tools.
    pub tools: Option<bool>,
    /// The name of a tool that the request offers.
    pub tool_offered: Option<String>,
}

/// What a model says and how long it takes.
///
/// Texts and arguments may hold `{{last_user}}`, `{{tool_results}}`, `{{turn}}`, `{{model}}` and
/// `{{agent}}`; inside arguments the values are escaped for JSON. A rule with tool calls does not
/// fit a request that offers no tools, because no model calls tools it was not offered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScriptedAnswer {
    /// What the model thinks first. Shown as each vendor shows it, and billed in any case.
    pub thinking: String,
    /// What it says.
    pub text: String,
    /// The tools it calls, all in one turn.
    pub tool_calls: Vec<ScriptedToolCall>,
    /// The text of a refusal, instead of `text`.
    pub refusal: String,
    /// Why it stops. By default `tool_calls` if there are any, else `stop`.
    pub stop: Option<FinishReason>,
    /// The model that claims to have answered. By default the one asked for; vendors tell the dated
    /// name behind an alias.
    pub model: Option<String>,
    /// Token counts that are to replace those of a usual tokenizer.
    pub usage: TokenCounts,
    /// How long the answer takes. By default what the simulator was built with.
    pub latency: Option<Latency>,
}

impl ScriptedAnswer {
    /// An answer of text only.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// An answer that calls tools.
    pub fn calls(calls: impl IntoIterator<Item = ScriptedToolCall>) -> Self {
        Self { tool_calls: calls.into_iter().collect(), ..Self::default() }
    }

    /// Adds a thought in front.
    #[must_use]
    pub fn thinking(mut self, thinking: impl Into<String>) -> Self {
        self.thinking = thinking.into();
        self
    }

    /// Fixes the input and output tokens.
    #[must_use]
    pub fn usage(mut self, input: u64, output: u64) -> Self {
        self.usage.input = Some(input);
        self.usage.output = Some(output);
        self
    }

    /// Fixes the latency.
    #[must_use]
    pub fn latency(mut self, first: Duration, between: Duration) -> Self {
        self.latency = Some(Latency { first, between });
        self
    }
}

/// One tool call of an answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedToolCall {
    /// The tool's name; may hold placeholders.
    pub name: String,
    /// The arguments as the model writes them: JSON, or what should have been JSON.
    #[serde(default)]
    pub arguments: String,
}

impl ScriptedToolCall {
    /// A call; `arguments` is anything that displays as JSON, such as `serde_json::json!`.
    pub fn new(name: impl Into<String>, arguments: impl std::fmt::Display) -> Self {
        Self { name: name.into(), arguments: arguments.to_string() }
    }
}

/// Why a model stops. Each vendor has its own words for these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// It had said all.
    Stop,
    /// It wants tools to be called.
    ToolCalls,
    /// It reached the token limit.
    Length,
    /// A filter cut it off.
    ContentFilter,
    /// It declines (Anthropic's `refusal`; `OpenAI` says `stop`).
    Refusal,
}

/// Token counts that override the estimate where they are given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenCounts {
    /// Tokens of the whole prompt, cached ones included.
    pub input: Option<u64>,
    /// Tokens of the prompt read from a cache.
    pub cached: Option<u64>,
    /// Tokens of the prompt written to a cache.
    pub cache_write: Option<u64>,
    /// Tokens of the answer, reasoning included.
    pub output: Option<u64>,
    /// Tokens of the answer that were reasoning.
    pub reasoning: Option<u64>,
}

/// How long an answer takes. An answer in one piece takes as long as its stream would.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Latency {
    /// From the request to the first delta.
    #[serde(with = "humantime_serde")]
    pub first: Duration,
    /// From one delta to the next.
    #[serde(with = "humantime_serde")]
    pub between: Duration,
}

impl Script {
    /// Reads a script from TOML.
    ///
    /// # Errors
    /// If the text is not TOML or not a script; the message names line and column.
    pub fn from_toml(text: &str) -> Result<Self, PlanError> {
        Ok(toml::from_str(text)?)
    }

    /// Adds a rule at the end.
    #[must_use]
    pub fn rule(mut self, when: RequestMatcher, answer: ScriptedAnswer) -> Self {
        self.rules.push(Rule { when, answer });
        self
    }

    /// Adds a way to recognise an agent.
    #[must_use]
    pub fn agent(mut self, mark: AgentMatcher) -> Self {
        self.agents.push(mark);
        self
    }

    /// A script that gives the same answer to every request.
    pub fn always(answer: ScriptedAnswer) -> Self {
        Self::default().rule(RequestMatcher::default(), answer)
    }
}

/// A script or a fault plan that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the plan; correct the text at the place shown below")]
pub struct PlanError(#[from] toml::de::Error);
