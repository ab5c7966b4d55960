//! The official conformance suite, against what the crate offers and what it uses.

use std::{path::Path, process::Output, sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::{Router, extract::Request, http::StatusCode, middleware::Next, response::IntoResponse};
use brigade_mcp::{McpEndpoint, OfferedCall, OfferedResult, OfferedTool, OfferedTools};
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

use crate::{
    peers::{Peers, peers},
    team::BRIGADE,
};

/// What is expected to fail, with the reasons.
const EXPECTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mcp/expected_failures");

/// The tools that the suite calls.
#[derive(Debug)]
struct Fixture;

#[async_trait]
impl OfferedTools for Fixture {
    fn tools(&self) -> Vec<OfferedTool> {
        let names = ["test_simple_text", "test_error_handling", "test_tool_with_progress"];
        let tools = names.map(|name| OfferedTool::new(name, "For the suite.", object(json!({"type": "object"}))));
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "$defs": {
                "address": {
                    "$anchor": "addressDef",
                    "type": "object",
                    "properties": { "street": { "type": "string" }, "city": { "type": "string" } },
                },
            },
            "properties": {
                "name": { "type": "string" },
                "address": { "$ref": "#/$defs/address" },
                "contactMethod": { "type": "string", "enum": ["phone", "email"] },
                "phone": { "type": "string" },
                "email": { "type": "string" },
            },
            "allOf": [{ "anyOf": [{ "required": ["phone"] }, { "required": ["email"] }] }],
            "if": { "properties": { "contactMethod": { "const": "phone" } }, "required": ["contactMethod"] },
            "then": { "required": ["phone"] },
            "else": { "required": ["email"] },
            "additionalProperties": false,
        });
        tools
            .into_iter()
            .chain([OfferedTool::new("json_schema_2020_12_tool", "For the suite.", object(schema))])
            .collect()
    }

    async fn call(&self, call: OfferedCall) -> Result<OfferedResult, String> {
        match call.name.as_str() {
            "test_error_handling" => Err("This tool intentionally returns an error for testing".to_owned()),
            "test_tool_with_progress" => {
                for step in 0..3 {
                    call.progress.report(format!("step {step}"));
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Ok(OfferedResult::text("done"))
            }
            _ => Ok(OfferedResult::text("This is a simple text response for testing.")),
        }
    }
}

fn object(value: Value) -> Map<String, Value> {
    serde_json::from_value(value).unwrap()
}

/// Serves the fixture as the server serves `/mcp`: requests for other hosts are refused first.
async fn fixture() -> (JoinSet<()>, String) {
    let endpoint = McpEndpoint::new(Arc::new(Fixture), 1 << 20);
    let check_host = axum::middleware::from_fn(|request: Request, next: Next| async {
        if brigade_edge::is_sent_to_loopback(request.headers()) {
            next.run(request).await
        } else {
            StatusCode::MISDIRECTED_REQUEST.into_response()
        }
    });
    let handle = move |request: Request| async move { endpoint.handle(request).await.map(axum::body::Body::new) };
    let router = Router::new().route("/mcp", axum::routing::any(handle)).layer(check_host);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    (JoinSet::from_iter([async move { axum::serve(listener, router).await.unwrap() }]), url)
}

async fn suite(peers: &Peers, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tokio::process::Command::new(&peers.node);
    command.arg(peers.script("@modelcontextprotocol/conformance")).args(arguments).current_dir(folder.path());
    command.kill_on_drop(true).output().await.unwrap()
}

fn assert_passed(output: &Output) {
    let (text, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_for_servers_fails_only_where_it_is_expected() {
    let Some(peers) = peers("MCP, conformance of a server") else { return };
    let (_serving, url) = fixture().await;
    for version in ["2025-11-25", "2026-07-28"] {
        let expected = format!("{EXPECTED}/server-{version}.yml");
        let arguments = ["server", "--url", &url, "--requirements", version, "--expected-failures", &expected];
        assert_passed(&suite(&peers, &arguments).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_for_clients_fails_only_where_it_is_expected() {
    let Some(peers) = peers("MCP, conformance of a client") else { return };
    let client = Path::new(BRIGADE).parent().unwrap().join("examples/call");
    assert!(client.exists(), "build it with: cargo build -p brigade-mcp --example call");
    for version in ["2025-11-25", "2026-07-28"] {
        let (expected, client) = (format!("{EXPECTED}/client-{version}.yml"), client.display().to_string());
        let arguments = ["client", "--command", &client, "--requirements", version, "--expected-failures", &expected];
        assert_passed(&suite(&peers, &arguments).await);
    }
}
