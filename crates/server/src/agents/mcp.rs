//! Opens the MCP servers of the configuration. Their tools are known from the lock file, so nothing is started here.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use brigade_config::{ApproveConfig, Config, LoadedConfig, McpConfig, Secrets};
use brigade_core::Tool;
use brigade_mcp::{LockFile, Mcp, McpError, McpTool, NamePatterns};
use brigade_observability::mask;
use brigade_tools::EgressGuard;

use super::tools;
use crate::setup::error::{SetupContext as _, SetupError};

/// The file with the definitions of tools that a person has read, beside the configuration.
const LOCK_FILE: &str = "brigade.lock";

/// The MCP servers that agents use, with their pinned tools.
#[derive(Debug, Default)]
pub(crate) struct McpServers(BTreeMap<String, McpServer>);

#[derive(Debug)]
struct McpServer {
    tools: Vec<Arc<McpTool>>,
    approve: NamePatterns,
    /// Patterns that mean no pinned tool, with the keys that they are written at.
    unmatched: Vec<(&'static str, String)>,
}

impl McpServers {
    /// Opens the servers that agents use.
    pub(crate) fn open(loaded: &LoadedConfig, secrets: &Secrets<'_>) -> Result<Self, SetupError> {
        let LoadedConfig { config, folder, .. } = loaded;
        let names = config.agents.values().flat_map(|agent| &agent.tools);
        let used: BTreeSet<&str> = names.filter_map(|name| Some(config.mcp_tool(name.as_ref())?.0)).collect();
        if used.is_empty() {
            return Ok(Self::default());
        }
        let lock = LockFile::read(&folder.join(LOCK_FILE)).context(LOCK_FILE)?;
        let open = |name: &str| {
            let config = config.mcp.get(name).ok_or_else(|| SetupError::missing("an MCP server"))?;
            let server = connect(name, config, loaded, secrets)?;
            // A machine without the secrets is not the one that runs the servers.
            if secrets.are_read() {
                server.check().context("the configuration of MCP")?;
            }
            let pinned = lock.tools(name).ok_or_else(|| McpError::NotPinned { server: name.to_owned() });
            let tools = pinned.and_then(|pinned| server.tools(pinned)).context(LOCK_FILE)?;
            let names: Vec<&str> = tools.iter().map(McpTool::name_at_server).collect();
            let keys = [("tools", &config.tools), ("approve", &config.approve), ("repeatable", &config.repeatable)];
            let unmatched = keys.into_iter().flat_map(|(key, patterns)| {
                patterns.without_match(&names).into_iter().map(move |pattern| (key, pattern.to_owned()))
            });
            let unmatched = unmatched.collect();
            let tools = tools.into_iter().map(Arc::new).collect();
            Ok((name.to_owned(), McpServer { tools, approve: config.approve.clone(), unmatched }))
        };
        used.into_iter().map(open).collect::<Result<_, SetupError>>().map(Self)
    }

    /// The tools that a name in the `tools` of an agent means; absent if it does not name a server.
    pub(crate) fn tools(
        &self,
        config: &Config,
        name: &str,
        expire: Duration,
    ) -> Option<Result<Vec<Arc<dyn Tool>>, SetupError>> {
        let (server, _, tool) = config.mcp_tool(name)?;
        let found = self.0.get(server).map(|found| found.matching(tool, expire));
        let missing = || {
            let advice = format!("correct the name, or run `brigade mcp pin {server}`");
            SetupError::Invalid(format!("the MCP server `{server}` has no pinned tool `{tool}`; {advice}"))
        };
        Some(
            found.unwrap_or_else(|| Ok(Vec::new())).and_then(
                |tools| {
                    if tools.is_empty() { Err(missing()) } else { Ok(tools) }
                },
            ),
        )
    }

    /// The names of all tools, as models see them.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.values().flat_map(|server| &server.tools).map(|tool| &*tool.spec().name)
    }

    /// Advice for `brigade check`.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = String> {
        let of_server = |(name, server): (&String, &McpServer)| {
            let warning = |(key, pattern): &(&str, String)| {
                let advice = "correct it, or pin the tools again";
                format!("mcp.{name}.{key} has {pattern:?}, which matches no pinned tool: {advice}")
            };
            server.unmatched.iter().map(warning).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of_server)
    }
}

impl McpServer {
    fn matching(&self, name: &str, expire: Duration) -> Result<Vec<Arc<dyn Tool>>, SetupError> {
        let name = NamePatterns::new([name]);
        let found = self.tools.iter().filter(|tool| name.matches(tool.name_at_server()));
        let with_approvals = |tool: &Arc<McpTool>| {
            let always = self.approve.matches(tool.name_at_server());
            let approve = if always { ApproveConfig::Always } else { ApproveConfig::Never };
            let place = format!("the tool `{}`", tool.spec().name);
            tools::with_approvals(Arc::clone(tool) as Arc<dyn Tool>, &approve, expire).context(place)
        };
        found.map(with_approvals).collect()
    }
}

/// All servers of the configuration, whether agents use them or not, without their pinned tools.
#[cfg(feature = "cli")]
pub(crate) fn all(loaded: &LoadedConfig, secrets: &Secrets<'_>) -> Result<BTreeMap<String, Mcp>, SetupError> {
    let servers = loaded.config.mcp.iter();
    servers.map(|(name, config)| Ok((name.clone(), connect(name, config, loaded, secrets)?))).collect()
}

/// A server, which is not started yet.
fn connect(name: &str, config: &McpConfig, loaded: &LoadedConfig, secrets: &Secrets<'_>) -> Result<Mcp, SetupError> {
    let place = format!("the MCP server `{name}`");
    let server = match (&config.command, &config.url) {
        (Some(_), _) if !loaded.config.server.commands => {
            let advice = "set `server.commands = true` to allow that";
            return Err(SetupError::Invalid(format!("{place} runs a program; {advice}")));
        }
        (Some(command), _) => {
            let base: &Path = &loaded.folder;
            let folder = config.folder.as_ref().map_or_else(|| base.to_owned(), |own| base.join(own));
            let server = Mcp::stdio(name, command.iter().cloned()).folder(folder).redact(mask);
            config.environment.iter().fold(server, |server, (name, value)| {
                server.env(name, secrets.text(value, &place, &format!("the variable `{name}`: ")))
            })
        }
        (None, Some(url)) => {
            let client = EgressGuard::default().allow_private(config.allow_private).client(url);
            let server = Mcp::http(name, url, client.context(place.clone())?);
            config.headers.iter().fold(server, |server, (name, value)| {
                server.header(name, secrets.text(value, &place, &format!("the header `{name}`: ")))
            })
        }
        (None, None) => return Err(SetupError::missing("a command or a URL")),
    };
    let server = server.tools(config.tools.iter()).repeatable(config.repeatable.iter());
    server.limits(config.limits()).restart(config.restart).build().context("the configuration of MCP")
}
