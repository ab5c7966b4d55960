//! A server in this process, at the other end of a pipe in memory.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream},
    task::JoinSet,
};

use crate::{Mcp, McpLimits, NamePatterns, endpoint::Endpoint, server::Server};

/// What a server does with a message.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Sends a message.
    Send(Value),
    /// Sends bytes, which may be no message.
    Raw(Vec<u8>),
    /// Waits for a time.
    Wait(std::time::Duration),
    /// Closes the connection.
    Close,
}

type Script = dyn Fn(&Value, usize) -> Option<Vec<Act>> + Send + Sync;

/// A server whose script answers what it wants to. All else is answered as a server of 2025-11-25 does.
#[derive(Clone)]
pub(crate) struct Connect {
    script: Arc<Script>,
    tools: Arc<Mutex<Value>>,
    /// All messages that it received.
    received: Arc<Mutex<Vec<Value>>>,
    connections: Arc<AtomicUsize>,
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connect")
    }
}

/// A tool called `echo`.
pub(crate) fn echo() -> Value {
    json!([{"name": "echo", "description": "Repeats.", "inputSchema": {"type": "object"}}])
}

pub(crate) fn result(message: &Value, result: &Value) -> Act {
    Act::Send(json!({"jsonrpc": "2.0", "id": message["id"], "result": result}))
}

pub(crate) fn text(message: &Value, text: &str) -> Act {
    result(message, &json!({"content": [{"type": "text", "text": text}]}))
}

impl Connect {
    /// A server with the tool [`echo`]. The script gets each message and the number of the connection, from 1 on.
    pub(crate) fn new(script: impl Fn(&Value, usize) -> Option<Vec<Act>> + Send + Sync + 'static) -> Self {
        let tools = Arc::new(Mutex::new(echo()));
        Self { script: Arc::new(script), tools, received: Arc::default(), connections: Arc::default() }
    }

    pub(crate) fn set_tools(&self, tools: Value) {
        *self.tools.lock().unwrap() = tools;
    }

    /// How often a connection was opened.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The messages with this method that the server received.
    pub(crate) fn received(&self, method: &str) -> Vec<Value> {
        self.received.lock().unwrap().iter().filter(|message| message["method"] == method).cloned().collect()
    }

    /// The client's side, which offers all tools.
    pub(crate) fn client(&self, limits: McpLimits) -> Mcp {
        self.client_with(limits, &[], true)
    }

    pub(crate) fn client_with(&self, limits: McpLimits, repeatable: &[&str], restart: bool) -> Mcp {
        Mcp::of(Server {
            name: "lab".to_owned(),
            endpoint: Endpoint::Memory(self.clone()),
            limits,
            names: NamePatterns::new(["*"]),
            repeatable: NamePatterns::new(repeatable.iter().copied()),
            restart,
            pinned: Mutex::default(),
            state: tokio::sync::Mutex::default(),
        })
    }

    pub(crate) fn connect(&self, tasks: &mut JoinSet<()>) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let number = self.connections.fetch_add(1, Ordering::SeqCst) + 1;
        tasks.spawn(self.clone().serve(theirs, number));
        ours
    }

    async fn serve(self, stream: DuplexStream, number: usize) {
        let (read, mut write) = tokio::io::split(stream);
        let mut lines = BufReader::new(read).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let message: Value = serde_json::from_str(&line).unwrap();
            self.received.lock().unwrap().push(message.clone());
            for act in (self.script)(&message, number).unwrap_or_else(|| self.default_answer(&message)) {
                let bytes = match act {
                    Act::Send(message) => format!("{message}\n").into_bytes(),
                    Act::Raw(bytes) => bytes,
                    Act::Wait(time) => {
                        tokio::time::sleep(time).await;
                        continue;
                    }
                    Act::Close => return,
                };
                if write.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        }
    }

    fn default_answer(&self, message: &Value) -> Vec<Act> {
        let answer = match message["method"].as_str() {
            Some("initialize") => json!({
                "protocolVersion": "2025-11-25", "capabilities": {"tools": {"listChanged": true}},
                "serverInfo": {"name": "lab", "version": "1"},
            }),
            Some("tools/list") => json!({"tools": *self.tools.lock().unwrap()}),
            Some("tools/call") => return vec![text(message, &message["params"]["arguments"].to_string())],
            _ if message.get("id").is_none() => return Vec::new(),
            _ => {
                let error = json!({"code": -32601, "message": "Method not found"});
                return vec![Act::Send(json!({"jsonrpc": "2.0", "id": message["id"], "error": error}))];
            }
        };
        vec![result(message, &answer)]
    }
}
