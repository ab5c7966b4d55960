//! Agents, and the workers of supervisors.

use std::{path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{AgentRecall, Budget, Name, Text, units};

/// An agent; with workers, a supervisor.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Agent {
    /// Its model.
    #[schemars(with = "String")]
    pub(crate) model: Name,
    /// What it is for, in a sentence. Clients and supervisors are told.
    #[serde(default)]
    pub(crate) purpose: String,
    /// What it is told before everything else.
    pub(crate) instructions: Option<Text>,
    /// What happens with instructions that a client sends.
    #[serde(default)]
    pub(crate) caller_instructions: CallerInstructions,
    /// The tools that it may use; the fewer, the better it uses them.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub(crate) tools: Vec<Name>,
    /// Notes that it keeps and finds again in later conversations; `{}` gives it all tools for them. It needs a `store`.
    pub(crate) recall: Option<AgentRecall>,
    /// The agents that it may give tasks to.
    #[serde(default)]
    pub(crate) workers: Vec<Worker>,
    /// How many workers run at a time.
    #[serde(default, deserialize_with = "units::some_positive")]
    pub(crate) parallel: Option<usize>,
    /// What becomes of workers in flight when another one has met the end of a budget that they share.
    #[serde(default)]
    pub(crate) when_spent: OnExhausted,
    /// The most model turns of one run. 25 if absent.
    #[serde(default, deserialize_with = "units::some_positive")]
    pub(crate) turns: Option<u32>,
    /// The most tokens of one answer, reasoning included.
    #[serde(default, deserialize_with = "units::some_positive")]
    pub(crate) max_output_tokens: Option<u32>,
    /// Randomness, from 0 to 2 (Anthropic: to 1).
    pub(crate) temperature: Option<f32>,
    /// A file with the JSON Schema that its answers must match.
    pub(crate) output_schema: Option<PathBuf>,
    /// The most tokens of a conversation that it is shown.
    pub(crate) context_tokens: Option<u64>,
    /// What one run of it may spend, workers included.
    #[serde(default)]
    pub(crate) budget: Budget,
    /// Whether clients may ask for it. Workers need not be asked for by others than their supervisor.
    #[serde(default = "yes")]
    pub(crate) exposed: bool,
}

/// What becomes of work in flight when the budget that pays for it is used up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnExhausted {
    /// What has begun may end.
    #[default]
    Finish,
    /// It is cancelled at once.
    Cancel,
}

/// What happens with instructions that a client sends as a system or developer message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CallerInstructions {
    /// They follow the agent's own.
    #[default]
    Append,
    /// The request is refused.
    Refuse,
}

/// An agent that a supervisor may give tasks to.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Worker {
    /// Which agent.
    #[schemars(with = "String")]
    pub(crate) agent: Name,
    /// How long one task may take, such as "30s". Two minutes if absent.
    #[serde(default, deserialize_with = "units::some_time")]
    #[schemars(with = "Option<String>")]
    pub(crate) timeout: Option<Duration>,
    /// What the supervisor sees when it fails.
    #[serde(default)]
    pub(crate) on_failure: FailurePolicy,
    /// How often it may be called in one run.
    #[serde(default, deserialize_with = "units::some_positive")]
    pub(crate) max_calls: Option<u32>,
    /// What one task may spend; the agent's own budget if absent.
    pub(crate) budget: Option<Budget>,
}

/// What a supervisor sees of a worker that failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FailurePolicy {
    /// What went wrong.
    #[default]
    Isolate,
    /// Nothing: the whole run fails.
    Required,
    /// This text in place of an answer: `{ fallback = "No research available." }`.
    Fallback(String),
}

const fn yes() -> bool {
    true
}
