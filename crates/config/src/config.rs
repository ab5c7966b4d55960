//! The configuration: one TOML file, overridden by environment variables, overridden by the command line.
//!
//! It is checked completely when it is read: unknown keys, references between sections, and secrets. Each problem is
//! reported with its location and, for a typo, with a suggestion.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

pub(crate) mod agent;
mod budget;
pub(crate) mod keys;
pub(crate) mod lint;
pub(crate) mod load;
mod model;
pub(crate) mod problem;
mod provider;
pub(crate) mod recall;
mod reference;
mod references;
mod secrets;
mod server;
mod short_forms;
mod sources;
mod tool;
mod units;
pub(crate) mod worst_case;

pub(crate) use agent::{AgentConfig, CallerInstructions, FailurePolicy, OnExhaustedConfig, WorkerConfig};
pub(crate) use budget::BudgetConfig;
pub(crate) use keys::{KeyConfig, KeyHash, KeyScope, LOCAL_CALLER, key_name_problem};
pub(crate) use load::{ConfigValue, LoadedConfig};
pub(crate) use model::{ModelConfig, UnpricedConfig};
pub(crate) use problem::{ConfigError, Problem};
pub(crate) use provider::{ProviderConfig, ProviderKind};
pub(crate) use recall::{AgentRecallConfig, EmbeddingConfig, NoteOwner, NoteTool, RecallConfig, Retention};
pub(crate) use reference::{SecretOrText, SecretSource, TextSource};
pub(crate) use references::ANY_ORIGIN_WITHOUT_KEYS;
pub(crate) use server::{LogConfig, ServerConfig};
pub(crate) use tool::{CommandConfig, HttpConfig, HttpMethod, ToolConfig, ToolKind};

/// The root of `brigade.toml`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "brigade.toml")]
pub(crate) struct Config {
    /// How the server listens and what it limits.
    pub(crate) server: ServerConfig,
    /// Logging.
    pub(crate) log: LogConfig,
    /// What all runs of this process may spend together.
    pub(crate) budget: BudgetConfig,
    /// A SQLite file for sessions, run history, notes and spending. It is created if it does not exist. Without a store
    /// all of this is lost at a restart.
    pub(crate) store: Option<PathBuf>,
    /// How long the store keeps data.
    pub(crate) retention: Retention,
    /// Long-term memory.
    pub(crate) recall: RecallConfig,
    /// A TOML file of prices that override the bundled ones.
    pub(crate) prices: Option<PathBuf>,
    /// Accounts at model providers, by a name of your choice.
    pub(crate) providers: BTreeMap<String, ProviderConfig>,
    /// Models of these accounts, by a name of your choice.
    pub(crate) models: BTreeMap<String, ModelConfig>,
    /// Tools for agents, by the name that models see.
    pub(crate) tools: BTreeMap<String, ToolConfig>,
    /// Agents, by the name that clients use as the model.
    pub(crate) agents: BTreeMap<String, AgentConfig>,
    /// API keys of clients, by a name of your choice. Without keys, only this machine may send requests.
    pub(crate) keys: BTreeMap<String, KeyConfig>,
}

/// What [`is_plain_name`] allows.
pub(crate) const NAME_RULE: &str = "1 to 64 of A-Z, a-z, 0-9, _, - and .";

/// Whether a name can be part of paths, ids, metric labels and log lines.
pub(crate) fn is_plain_name(name: &str) -> bool {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-' | '.');
    (1..=64).contains(&name.len()) && name.chars().all(is_plain)
}

/// A reference to another section, with its location in the file.
pub(crate) type Name = toml::Spanned<String>;

#[cfg(test)]
mod tests;
