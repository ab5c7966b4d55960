//! The configuration: one TOML or YAML file, with the environment above it and the command line above both.
//!
//! Everything is checked when it is read, so that what starts also runs: unknown keys, names that lead nowhere, secrets
//! that are not there. Each problem says where it is and, if it looks like a slip, what was probably meant.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

mod agent;
mod budget;
mod keys;
pub(crate) mod lint;
mod load;
mod model;
mod problem;
mod provider;
mod recall;
mod reference;
mod references;
mod server;
mod sources;
mod tool;
mod units;
pub(crate) mod worst_case;
mod yaml;

pub(crate) use agent::{Agent, CallerInstructions, FailurePolicy, OnExhausted, Worker};
pub(crate) use budget::Budget;
pub(crate) use keys::{Key, KeyHash, Scope};
pub(crate) use load::{ConfigFile, Loaded, Written};
pub(crate) use model::{Model, Unpriced};
pub(crate) use problem::{ConfigError, Problem};
pub(crate) use provider::{Kind, Provider};
pub(crate) use recall::{AgentRecall, Embedding, NoteTool, NotesOf, Recall, Retention};
pub(crate) use reference::{Secret, Text};
pub(crate) use server::{Log, Server};
pub(crate) use tool::{Command, Http, Method, Tool, ToolKind};

/// What `brigade.toml` says.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "brigade.toml")]
pub(crate) struct Config {
    /// Where and how the server listens.
    pub(crate) server: Server,
    /// What is logged.
    pub(crate) log: Log,
    /// What all runs of this process may spend together.
    pub(crate) budget: Budget,
    /// A file that keeps sessions, the history of runs and what was spent over a restart; made if absent. Without one
    /// they are forgotten.
    pub(crate) store: Option<PathBuf>,
    /// For how long the store keeps what.
    pub(crate) retention: Retention,
    /// Long-term memory.
    pub(crate) recall: Recall,
    /// A file of prices that go before the bundled ones, in their form.
    pub(crate) prices: Option<PathBuf>,
    /// Accounts at model providers, by a name of your choice.
    pub(crate) providers: BTreeMap<String, Provider>,
    /// Models of these accounts, by a name of your choice.
    pub(crate) models: BTreeMap<String, Model>,
    /// Tools that agents may be given, by the name under which models ask for them.
    pub(crate) tools: BTreeMap<String, Tool>,
    /// Agents, by the name under which clients ask for them. One with workers is a supervisor.
    pub(crate) agents: BTreeMap<String, Agent>,
    /// Keys of those who may ask, by a name of your choice.
    pub(crate) keys: BTreeMap<String, Key>,
}

/// A name that leads to another section, and where it stands in the file.
pub(crate) type Name = toml::Spanned<String>;

#[cfg(test)]
mod tests;
