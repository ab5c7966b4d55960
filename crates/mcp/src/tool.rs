//! One tool of a server.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use brigade_core::{Run, Tool, ToolError, ToolOutput, ToolSpec};
use serde_json::Value;

use crate::{
    McpError,
    definition::ToolDefinition,
    server::{Call, Server},
    visible::visible,
};

/// One tool of an MCP server. Its name is `server__tool`.
///
/// The first call starts the server, which all runs share. A server that ended is started again once; if that fails, the call
/// has a result that says so, and the run is degraded.
///
/// See [`Mcp`](crate::Mcp) for an example.
#[derive(Debug)]
pub struct McpTool {
    server: Arc<Server>,
    spec: ToolSpec,
    /// The name at the server.
    name: String,
    is_repeatable: bool,
}

/// Separates the name of a server from the name of its tool.
pub const TOOL_SEPARATOR: &str = "__";

/// Names of tools have at most this length; providers refuse longer ones.
const NAME_BYTES: usize = 64;

/// The protocol keeps the limits of a call and names them. The limit of the toolbox is only for a server that defeats these.
const SLACK: Duration = Duration::from_secs(5);

/// Whether a text can be the name of a server: it becomes the first part of names of tools.
pub fn is_server_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=32).contains(&name.len()) && name.bytes().all(is_plain) && !name.contains(TOOL_SEPARATOR)
}

impl McpTool {
    pub(crate) fn new(server: &Arc<Server>, tool: &ToolDefinition) -> Result<Self, McpError> {
        let unusable = |why| McpError::ToolName { server: server.name.clone(), tool: visible(&tool.name), why };
        // These are allowed in names at servers, and not in names for models.
        let name = tool.name.replace(['.', '/'], "_");
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')) {
            return Err(unusable("it has other characters than A-Z, a-z, 0-9, _, -, . and /"));
        }
        let name = format!("{}{TOOL_SEPARATOR}{name}", server.name);
        if name.len() > NAME_BYTES {
            return Err(unusable("with the name of the server it is longer than 64 characters"));
        }
        let is_repeatable = server.repeatable.matches(&tool.name);
        let schema = tool.schema_for_model().map_err(|_| unusable("its schema cannot be written as JSON"))?;
        let mut spec = ToolSpec::new(name, visible(&tool.description), schema);
        spec.effect = tool.effect(is_repeatable);
        let limits = &server.limits;
        spec.timeout = Some(limits.start * 3 + limits.longest_call.max(limits.call) + SLACK);
        let is_repeatable = spec.effect == brigade_core::Effect::Repeatable;
        Ok(Self { server: Arc::clone(server), spec, name: tool.name.clone(), is_repeatable })
    }

    /// The name of the tool at the server.
    pub fn name_at_server(&self) -> &str {
        &self.name
    }
}

#[async_trait]
impl Tool for McpTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, input: Value, run: &Run) -> Result<ToolOutput, ToolError> {
        let Value::Object(arguments) = input else {
            let message = "the arguments must be a JSON object";
            return Err(ToolError::new(message).caused_by(message));
        };
        let call = Call { tool: &self.name, arguments, is_repeatable: self.is_repeatable };
        self.server.call(call, run).await
    }
}
