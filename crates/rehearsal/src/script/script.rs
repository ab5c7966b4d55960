//! Scripts: rules that determine the answers.

use serde::{Deserialize, Serialize};

use crate::protocol::dialect::WireDialect;
use crate::script::answer::ScriptedAnswer;
use crate::script::error::PlanError;

/// A list of rules. The first rule that matches a request determines the answer.
///
/// A script is stateless: the answer depends on the request alone. So a retry gets the same answer, and calls may come in
/// any order. If no rule matches, the simulator repeats the last user message.
///
/// # Examples
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
#[non_exhaustive]
pub struct Script {
    /// How to recognize the calling agent, for clients that do not send the `x-brigade-agent` header.
    #[serde(rename = "agent")]
    pub agents: Vec<AgentMatcher>,
    /// The rules, in the order in which they are tried.
    #[serde(rename = "rule")]
    pub rules: Vec<Rule>,
}

/// Recognizes an agent by its requests. All conditions that are set must hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct AgentMatcher {
    /// The agent's name, for `when.agent` of rules and `match.agent` of faults.
    pub name: String,
    /// A text in the system prompt.
    pub system_contains: Option<String>,
    /// The name of a tool that the request offers.
    pub tool_offered: Option<String>,
}

impl AgentMatcher {
    /// Recognizes the agent by a text in the system prompt.
    pub fn by_system(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), system_contains: Some(text.into()), tool_offered: None }
    }

    /// Recognizes the agent by a tool that the request offers.
    pub fn by_tool(name: impl Into<String>, tool: impl Into<String>) -> Self {
        Self { name: name.into(), system_contains: None, tool_offered: Some(tool.into()) }
    }
}

/// One rule: an answer, and the requests that get it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Rule {
    /// The requests that the rule matches.
    pub when: RequestMatcher,
    /// Their answer.
    pub answer: ScriptedAnswer,
}

/// Conditions on a request. Conditions that are not set always hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RequestMatcher {
    /// The calling agent, known by header or by [`AgentMatcher`].
    pub agent: Option<String>,
    /// The requested model.
    pub model: Option<String>,
    /// The protocol.
    pub dialect: Option<WireDialect>,
    /// The number of assistant turns in the history.
    pub turn: Option<usize>,
    /// A text in the last user message.
    pub last_user_contains: Option<String>,
    /// A text in the system prompt.
    pub system_contains: Option<String>,
    /// Whether the request lets the model call tools.
    pub tools: Option<bool>,
    /// The name of a tool that the request offers.
    pub tool_offered: Option<String>,
}

impl RequestMatcher {
    /// Sets the calling agent.
    #[must_use]
    pub fn agent(mut self, name: impl Into<String>) -> Self {
        self.agent = Some(name.into());
        self
    }

    /// Sets the number of assistant turns in the history.
    #[must_use]
    pub fn turn(mut self, turn: impl Into<Option<usize>>) -> Self {
        self.turn = turn.into();
        self
    }

    /// Sets whether the request lets the model call tools.
    #[must_use]
    pub fn tools(mut self, offered: bool) -> Self {
        self.tools = Some(offered);
        self
    }
}

impl Script {
    /// Parses a script from TOML.
    ///
    /// # Errors
    /// If the text is not a valid script. The source of the error names line and column.
    pub fn from_toml(text: &str) -> Result<Self, PlanError> {
        Ok(toml::from_str(text)?)
    }

    /// A script that gives the same answer to every request.
    pub fn always(answer: ScriptedAnswer) -> Self {
        Self::default().rule(RequestMatcher::default(), answer)
    }

    /// Adds a rule at the end.
    #[must_use]
    pub fn rule(mut self, when: RequestMatcher, answer: ScriptedAnswer) -> Self {
        self.rules.push(Rule { when, answer });
        self
    }

    /// Adds a way to recognize an agent.
    #[must_use]
    pub fn agent(mut self, matcher: AgentMatcher) -> Self {
        self.agents.push(matcher);
        self
    }
}
