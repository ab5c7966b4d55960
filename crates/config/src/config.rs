//! The root of a configuration.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    AgentConfig, ApprovalsConfig, ApproveConfig, BudgetConfig, KeyConfig, LogConfig, McpConfig, ModelConfig,
    ProviderConfig, RecallConfig, Retention, ServerConfig, ToolConfig,
};

/// The root of `brigade.toml`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "brigade.toml")]
#[non_exhaustive]
pub struct Config {
    /// How the server listens and what it limits.
    pub server: ServerConfig,
    /// Logging.
    pub log: LogConfig,
    /// What all runs of this process may spend together.
    pub budget: BudgetConfig,
    /// A SQLite file for sessions, run history, notes and spending. It is created if it does not exist. Without a store
    /// all of this is lost at a restart. The commands `brigade store` and `brigade runs` also take the address of a
    /// PostgreSQL database, `postgres://USER:PASSWORD@HOST/DATABASE`.
    pub store: Option<PathBuf>,
    /// How long the store keeps data.
    pub retention: Retention,
    /// Long-term memory.
    pub recall: RecallConfig,
    /// How calls wait until a person approves them: those of tools and workers with `approve`.
    pub approvals: ApprovalsConfig,
    /// A TOML file of prices that override the bundled ones.
    pub prices: Option<PathBuf>,
    /// Accounts at model providers, by a name of your choice.
    pub providers: BTreeMap<String, ProviderConfig>,
    /// Models of these accounts, by a name of your choice.
    pub models: BTreeMap<String, ModelConfig>,
    /// Tools for agents, by the name that models see.
    pub tools: BTreeMap<String, ToolConfig>,
    /// MCP servers, by a name of your choice. Agents name their tools as `server__tool`.
    pub mcp: BTreeMap<String, McpConfig>,
    /// Agents, by the name that clients use as the model.
    pub agents: BTreeMap<String, AgentConfig>,
    /// API keys of clients, by a name of your choice. Without keys, only this machine may send requests.
    pub keys: BTreeMap<String, KeyConfig>,
}

impl Config {
    /// The address of the store, if it is in PostgreSQL. It may have a password in it.
    pub fn store_address(&self) -> Option<&str> {
        let store = self.store.as_deref()?.to_str()?;
        (store.starts_with("postgres://") || store.starts_with("postgresql://")).then_some(store)
    }

    /// Whether a call of any agent may have to wait for an approval.
    pub fn asks_for_approvals(&self) -> bool {
        self.agents.values().any(|agent| self.agent_asks_for_approvals(agent))
    }

    /// Whether a call of this agent, or of its workers, may have to wait for an approval.
    pub fn agent_asks_for_approvals(&self, agent: &AgentConfig) -> bool {
        let tools = agent.tools.iter().filter_map(|name| self.tools.get(name.as_ref())).map(|tool| &tool.approve);
        let mut own = tools.chain(agent.workers.iter().map(|worker| &worker.approve));
        let mut servers = agent.tools.iter().filter_map(|name| self.mcp_tool(name.as_ref()));
        // It ends, because the configuration is checked for cycles when it is read.
        own.any(|approve| *approve != ApproveConfig::Never)
            || servers.any(|(_, mcp, tool)| {
                // A pattern may mean a tool whose calls need an approval.
                if tool.contains('*') { !mcp.approve.is_empty() } else { mcp.approve.matches(tool) }
            })
            || agent.workers.iter().any(|worker| {
                let worker = self.agents.get(worker.agent.as_ref());
                worker.is_some_and(|worker| self.agent_asks_for_approvals(worker))
            })
    }
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
