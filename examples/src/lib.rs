//! What the examples share: a way to run without keys.
//!
//! Each example reads its keys from `OPENAI_API_KEY` and `ANTHROPIC_API_KEY`, as any program does. Where they are not
//! set, [`run`] starts a simulated provider and runs the example again, with the simulator's address in its environment.

use std::env;

use anyhow::{Context, ensure};
use brigade_rehearsal::{Script, Simulator};

/// Runs `example` with the keys of the environment, or else against a simulator that answers from `script`.
pub async fn run(script: Script, example: impl AsyncFnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let has_keys = ["OPENAI_API_KEY", "ANTHROPIC_API_KEY"].iter().all(|key| env::var_os(key).is_some());
    if has_keys {
        return example().await;
    }
    let simulator = Simulator::builder().script(script).build().serve_locally().await?;
    let base_url = simulator.base_url();
    eprintln!("No keys are set, so the provider is simulated, and so are the answers.\n");
    let status = tokio::process::Command::new(env::current_exe().context("cannot find this program")?)
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
