//! Servers that misbehave: scenario R32.

mod calls;
mod http;
pub(crate) mod memory;
mod pins;
#[cfg(unix)]
mod processes;

use std::sync::Arc;

use brigade_core::{Part, Run, Tool, ToolError, ToolOutput};
use serde_json::json;

use crate::{Mcp, McpTool, ToolDefinition};

/// The tools of a server, pinned as they are listed now.
async fn pinned(mcp: &Mcp) -> Vec<McpTool> {
    let listed = mcp.list().await.unwrap();
    mcp.tools(&listed).unwrap()
}

/// The tool `echo`, pinned without a connection.
fn echo(mcp: &Mcp) -> Arc<McpTool> {
    let echo = ToolDefinition::new("echo", "Repeats.", json!({"type": "object"}));
    Arc::new(mcp.tools(&[echo]).unwrap().remove(0))
}

async fn call(tool: &McpTool, run: &Run) -> Result<String, ToolError> {
    tool.call(json!({"n": 1}), run).await.map(|output| text(&output))
}

fn text(output: &ToolOutput) -> String {
    let texts = output.content.iter().filter_map(|part| match part {
        Part::Text(text) => Some(text.text.as_str()),
        _ => None,
    });
    texts.collect()
}

fn degraded(run: &Run) -> Vec<String> {
    run.degraded().into_iter().map(|degradation| format!("{}: {}", degradation.part, degradation.reason)).collect()
}
