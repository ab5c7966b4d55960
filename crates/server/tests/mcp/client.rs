//! The official client in Python, against our agents.

use std::path::Path;

use serde_json::{Value, json};

use crate::{
    peers::{Peers, peers},
    team::{BRIGADE, Team, calling},
};

const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mcp/client.py");

async fn team() -> Team {
    let tool =
        "tools = [\"look\"]\n\n[tools.look]\ndescription = \"Looks.\"\ncommand = { argv = [\"echo\", \"hello\"] }\n";
    Team::new(&calling("look", "{}"), tool, "").await
}

async fn used_by_client(peers: &Peers, folder: &Path, target: &[&str]) -> Value {
    let mut command = tokio::process::Command::new(&peers.python);
    let output = command.arg(CLIENT).args(target).current_dir(folder).kill_on_drop(true).output().await.unwrap();
    let (text, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{error}"))
}

fn expected() -> Value {
    json!({
        "tools": { "clerk": "Answers letters." },
        "text": ["It says: hello"],
        "is_error": false,
        "wrong": true,
        "progress": ["clerk calls look"],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_calls_an_agent_over_streamable_http() {
    let Some(peers) = peers("MCP, Python client over HTTP") else { return };
    let team = team().await;
    let (_serving, address) = team.serve().await;
    assert_eq!(used_by_client(&peers, team.path(), &[&format!("{address}/mcp")]).await, expected());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_calls_an_agent_of_a_program_that_it_starts() {
    let Some(peers) = peers("MCP, Python client with a process") else { return };
    let team = team().await;
    assert_eq!(used_by_client(&peers, team.path(), &[BRIGADE, "mcp", "serve"]).await, expected());
}
