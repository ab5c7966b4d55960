//! Tools of MCP servers for Brigade agents.
//!
//! | to do this | use |
//! |---|---|
//! | use the tools of a program, or of an address | [`Mcp::stdio`], [`Mcp::http`] |
//! | keep the definitions that a person has read | a [`LockFile`] |
//! | see what a server describes in another way now | a [`Drift`] |
//! | limit a server | [`McpLimits`] |
//! | offer tools to other programs | [`OfferedTools`], with an [`McpEndpoint`] or [`serve_pipes`] |
//!
//! A server is started at the first call of one of its tools and shared by all runs. It speaks the version 2025-11-25 of the
//! Model Context Protocol, or 2026-07-28 if it can.

mod content;
mod definition;
mod drift;
mod endpoint;
mod error;
mod limits;
mod lock;
mod mcp;
mod offer;
mod patterns;
mod process;
mod server;
mod session;
mod tool;
mod visible;

pub use definition::{ToolDefinition, ToolHints};
pub use drift::{Drift, ToolChange};
pub use error::McpError;
pub use limits::McpLimits;
pub use lock::{LockError, LockFile};
pub use mcp::{Mcp, McpBuilder};
pub use offer::{
    McpEndpoint, McpResponse, OfferedCall, OfferedResult, OfferedTool, OfferedTools, Progress, serve_pipes,
};
pub use patterns::NamePatterns;
pub use tool::{McpTool, TOOL_SEPARATOR, is_server_name};

#[cfg(test)]
mod tests;
