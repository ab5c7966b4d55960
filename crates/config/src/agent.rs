//! `[agents.NAME]` sections.

use std::{path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{AgentRecallConfig, ApproveConfig, BudgetConfig, Name, TextSource, units};

/// An agent. An agent with workers is a supervisor.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct AgentConfig {
    /// The name of a model in `models`.
    #[schemars(with = "String")]
    pub model: Name,
    /// What the agent is for, in one sentence. Clients and supervisors see it.
    #[serde(default)]
    pub purpose: String,
    /// The system prompt.
    pub instructions: Option<TextSource>,
    /// What to do with system or developer messages of a client.
    #[serde(default)]
    pub caller_instructions: CallerInstructions,
    /// Whether clients may bring tools along in their requests, which they run themselves. By default "accept" for an agent
    /// without tools, notes and workers, which is a model with a budget, and "refuse" for the others, whose tools are few on
    /// purpose.
    pub client_tools: Option<ClientToolsConfig>,
    /// Names of tools in `tools` that the agent may call, and of tools of MCP servers as `server__tool`, where a `*` stands for
    /// any text: `github__get_*`. Models choose better among few tools.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub tools: Vec<Name>,
    /// Long-term memory: notes that the agent writes and finds again in later conversations. `{}` gives it all tools for
    /// notes. Needs a `store`.
    pub recall: Option<AgentRecallConfig>,
    /// Agents that this agent may delegate tasks to. A name alone stands for a worker with default settings.
    #[serde(default)]
    #[schemars(with = "Vec<WorkerEntry>")]
    pub workers: Vec<WorkerConfig>,
    /// The number of tools and workers that run at the same time. 8 by default.
    #[serde(default, deserialize_with = "units::some_positive")]
    pub parallel: Option<usize>,
    /// What happens to running workers when another worker has used up a budget that they share.
    #[serde(default)]
    pub when_spent: OnExhaustedConfig,
    /// The maximum number of model turns in one run. 25 by default.
    #[serde(default, deserialize_with = "units::some_positive")]
    pub turns: Option<u32>,
    /// The maximum number of tokens in one answer, including reasoning. Overrides the model's.
    #[serde(default, deserialize_with = "units::some_positive")]
    pub max_output_tokens: Option<u32>,
    /// Randomness from 0 to 2 (Anthropic: 0 to 1). Overrides the model's.
    #[serde(default, deserialize_with = "units::some_temperature")]
    pub temperature: Option<f32>,
    /// A file with the JSON Schema that answers must match.
    pub output_schema: Option<PathBuf>,
    /// The maximum number of tokens of the conversation that is sent to the model; older messages are left out.
    #[serde(default, deserialize_with = "units::some_positive")]
    pub context_tokens: Option<u64>,
    /// What one run may spend, including its workers.
    #[serde(default)]
    pub budget: BudgetConfig,
    /// Whether clients may call the agent. True by default; set it to false for agents that only work for a supervisor.
    #[serde(default = "yes")]
    pub exposed: bool,
}

/// What happens to running workers when a shared budget is used up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnExhaustedConfig {
    /// Running work may finish.
    #[default]
    Finish,
    /// Running work is cancelled at once.
    Cancel,
}

/// What to do with system or developer messages of a client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CallerInstructions {
    /// Appends them to the agent's own instructions.
    #[default]
    Append,
    /// Refuses the request.
    Refuse,
}

/// Whether clients may bring tools along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientToolsConfig {
    /// Refuses requests with tools.
    Refuse,
    /// The model may call them, and the client runs them.
    Accept,
}

impl AgentConfig {
    /// Whether clients may bring tools along.
    pub fn accepts_client_tools(&self) -> bool {
        match self.client_tools {
            Some(ClientToolsConfig::Accept) => true,
            Some(ClientToolsConfig::Refuse) => false,
            None => self.tools.is_empty() && self.workers.is_empty() && self.recall.is_none(),
        }
    }
}

/// A worker, or its name.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum WorkerEntry {
    Name(String),
    Worker(WorkerConfig),
}

/// An agent that a supervisor may delegate tasks to.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct WorkerConfig {
    /// The name of an agent in `agents`.
    #[schemars(with = "String")]
    pub agent: Name,
    /// The maximum duration of one task, such as "30s". Two minutes by default.
    #[serde(default, deserialize_with = "units::some_duration")]
    #[schemars(with = "Option<String>")]
    pub timeout: Option<Duration>,
    /// What the supervisor sees if the worker fails.
    #[serde(default)]
    pub on_failure: FailurePolicy,
    /// The maximum number of tasks in one run.
    #[serde(default, deserialize_with = "units::some_positive")]
    pub max_calls: Option<u32>,
    /// What one task may spend. The agent's own budget by default.
    pub budget: Option<BudgetConfig>,
    /// Which tasks wait until a person approves them, as for a tool. The argument is `task`. "never" by default.
    #[serde(default)]
    pub approve: ApproveConfig,
}

/// What a supervisor sees if a worker fails.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailurePolicy {
    /// The supervisor sees the error and goes on.
    #[default]
    Isolate,
    /// The whole run fails.
    Required,
    /// The supervisor sees this text instead of an answer: `{ fallback = "No research available." }`.
    Fallback(String),
}

const fn yes() -> bool {
    true
}
