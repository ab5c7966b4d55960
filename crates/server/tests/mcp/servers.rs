//! Servers that the protocol's authors publish.

use std::{process::Command, time::Duration};

use crate::{
    peers::{Peers, peers},
    team::{Running, Team, calling},
};

/// The team whose server is a script of Node.
async fn team(peers: &Peers, package: &str, arguments: &str, call: (&str, &str), tools: &str) -> Team {
    let command = format!("[{:?}, {:?}, {arguments}]", peers.node.display().to_string(), peers.script(package));
    let section = format!("[mcp.lab]\ncommand = {command}\ntools = {tools}\n");
    Team::new(&calling(call.0, call.1), "tools = [\"lab__*\"]", &section).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_with_everything_is_used_as_a_process() {
    let Some(peers) = peers("MCP, server-everything") else { return };
    let call = ("lab__echo", r#"{"message": "good day"}"#);
    let team =
        team(&peers, "@modelcontextprotocol/server-everything", "\"stdio\"", call, "[\"echo\", \"get-sum\"]").await;
    let (is_pinned, text) = team.brigade(&["mcp", "pin"]).await;
    assert!(is_pinned && text.contains("lab: 2 tools"), "{text}");
    let (_, text) = team.brigade(&["run", "clerk", "Say good day."]).await;
    assert!(text.contains("It says: Echo: good day"), "{text}");
    let (is_well, text) = team.brigade(&["doctor"]).await;
    assert!(is_well && text.contains("mcp.lab: its 2 tools are the pinned ones"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_with_everything_is_used_over_streamable_http() {
    let Some(peers) = peers("MCP, server-everything over HTTP") else { return };
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut server = Command::new(&peers.node);
    server.arg(peers.script("@modelcontextprotocol/server-everything")).arg("streamableHttp");
    let _server = Running::start(server.env("PORT", port.to_string()));
    let section = format!(
        "[mcp.lab]\nurl = \"http://127.0.0.1:{port}/mcp\"\nallow_private = true\ntools = [\"get-sum\"]\nrepeatable = [\"*\"]\n"
    );
    let team = Team::new(&calling("lab__get-sum", r#"{"a": 17, "b": 25}"#), "tools = [\"lab__*\"]", &section).await;
    let mut pinned = (false, String::new());
    for _ in 0..100 {
        pinned = team.brigade(&["mcp", "pin"]).await;
        if pinned.0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(pinned.0, "{}", pinned.1);
    let (_, text) = team.brigade(&["run", "clerk", "Add."]).await;
    assert!(text.contains("42"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_for_files_reads_its_folder_and_nothing_else() {
    let Some(peers) = peers("MCP, server-filesystem") else { return };
    for (path, expected) in [("a.txt", "It says: wine"), ("/etc/passwd", "Access denied")] {
        let arguments = format!(r#"{{"path": "{path}"}}"#);
        let call = ("lab__read_text_file", arguments.as_str());
        let team =
            team(&peers, "@modelcontextprotocol/server-filesystem", "\"notes\"", call, "[\"read_text_file\"]").await;
        std::fs::create_dir(team.path().join("notes")).unwrap();
        std::fs::write(team.path().join("notes/a.txt"), "wine").unwrap();
        let (is_pinned, text) = team.brigade(&["mcp", "pin"]).await;
        assert!(is_pinned, "{text}");
        let (_, text) = team.brigade(&["run", "clerk", "Read it."]).await;
        assert!(text.contains(expected), "{path}: {text}");
    }
}

/// The file belongs to this version of the server, which the example names.
#[tokio::test(flavor = "multi_thread")]
async fn the_example_has_the_tools_of_the_server_pinned() {
    let Some(peers) = peers("MCP, files.toml") else { return };
    let call = ("lab__list_directory", "{}");
    let config = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/files.toml")).unwrap();
    let (_, rest) = config.split_once("\ntools = ").unwrap();
    let tools = rest.split_once("[mcp.files]").unwrap().1.split_once("\ntools = ").unwrap().1.lines().next().unwrap();
    let team = team(&peers, "@modelcontextprotocol/server-filesystem", "\".\"", call, tools).await;
    let (is_pinned, text) = team.brigade(&["mcp", "pin"]).await;
    assert!(is_pinned, "{text}");
    let found = std::fs::read_to_string(team.path().join("brigade.lock")).unwrap().replace("\"lab\"", "\"files\"");
    let pinned = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/brigade.lock")).unwrap();
    assert_eq!(found, pinned);
}
