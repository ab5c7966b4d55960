//! What is outside of the server: a provider, and a service that the tools call.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::{Path, State},
    http::HeaderMap,
    routing::post,
};
use brigade_rehearsal::{Latency, RunningSimulator, Script, Simulator};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

/// Three turns of the desk, two of each worker, and a tool of each effect.
const SCRIPT: &str = r#"
[[rule]]
when = { agent = "desk", turn = 0 }
answer.tool_calls = [
    { name = "clerk", arguments = '{"task":"Look it up."}' }, { name = "payer", arguments = '{"task":"Pay it."}' },
]
[[rule]]
when = { agent = "desk", turn = 1 }
answer.tool_calls = [{ name = "pay", arguments = '{"n":2}' }]
[[rule]]
when = { agent = "clerk", turn = 0 }
answer.tool_calls = [{ name = "look_up", arguments = '{}' }, { name = "put", arguments = '{}' }]
[[rule]]
when = { agent = "payer", turn = 0 }
answer.tool_calls = [{ name = "pay", arguments = '{"n":1}' }]
[[rule]]
answer.text = "Done."
"#;

/// The turns of each agent.
pub(super) const TURNS: [(&str, usize); 3] = [("desk", 3), ("clerk", 2), ("payer", 2)];

const AGENTS: &str = r#"
[agents.clerk]
model = "mini"
purpose = "Looks things up."
instructions = "Look it up."
tools = ["look_up", "put"]

[agents.payer]
model = "mini"
purpose = "Pays."
instructions = "Pay it."
tools = ["pay"]

[agents.desk]
model = "mini"
instructions = "Delegate."
tools = ["pay"]
workers = [{ agent = "clerk" }, { agent = "payer" }]
"#;

pub(super) struct World {
    pub(super) provider: RunningSimulator,
    pub(super) folder: TempDir,
    pub(super) config: String,
    /// Where the server listens; absent while there is none.
    pub(super) url: watch::Sender<Option<String>>,
    pub(super) effects: Effects,
    _service: JoinSet<()>,
}

/// The effects that the tools had, in their order.
#[derive(Debug, Clone, Default)]
pub(super) struct Effects(Arc<Mutex<Vec<ToolEffect>>>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ToolEffect {
    pub(super) trace: String,
    /// The tool, such as `pay/1`.
    pub(super) tool: String,
    pub(super) key: Option<String>,
}

impl World {
    pub(super) async fn new() -> Self {
        let mut script = Script::from_toml(SCRIPT).unwrap();
        for rule in &mut script.rules {
            (rule.answer.usage.input, rule.answer.usage.output) = (Some(120), Some(30));
        }
        // Each answer takes a while, so that kills find calls in flight.
        let latency = Latency::new(Duration::from_millis(10), Duration::from_millis(1));
        let provider = Simulator::builder().script(script).latency(latency).build().serve_locally().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (effects, service) = (Effects::default(), listener.local_addr().unwrap());
        let router = Router::new().route("/{*tool}", post(take_effect)).with_state(effects.clone());
        let serving = async move { axum::serve(listener, router).await.unwrap() };
        let tool = |name: &str, effect: &str, path: &str, input: &str| {
            format!(
                "[tools.{name}]\ndescription = \"Acts.\"\neffect = \"{effect}\"\n{input}\n[tools.{name}.http]\n\
                 method = \"POST\"\nurl = \"http://{service}/{path}\"\nallow_private = true\npropagate_trace = true\n"
            )
        };
        let number = r#"input = { type = "object", properties = { n = { type = "integer" } }, required = ["n"] }"#;
        let tools = [
            tool("look_up", "repeatable", "look_up", ""),
            tool("put", "keyed", "put", ""),
            tool("pay", "once", "pay/{n}", number),
        ];
        let config = format!(
            "store = \"{}\"\n[server]\nlisten = \"127.0.0.1:0\"\n[providers.sim]\nkind = \"compatible\"\n\
             base_url = \"{}/v1\"\nagent_header = true\npropagate_trace = true\n[models.mini]\nprovider = \"sim\"\n\
             model = \"gpt-5-mini\"\n{}{AGENTS}",
            folder.path().join("brigade.db").display(),
            provider.base_url(),
            tools.concat(),
        );
        let url = watch::Sender::new(None);
        Self { provider, folder, config, url, effects, _service: JoinSet::from_iter([serving]) }
    }
}

impl Effects {
    pub(super) fn all(&self) -> Vec<ToolEffect> {
        self.0.lock().unwrap().clone()
    }
}

/// The work before and after the effect takes a while, so that kills come between them.
async fn take_effect(State(effects): State<Effects>, Path(tool): Path<String>, headers: HeaderMap) -> &'static str {
    tokio::time::sleep(Duration::from_millis(3)).await;
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let trace = header("traceparent").unwrap().split('-').nth(1).unwrap().to_owned();
    effects.0.lock().unwrap().push(ToolEffect { trace, tool, key: header("idempotency-key") });
    tokio::time::sleep(Duration::from_millis(3)).await;
    "done"
}
