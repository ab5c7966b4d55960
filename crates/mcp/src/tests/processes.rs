//! Processes end with everything that they have started.

use std::{path::Path, time::Duration};

use brigade_core::Run;
use rustix::process::{Pid, test_kill_process};
use serde_json::json;

use super::{call, pinned};
use crate::{Mcp, McpBuilder, McpError, McpLimits, ToolDefinition};

/// A server in the shell's language. It starts a process that would outlive it, and writes its own id and that of the process
/// to the file `ids`. `$1` is what it does at a call.
const SERVER: &str = r#"
sleep 1000 &
echo "$$ $!" > ids.new; mv ids.new ids
echo "started with ${TOKEN:-nothing}" >&2
while read -r line; do
  id=${line#*\"id\":}; id=${id%%[,\}]*}
  case "$line" in
    *'"method":"initialize"'*) echo '{"jsonrpc":"2.0","id":'$id',"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"sh","version":"1"}}}';;
    *'"method":"tools/list"'*) echo '{"jsonrpc":"2.0","id":'$id',"result":{"tools":[{"name":"do","description":"Does.","inputSchema":{"type":"object"}}]}}';;
    *'"method":"tools/call"'*) eval "$1";;
    *'"id"'*) echo '{"jsonrpc":"2.0","id":'$id',"error":{"code":-32601,"message":"Method not found"}}';;
  esac
done
"#;

/// Answers with the environment.
const ANSWER: &str = r#"text=$(env | sort | tr '\n' ' '); echo '{"jsonrpc":"2.0","id":'$id',"result":{"content":[{"type":"text","text":"'$text'"}]}}'"#;

/// Longer than a busy machine takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn server(folder: &Path, at_call: &str) -> McpBuilder {
    Mcp::stdio("sh", ["sh", "-c", SERVER, "sh", at_call]).folder(folder).tools(["*"])
}

/// Waits until the server and the process that it started have ended.
async fn assert_no_process_is_left(folder: &Path) {
    let ids = std::fs::read_to_string(folder.join("ids")).unwrap();
    let ids: Vec<i32> = ids.split_whitespace().map(|id| id.parse().unwrap()).collect();
    assert_eq!(ids.len(), 2, "the server and its child");
    let ended = async {
        while let Some(id) = ids.iter().find(|id| is_running(**id)) {
            let _ = id;
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("a process is left");
}

/// A process that has ended and waits to be collected does not run.
fn is_running(id: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let is_zombie = stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'));
    test_kill_process(Pid::from_raw(id).unwrap()).is_ok() && !is_zombie
}

#[tokio::test]
async fn a_server_has_only_the_environment_that_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let mcp = server(folder.path(), ANSWER).env("TOKEN", "t0ken").env("PATH", "/usr/bin:/bin").build().unwrap();
    let tools = pinned(&mcp).await;
    let environment = call(&tools[0], &Run::new()).await.unwrap();
    let names: Vec<_> = environment.split_whitespace().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    let by_shell = ["PWD", "SHLVL", "_", "OLDPWD"];
    let names: Vec<_> = names.into_iter().filter(|name| !by_shell.contains(name)).collect();
    assert_eq!(names, ["PATH", "TOKEN"]);
    assert!(!format!("{mcp:?}").contains("t0ken"));
    drop((mcp, tools));
    assert_no_process_is_left(folder.path()).await;
}

#[tokio::test]
async fn closing_ends_a_server_and_what_it_has_started() {
    let folder = tempfile::tempdir().unwrap();
    let mcp = server(folder.path(), ANSWER).build().unwrap();
    mcp.list().await.unwrap();
    mcp.close().await;
    assert_no_process_is_left(folder.path()).await;
}

#[tokio::test]
async fn a_server_that_dies_in_a_call_takes_its_children_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let mcp = server(folder.path(), "exit 3").build().unwrap();
    let tools = pinned(&mcp).await;
    let run = Run::new();
    let error = call(&tools[0], &run).await.unwrap_err().to_string();
    assert!(error.contains("its process ended with exit status: 3"), "{error}");
    assert_no_process_is_left(folder.path()).await;
}

#[tokio::test]
async fn a_server_that_does_not_start_in_time_is_killed_with_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let silent = "sleep 1000 & echo \"$$ $!\" > ids.new; mv ids.new ids; cat > /dev/null";
    let limits = McpLimits::default().start(Duration::from_millis(500));
    let mcp = Mcp::stdio("sh", ["sh", "-c", silent]).folder(folder.path()).tools(["*"]).limits(limits).build().unwrap();
    let error = mcp.list().await.unwrap_err();
    assert!(matches!(error, McpError::StartTimeout { .. }), "{error}");
    assert_no_process_is_left(folder.path()).await;
}

#[tokio::test]
async fn a_dropped_call_leaves_the_server_to_other_runs() {
    let folder = tempfile::tempdir().unwrap();
    let mcp = server(folder.path(), ":").build().unwrap();
    let tools = pinned(&mcp).await;
    let run = Run::new();
    {
        let mut hanging = std::pin::pin!(call(&tools[0], &run));
        assert!(futures::poll!(hanging.as_mut()).is_pending());
    }
    mcp.list().await.unwrap();
    drop((mcp, tools));
    assert_no_process_is_left(folder.path()).await;
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named_before_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let mcp = Mcp::stdio("lab", ["no-such-program-here"]).folder(folder.path()).build().unwrap();
    let error = mcp.check().unwrap_err().to_string();
    assert_eq!(
        error,
        "the MCP server `lab`: there is no program `no-such-program-here`; install it, or write its path"
    );
    let error = Mcp::stdio("lab", ["sh"]).folder("/no/such/folder").build().unwrap().check().unwrap_err();
    assert!(matches!(error, McpError::Folder { .. }), "{error}");
    let pins = [ToolDefinition::new("do", "Does.", json!({"type": "object"}))];
    let tools = mcp.tools(&pins);
    assert!(tools.unwrap().is_empty(), "no tool is listed, so none is offered");
}
