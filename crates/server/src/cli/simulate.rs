//! `brigade simulate`: the provider simulator as a process of its own.

use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use brigade_rehearsal::{FaultPlan, Latency, Script, SimulatedRateLimits, Simulator};
use clap::Args;
use tokio::{io::AsyncReadExt, net::TcpListener};

use crate::cli::exit::Exit;

/// Arguments of `brigade simulate`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade simulate                                   echoes what it is asked, on a free port
  brigade simulate --demo --listen 127.0.0.1:4010    plays the demo's provider
  brigade simulate --script script.toml --faults faults.toml

Point a client at the address it prints: OpenAI's protocols below /v1, Anthropic's at /v1/messages.")]
pub(crate) struct Simulate {
    /// Where to listen. Loopback only: it accepts any key
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// What is answered, as TOML rules
    #[arg(long, value_name = "FILE", conflicts_with = "demo")]
    script: Option<PathBuf>,
    /// Answers with the script of `brigade demo`
    #[arg(long)]
    demo: bool,
    /// What goes wrong, as TOML
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
    /// Waits this long before each answer, in milliseconds, where the script says nothing else
    #[arg(long, value_name = "MS", default_value_t = 0)]
    latency_ms: u64,
    /// Accepts histories that the real providers refuse
    #[arg(long)]
    lenient: bool,
    /// Enforces this many requests a minute, with the vendors' headers and 429
    #[arg(long, value_name = "N")]
    requests_per_minute: Option<u32>,
    /// Enforces this many tokens a minute, in the same way
    #[arg(long, value_name = "N")]
    tokens_per_minute: Option<u32>,
    /// Ends when standard input is closed
    #[arg(long, hide = true)]
    until_stdin_closes: bool,
}

impl Simulate {
    pub(crate) async fn run(self) -> anyhow::Result<Exit> {
        if !self.listen.ip().is_loopback() {
            bail!(
                "{} is not a loopback address; the simulator accepts any key, so it listens on 127.0.0.1 or [::1] only",
                self.listen
            );
        }
        let simulator = self.simulator()?;
        let listener = TcpListener::bind(self.listen)
            .await
            .with_context(|| format!("cannot listen on {}; is another process using it?", self.listen))?;
        let running = simulator.serve(listener)?;
        println!("{}", running.base_url());
        tokio::select! {
            signal = tokio::signal::ctrl_c() => signal.context("cannot wait for Ctrl-C")?,
            () = stdin_closed(), if self.until_stdin_closes => {}
        }
        let totals = running.call_log().totals();
        eprintln!("{} calls, {} refused, {} cut", totals.ended, totals.refused, totals.cut);
        Ok(Exit::Finished)
    }

    fn simulator(&self) -> anyhow::Result<Simulator> {
        let mut builder = Simulator::builder().strict(!self.lenient);
        if self.demo {
            builder = builder.script(Script::demo());
        }
        if let Some(path) = &self.script {
            let script = Script::from_toml(&read(path)?);
            builder = builder.script(script.with_context(|| format!("the script {}", path.display()))?);
        }
        if let Some(path) = &self.faults {
            let plan = FaultPlan::from_toml(&read(path)?);
            builder = builder.faults(plan.with_context(|| format!("the fault plan {}", path.display()))?);
        }
        if self.latency_ms > 0 {
            builder = builder.latency(Latency { first: Duration::from_millis(self.latency_ms), ..Latency::default() });
        }
        if self.requests_per_minute.is_some() || self.tokens_per_minute.is_some() {
            let limits = SimulatedRateLimits::default();
            let limits = limits.requests_per_minute(self.requests_per_minute).tokens_per_minute(self.tokens_per_minute);
            builder = builder.rate_limits(limits);
        }
        Ok(builder.build())
    }
}

fn read(path: &PathBuf) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

async fn stdin_closed() {
    let (mut stdin, mut byte) = (tokio::io::stdin(), [0; 64]);
    while stdin.read(&mut byte).await.is_ok_and(|read| read > 0) {}
}
