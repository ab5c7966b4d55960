//! What the examples share: a way to run without keys, and stand-ins for tools.
//!
//! Each example reads its keys from `OPENAI_API_KEY` and `ANTHROPIC_API_KEY`, as any program does. If they are not set,
//! [`run`] starts a simulated provider and runs the example again, with the simulator's address in its environment.

#[cfg(doctest)]
mod readmes;

use std::env;

use anyhow::{Context, ensure};
use axum::Router;
use brigade_core::{Tool, ToolOutput, tool_fn};
use brigade_rehearsal::{AgentMatcher, RequestMatcher, Script, ScriptedAnswer, ScriptedToolCall, Simulator, demo};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::{net::TcpListener, task::JoinSet};

/// Runs `example` with the keys of the environment, or else against a simulator that answers from `script`.
pub async fn run(script: Script, example: impl AsyncFnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let has_keys = ["OPENAI_API_KEY", "ANTHROPIC_API_KEY"].iter().all(|key| env::var_os(key).is_some());
    if has_keys {
        return example().await;
    }
    let simulator = Simulator::builder().script(script).build().serve_locally().await?;
    let base_url = simulator.base_url();
    eprintln!("No keys are set, so a simulator answers.\n");
    let status = tokio::process::Command::new(env::current_exe().context("cannot find this program")?)
        .args(env::args_os().skip(1))
        .env("OPENAI_API_KEY", "simulated")
        .env("OPENAI_BASE_URL", format!("{base_url}/v1"))
        .env("ANTHROPIC_API_KEY", "simulated")
        .env("ANTHROPIC_BASE_URL", base_url)
        .kill_on_drop(true)
        .status()
        .await?;
    ensure!(status.success(), "the example failed: {status}");
    Ok(())
}

/// Serves `routes` at the address in `LISTEN`, by default a free port of this machine, until the result is dropped.
pub async fn serve(routes: Router) -> anyhow::Result<JoinSet<std::io::Result<()>>> {
    let listener = TcpListener::bind(env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:0".to_owned())).await?;
    eprintln!("http://{}", listener.local_addr()?);
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, routes).await });
    Ok(server)
}

#[derive(Deserialize, JsonSchema)]
struct Search {
    /// What to search for.
    query: String,
}

#[derive(Deserialize, JsonSchema)]
struct Calculation {
    /// Numbers with `+`, `-` and `*`.
    expression: String,
}

/// A tool that stands in for a search engine.
pub fn search() -> impl Tool {
    tool_fn("search", "Searches the web.", |Search { query }, _| async move {
        Ok(ToolOutput::text(format!("{query}:\n{}", demo::SEARCH_RESULT)))
    })
}

/// A tool that stands in for a calculator.
pub fn calculator() -> impl Tool {
    tool_fn("calculate", "Adds and multiplies numbers.", |Calculation { expression }, _| async move {
        Ok(ToolOutput::text(format!("{expression} = 345.90")))
    })
}

/// The simulator's answers for a supervisor `desk` with the workers `researcher` and `estimator`.
pub fn two_workers() -> Script {
    let turn = |agent: &str, turn: usize| RequestMatcher::default().agent(agent).turn(turn);
    let call = |tool: &str, arguments: &str| ScriptedToolCall::new(tool, arguments);
    let delegation = [
        call("researcher", r#"{"task":"Compare the guarantees of SQS and Kafka."}"#),
        call("estimator", r#"{"task":"Estimate the monthly cost of both at 120 million messages."}"#),
    ];
    ["desk", "researcher", "estimator"]
        .into_iter()
        .fold(Script::default(), |script, name| script.agent(AgentMatcher::by_system(name, format!("You are {name}"))))
        .rule(turn("desk", 0), ScriptedAnswer::calls(delegation))
        .rule(turn("researcher", 0), ScriptedAnswer::calls([call("search", r#"{"query":"SQS Kafka guarantees"}"#)]))
        .rule(turn("estimator", 0), ScriptedAnswer::calls([call("calculate", r#"{"expression":"489.90 - 144"}"#)]))
        .rule(
            RequestMatcher::default(),
            ScriptedAnswer::text("Stay on SQS: nothing needs a replay, and it costs less."),
        )
}
