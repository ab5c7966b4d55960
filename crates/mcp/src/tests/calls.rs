//! Calls of servers that answer late, wrongly, or not at all.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use brigade_core::{Effect, Run, Tool};
use serde_json::{Value, json};

use super::{
    call, degraded, echo,
    memory::{Act, Connect, result, text},
};
use crate::McpLimits;

fn is_call(message: &serde_json::Value) -> bool {
    message["method"] == "tools/call"
}

#[tokio::test(start_paused = true)]
async fn all_calls_share_one_connection_which_is_opened_by_the_first() {
    let server = Connect::new(|_, _| None);
    let mcp = server.client(McpLimits::default());
    let tool = echo(&mcp);
    assert_eq!((server.connections(), &*tool.spec().name), (0, "lab__echo"));
    let (run, other) = (Run::new(), Run::new());
    let (one, two) = tokio::join!(call(&tool, &run), call(&tool, &other));
    assert_eq!((one.unwrap(), two.unwrap()), (r#"{"n":1}"#.to_owned(), r#"{"n":1}"#.to_owned()));
    assert_eq!((server.connections(), degraded(&run)), (1, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_a_dead_server_may_have_made_is_not_repeated() {
    let server = Connect::new(|message, number| (is_call(message) && number == 1).then(|| vec![Act::Close]));
    let mcp = server.client(McpLimits::default());
    let (tool, run) = (echo(&mcp), Run::new());
    let error = call(&tool, &run).await.unwrap_err().to_string();
    assert!(error.contains("It is not known whether the call was made"), "{error}");
    assert_eq!(server.received("tools/call").len(), 1);
    assert_eq!(degraded(&run), ["mcp:lab: the MCP server `lab` cannot be used: the connection was closed"]);
    // The next call opens the connection again.
    assert_eq!(call(&tool, &Run::new()).await.unwrap(), r#"{"n":1}"#);
    assert_eq!(server.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_repeatable_call_of_a_dead_server_is_made_again_once() {
    let server = Connect::new(|message, number| (is_call(message) && number == 1).then(|| vec![Act::Close]));
    let tool = echo(&server.client_with(McpLimits::default(), &["echo"], true));
    assert_eq!(tool.spec().effect, Effect::Repeatable);
    let run = Run::new();
    assert_eq!(call(&tool, &run).await.unwrap(), r#"{"n":1}"#);
    assert_eq!((server.connections(), degraded(&run)), (2, vec![]));

    let server = Connect::new(|message, _| is_call(message).then(|| vec![Act::Close]));
    let tool = echo(&server.client_with(McpLimits::default(), &["echo"], true));
    let error = call(&tool, &run).await.unwrap_err().to_string();
    assert!(error.contains("the MCP server `lab` cannot be used"), "{error}");
    assert_eq!((server.connections(), degraded(&run).len()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_fails_again_and_again_has_a_pause_that_grows() {
    let server = Connect::new(|_, _| Some(vec![Act::Close]));
    let tool = echo(&server.client(McpLimits::default()));
    let run = Run::new();
    for _ in 0..20 {
        let error = call(&tool, &run).await.unwrap_err().to_string();
        assert!(error.contains("Its tools are not available; go on without them."), "{error}");
    }
    assert_eq!((server.connections(), degraded(&run).len()), (2, 1));
    tokio::time::advance(Duration::from_secs(1)).await;
    let _ = call(&tool, &run).await;
    let error = call(&tool, &run).await.unwrap_err().to_string();
    assert!(error.contains("failed 3 times in a row and is tried again in 2s"), "{error}");
    assert_eq!(server.connections(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_must_not_be_restarted_stays_away() {
    let server = Connect::new(|message, _| is_call(message).then(|| vec![Act::Close]));
    let tool = echo(&server.client_with(McpLimits::default(), &["echo"], false));
    let error = call(&tool, &Run::new()).await.unwrap_err().to_string();
    assert!(error.contains("not started again, because `restart` is off"), "{error}");
    assert_eq!(server.connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_response_with_another_id_answers_nothing_and_the_server_is_notified() {
    let server = Connect::new(|message, _| {
        let wrong = json!({"jsonrpc": "2.0", "id": 4_711, "result": {"content": []}});
        is_call(message).then(|| vec![Act::Send(wrong)])
    });
    let tool = echo(&server.client(McpLimits::default().call(Duration::from_secs(7))));
    let run = Run::new();
    let error = call(&tool, &run).await.unwrap_err().to_string();
    assert_eq!(error, "the MCP server `lab` did not answer within 7s (its call limit without progress)");
    let cancelled = server.received("notifications/cancelled");
    assert_eq!(cancelled[0]["params"]["requestId"], server.received("tools/call")[0]["id"]);
    // The server still lists its tools, so it is used again.
    let _ = call(&tool, &run).await;
    assert_eq!((server.connections(), degraded(&run)), (1, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_answers_nothing_any_more_is_given_up() {
    let server = Connect::new(|message, number| {
        let is_silent = number == 1 && message["id"].as_u64().is_some_and(|id| id > 2);
        is_silent.then(Vec::new)
    });
    let tool = echo(&server.client(McpLimits::default()));
    let error = call(&tool, &Run::new()).await.unwrap_err().to_string();
    assert!(error.contains("call limit without progress"), "{error}");
    let run = Run::new();
    let error = call(&tool, &run).await.unwrap_err().to_string();
    assert!(error.contains("was not ready within 10s (its start limit)"), "{error}");
    assert_eq!(degraded(&run).len(), 1);
    assert_eq!(call(&tool, &Run::new()).await.unwrap(), r#"{"n":1}"#);
    assert_eq!(server.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn progress_keeps_a_call_alive_up_to_the_longest_call() {
    let progress = |message: &serde_json::Value| {
        let params = json!({"progressToken": message["params"]["_meta"]["progressToken"], "progress": 1});
        Act::Send(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}))
    };
    let server = Connect::new(move |message, _| {
        let mut acts = Vec::new();
        for _ in 0..5 {
            acts.extend([Act::Wait(Duration::from_secs(40)), progress(message)]);
        }
        acts.push(text(message, "late"));
        is_call(message).then_some(acts)
    });
    let tool = echo(&server.client(McpLimits::default()));
    assert_eq!(call(&tool, &Run::new()).await.unwrap(), "late");
    let tool = echo(&server.client(McpLimits::default().longest_call(Duration::from_secs(100))));
    let error = call(&tool, &Run::new()).await.unwrap_err().to_string();
    assert_eq!(error, "the MCP server `lab` did not answer within 100s (its longest call)");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_is_cancelled_at_the_server() {
    let server = Connect::new(|message, _| is_call(message).then(Vec::new));
    let tool = echo(&server.client(McpLimits::default()));
    let dropped = tokio::time::timeout(Duration::from_secs(3), call(&tool, &Run::new())).await;
    assert!(dropped.is_err());
    tokio::time::advance(Duration::from_millis(1)).await;
    tokio::task::yield_now().await;
    let cancelled = server.received("notifications/cancelled");
    assert_eq!(cancelled[0]["params"]["requestId"], server.received("tools/call")[0]["id"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_start_is_named_with_its_limit() {
    let server = Connect::new(|_, number| (number == 1).then(Vec::new));
    let tool = echo(&server.client(McpLimits::default().start(Duration::from_secs(2))));
    let run = Run::new();
    let error = call(&tool, &run).await.unwrap_err().to_string();
    assert!(error.starts_with("the MCP server `lab` was not ready within 2s (its start limit)"), "{error}");
    // It may have ignored the newer way to begin, so it is asked in the older one.
    assert_eq!(call(&tool, &Run::new()).await.unwrap(), r#"{"n":1}"#);
    assert_eq!(server.received("server/discover").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_too_long_is_dropped() {
    let server = Connect::new(|message, _| {
        let mut flood = vec![b'x'; 300_000];
        flood.push(b'\n');
        is_call(message).then(|| vec![Act::Raw(flood), Act::Raw(b"noise\n\n{}\n".to_vec()), text(message, "after")])
    });
    let tool = echo(&server.client(McpLimits::default().message_bytes(100_000)));
    assert_eq!(call(&tool, &Run::new()).await.unwrap(), "after");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_notifications_does_not_stop_a_call() {
    let server = Connect::new(|message, _| {
        let noise =
            json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}});
        let mut acts = vec![Act::Send(noise); 5_000];
        acts.push(text(message, "answered"));
        is_call(message).then_some(acts)
    });
    let tool = echo(&server.client(McpLimits::default()));
    assert_eq!(call(&tool, &Run::new()).await.unwrap(), "answered");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_used_is_stopped_and_started_again() {
    let server = Connect::new(|_, _| None);
    let mcp = server.client(McpLimits::default().idle(Duration::from_mins(5)));
    let (tool, run) = (echo(&mcp), Run::new());
    call(&tool, &run).await.unwrap();
    tokio::time::sleep(Duration::from_mins(4)).await;
    call(&tool, &run).await.unwrap();
    tokio::time::sleep(Duration::from_mins(4)).await;
    call(&tool, &run).await.unwrap();
    assert_eq!(server.connections(), 1);
    tokio::time::sleep(Duration::from_mins(6)).await;
    call(&tool, &run).await.unwrap();
    assert_eq!((server.connections(), degraded(&run)), (2, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_server_reaches_the_model_and_not_the_operator() {
    let server = Connect::new(|message, _| {
        let error = json!({"code": -32602, "message": "no field `issue 7`"});
        is_call(message).then(|| vec![Act::Send(json!({"jsonrpc": "2.0", "id": message["id"], "error": error}))])
    });
    let tool = echo(&server.client(McpLimits::default()));
    let error = call(&tool, &Run::new()).await.unwrap_err();
    assert_eq!(error.to_string(), "the MCP server `lab` refused the call: no field `issue 7`");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "the MCP server `lab` refused the call");
}

#[tokio::test(start_paused = true)]
async fn a_question_back_is_not_supported_and_ends_the_call() {
    let server = Connect::new(|message, _| {
        let question = json!({"resultType": "input_required", "requestState": "s", "inputRequests": {}});
        is_call(message).then(|| vec![result(message, &question)])
    });
    let tool = echo(&server.client(McpLimits::default()));
    let error = call(&tool, &Run::new()).await.unwrap_err().to_string();
    assert_eq!(error, "the MCP server `lab` asks for further input, which is not supported");
}

#[tokio::test(start_paused = true)]
async fn a_server_of_2026_07_28_is_discovered_and_reports_changes_to_a_subscription() {
    let subscription = Arc::new(Mutex::new(Value::Null));
    let notification = move |method: &str, mut params: Value, subscription: &Value| {
        params["_meta"] = json!({"io.modelcontextprotocol/subscriptionId": subscription});
        Act::Send(json!({"jsonrpc": "2.0", "method": method, "params": params}))
    };
    let server = Connect::new(move |message, _| match message["method"].as_str() {
        Some("server/discover") => Some(vec![result(
            message,
            &json!({
                "resultType": "complete", "supportedVersions": ["2026-07-28"], "ttlMs": 0, "cacheScope": "private",
                "capabilities": {"tools": {"listChanged": true}},
            }),
        )]),
        Some("subscriptions/listen") => {
            *subscription.lock().unwrap() = message["id"].clone();
            let accepted = json!({"notifications": {"toolsListChanged": true}});
            Some(vec![notification("notifications/subscriptions/acknowledged", accepted, &message["id"])])
        }
        Some("tools/call") => {
            let subscription = subscription.lock().unwrap().clone();
            let changed = notification("notifications/tools/list_changed", json!({}), &subscription);
            Some(vec![changed, text(message, "called")])
        }
        _ => None,
    });
    let tool = echo(&server.client(McpLimits::default()));
    assert_eq!(call(&tool, &Run::new()).await.unwrap(), "called");
    assert_eq!((server.received("initialize").len(), server.received("subscriptions/listen").len()), (0, 1));
    let meta = &server.received("tools/call")[0]["params"]["_meta"];
    assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28", "{meta}");
    server.set_tools(json!([]));
    let error = call(&tool, &Run::new()).await.unwrap_err().to_string();
    assert!(error.contains("are not the pinned ones any more (echo)"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn closing_ends_calls_in_flight_which_are_not_repeated() {
    let server = Connect::new(|message, _| is_call(message).then(Vec::new));
    let mcp = server.client_with(McpLimits::default(), &["echo"], true);
    let (tool, run) = (echo(&mcp), Run::new());
    let start = tokio::time::Instant::now();
    let closing = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        mcp.close().await;
    };
    let (error, ()) = tokio::join!(call(&tool, &run), closing);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("the connection was closed. It is not known whether"), "{error}");
    assert_eq!((server.connections(), server.received("tools/call").len()), (1, 1));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn servers_start_in_parallel() {
    let slow = || {
        Connect::new(|message, _| {
            let answer = json!({
                "protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "lab", "version": "1"},
            });
            (message["method"] == "initialize")
                .then(|| vec![Act::Wait(Duration::from_secs(6)), result(message, &answer)])
        })
    };
    let (one, two) = (slow(), slow());
    let (one, two) = (echo(&one.client(McpLimits::default())), echo(&two.client(McpLimits::default())));
    let start = tokio::time::Instant::now();
    let (run, tools) = (Run::new(), [Arc::clone(&one), two]);
    let (first, second) = tokio::join!(call(&tools[0], &run), call(&tools[1], &run));
    assert!(first.is_ok() && second.is_ok() && start.elapsed() < Duration::from_secs(7));
}
