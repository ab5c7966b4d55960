//! The simulator of `brigade demo`, in a process of its own.

use std::process::Stdio;

use anyhow::Context;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// A running simulator. Its process ends when this is dropped.
#[derive(Debug)]
pub struct SimulatorProcess {
    pub base_url: String,
    _process: Option<Child>,
}

impl SimulatorProcess {
    /// Uses a simulator that is running already.
    pub fn at(base_url: String) -> Self {
        Self { base_url, _process: None }
    }

    /// Starts `brigade simulate --demo` and waits for its address.
    pub async fn start() -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find the brigade program to start the simulator")?;
        let mut command = Command::new(program);
        // Ctrl-C on a terminal must not end it before the calls that are cancelled.
        #[cfg(unix)]
        command.process_group(0);
        let mut process = command
            .args(["simulate", "--demo", "--until-stdin-closes"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the simulator")?;
        let stdout = process.stdout.take().context("the simulator has no standard output")?;
        let address =
            BufReader::new(stdout).lines().next_line().await.context("cannot read the simulator's address")?;
        let base_url = address.context("the simulator ended before it listened; try `brigade simulate --demo`")?;
        Ok(Self { base_url, _process: Some(process) })
    }
}
