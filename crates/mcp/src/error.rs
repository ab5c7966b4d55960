//! Why a server cannot be used.

use std::{path::PathBuf, time::Duration};

use crate::Drift;

/// Why a server, or one of its tools, cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum McpError {
    /// The name of the server cannot be part of the names of tools.
    #[error("`{0}` cannot be the name of an MCP server; use 1 to 32 of A-Z, a-z, 0-9, _ and -, without `__`")]
    Name(String),
    /// The list of program and arguments is empty.
    #[error("the MCP server `{0}` has no program; the first element of its command must be one")]
    NoProgram(String),
    /// The program is not there.
    #[error("the MCP server `{server}`: there is no program `{program}`; install it, or write its path")]
    ProgramMissing {
        /// The name of the server.
        server: String,
        /// The program.
        program: String,
    },
    /// The working directory is not there.
    #[error("the MCP server `{server}`: {} is not a folder", folder.display())]
    Folder {
        /// The name of the server.
        server: String,
        /// The folder.
        folder: PathBuf,
    },
    /// The address is not an absolute `http` or `https` URL.
    #[error("the MCP server `{server}`: `{url}` is not an absolute URL; write one such as \"https://example.com/mcp\"")]
    Address {
        /// The name of the server.
        server: String,
        /// The address.
        url: String,
    },
    /// A header has an invalid name, or a value that HTTP cannot carry. The value is not shown, as it may be a secret.
    #[error(
        "the MCP server `{server}`: the header `{header}` has an invalid name or value; use visible ASCII characters"
    )]
    Header {
        /// The name of the server.
        server: String,
        /// The header.
        header: String,
    },
    /// The name of a tool is not one that models can call.
    #[error("the tool `{tool}` of the MCP server `{server}` has a name that models cannot call: {why}")]
    ToolName {
        /// The name of the server.
        server: String,
        /// The tool.
        tool: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The server did not start in time.
    #[error("the MCP server `{server}` was not ready within {limit:?} (its start limit)")]
    StartTimeout {
        /// The name of the server.
        server: String,
        /// The limit.
        limit: Duration,
    },
    /// The server cannot be started or reached, or speaks something else.
    #[error("the MCP server `{server}` cannot be used: {why}")]
    Start {
        /// The name of the server.
        server: String,
        /// The reason.
        why: String,
    },
    /// The server failed shortly before, and is not tried again yet.
    #[error("the MCP server `{server}` failed {failures} times in a row and is tried again in {wait:?}: {why}")]
    BackOff {
        /// The name of the server.
        server: String,
        /// How often it failed.
        failures: u32,
        /// The time until the next try.
        wait: Duration,
        /// The last failure.
        why: String,
    },
    /// The server ended, and is not to be started again.
    #[error("the MCP server `{server}` ended and is not started again, because `restart` is off: {why}")]
    Ended {
        /// The name of the server.
        server: String,
        /// The last failure.
        why: String,
    },
    /// The server has more tools than a client can compare.
    #[error("the MCP server `{server}` lists more than {limit} tools")]
    TooManyTools {
        /// The name of the server.
        server: String,
        /// The limit.
        limit: usize,
    },
    /// The tools are not the pinned ones.
    #[error(
        "the tools of the MCP server `{server}` are not the pinned ones any more ({}); read the difference and run \
         `brigade mcp pin {server}`",
        drift.summary()
    )]
    Drift {
        /// The name of the server.
        server: String,
        /// The difference.
        drift: Drift,
    },
    /// No tools are pinned.
    #[error("the tools of the MCP server `{server}` are not pinned; read them and run `brigade mcp pin {server}`")]
    NotPinned {
        /// The name of the server.
        server: String,
    },
}
