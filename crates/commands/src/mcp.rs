//! `brigade mcp pin` and `brigade mcp list`

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::bail;
use brigade_config::{LoadedConfig, Secrets};
use brigade_core::ErrorChain;
use brigade_mcp::{Drift, LockFile, Mcp, ToolDefinition};
use brigade_terminal::printable;
use clap::{Args, Subcommand};
use futures::future::join_all;

use crate::{exit::Exit, note, options::ConfigArg, out, output::count};

/// Opens the servers of a configuration, which are started when they are used.
pub type OpenMcpServers = fn(&LoadedConfig, &Secrets<'_>) -> anyhow::Result<BTreeMap<String, Mcp>>;

/// The file with the definitions of tools that a person has read, beside the configuration.
const LOCK_FILE: &str = "brigade.lock";

#[derive(Debug, Subcommand)]
pub enum McpPinsCommand {
    /// Starts the servers, and writes the definitions of their tools to brigade.lock
    #[command(after_help = "\
Examples:
  brigade mcp pin             reads the tools of all servers in ./brigade.toml, and writes them to ./brigade.lock
  brigade mcp pin github      the same for one server

Agents get the tools as they are in brigade.lock. Read them before you commit the file: models follow what a description says.
A server that describes its tools in another way later loses them until they are pinned again.")]
    Pin(PinCommand),
    /// Lists the tools in brigade.lock, without starting a server
    List(ConfigArg),
}

#[derive(Debug, Args)]
pub struct PinCommand {
    /// The servers; all by default
    servers: Vec<String>,
    #[command(flatten)]
    config: ConfigArg,
}

impl McpPinsCommand {
    pub async fn run(self, open: OpenMcpServers) -> anyhow::Result<Exit> {
        match self {
            Self::Pin(command) => command.run(open).await,
            Self::List(config) => list(&config.load()?),
        }
    }
}

impl PinCommand {
    async fn run(self, open: OpenMcpServers) -> anyhow::Result<Exit> {
        let loaded = self.config.load()?;
        let wanted = selected(&loaded, &self.servers, open)?;
        let path = lock_path(&loaded);
        let mut lock = match LockFile::read(&path) {
            Ok(lock) => lock,
            // All servers are pinned, so a file that was changed by hand is written anew.
            Err(error) if self.servers.is_empty() => {
                note!("warning: {}", ErrorChain(&error));
                LockFile::default()
            }
            Err(error) => {
                let advice = "to pin all servers anew, run `brigade mcp pin` without a name";
                bail!("{}. The pins of the other servers would be lost; {advice}", ErrorChain(&error));
            }
        };
        let listed = join_all(wanted.iter().map(async |server| {
            let tools = server.list().await;
            server.close().await;
            tools
        }));
        let mut failed = Vec::new();
        for (server, listed) in wanted.iter().zip(listed.await) {
            let name = server.name();
            match listed {
                Ok(tools) => {
                    // Names that models cannot call are refused here, and not at the next start.
                    server.tools(&tools)?;
                    print_difference(name, lock.tools(name).unwrap_or_default(), &tools);
                    lock.pin(name, tools);
                }
                Err(error) => {
                    note!("error: {error}");
                    failed.push(name);
                }
            }
        }
        if !failed.is_empty() {
            let advice = "correct these servers, or name the other ones: `brigade mcp pin NAME...`";
            note!("{} is as before, because {} failed; {advice}", path.display(), failed.join(", "));
            return Ok(Exit::Failed);
        }
        lock.retain(|server| loaded.config.mcp.contains_key(server));
        lock.write(&path)?;
        note!("wrote {}; read it before you commit it", path.display());
        Ok(Exit::Finished)
    }
}

/// Compares the tools of each server that is pinned with what the server says now, for `brigade doctor`.
pub async fn examine_mcp(loaded: &LoadedConfig, open: OpenMcpServers) -> anyhow::Result<Exit> {
    let servers = selected(loaded, &[], open)?;
    let lock = LockFile::read(&lock_path(loaded))?;
    let examined = join_all(servers.iter().map(async |server| {
        let tools = server.list().await;
        server.close().await;
        let tools = tools.map_err(|error| error.to_string())?;
        let advice = format!("run `brigade mcp pin {}`", server.name());
        let pinned = lock.tools(server.name()).ok_or_else(|| format!("its tools are not pinned; {advice}"))?;
        match Drift::between(pinned, &tools) {
            None => Ok(tools.len()),
            Some(drift) => Err(format!("its tools are not the pinned ones; read this and {advice}:\n{drift}")),
        }
    }));
    let mut exit = Exit::Finished;
    for (server, result) in servers.iter().zip(examined.await) {
        match result {
            Ok(tools) => out!("✓ mcp.{}: its {} are the pinned ones", server.name(), count(tools, "tool")),
            Err(problem) => {
                out!("✗ mcp.{}: {}", server.name(), lines(&problem));
                exit = Exit::Failed;
            }
        }
    }
    Ok(exit)
}

fn list(loaded: &LoadedConfig) -> anyhow::Result<Exit> {
    let lock = LockFile::read(&lock_path(loaded))?;
    for (server, config) in &loaded.config.mcp {
        let Some(tools) = lock.tools(server) else {
            out!("{server}: not pinned; run `brigade mcp pin {server}`");
            continue;
        };
        out!("{server}: {}", count(tools.len(), "tool"));
        for tool in tools {
            let mark = |is_set: bool, mark| if is_set { mark } else { "" };
            let approve = mark(config.approve.matches(&tool.name), " [needs an approval]");
            let repeatable = mark(config.repeatable.matches(&tool.name), " [repeatable]");
            out!("  {}{approve}{repeatable}: {}", printable(&tool.name), first_line(tool));
        }
    }
    if loaded.config.mcp.is_empty() {
        note!("the configuration has no MCP server; add a section `[mcp.NAME]`");
    }
    Ok(Exit::Finished)
}

fn selected(loaded: &LoadedConfig, names: &[String], open: OpenMcpServers) -> anyhow::Result<Vec<Mcp>> {
    if let Some(unknown) = names.iter().find(|name| !loaded.config.mcp.contains_key(*name)) {
        let known: Vec<_> = loaded.config.mcp.keys().map(String::as_str).collect();
        bail!("there is no MCP server `{unknown}`; the servers are: {}", known.join(", "));
    }
    if names.is_empty() && loaded.config.mcp.is_empty() {
        return Ok(Vec::new());
    }
    let secrets = Secrets::of(&loaded.folder);
    let servers = open(loaded, &secrets)?;
    secrets.check().map_err(anyhow::Error::msg)?;
    Ok(servers.into_iter().filter(|(name, _)| names.is_empty() || names.contains(name)).map(|(_, mcp)| mcp).collect())
}

fn lock_path(loaded: &LoadedConfig) -> PathBuf {
    loaded.folder.join(LOCK_FILE)
}

fn print_difference(server: &str, pinned: &[ToolDefinition], found: &[ToolDefinition]) {
    match Drift::between(pinned, found) {
        Some(drift) => note!("{server}: {}\n{}", count(found.len(), "tool"), lines(&drift.to_string())),
        None => note!("{server}: {}, as before", count(found.len(), "tool")),
    }
}

/// Text of a server, whose line breaks are ours.
fn lines(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}

fn first_line(tool: &ToolDefinition) -> String {
    printable(tool.description.lines().next().unwrap_or_default())
}
