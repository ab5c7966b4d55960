//! `brigade simulate`

use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use brigade_rehearsal::{FaultPlan, Latency, Script, SimulatedRateLimits, Simulator};
use clap::Args;
use tokio::{io::AsyncReadExt, net::TcpListener};

use super::{exit::Exit, output};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade simulate                                   echoes each question, on a free port
  brigade simulate --demo --listen 127.0.0.1:4010    plays the demo's provider
  brigade simulate --script script.toml --faults faults.toml

Point a client at the address it prints: OpenAI's protocols below /v1, Anthropic's at /v1/messages. To try a configuration
without keys, there is `brigade serve --simulate`.")]
pub(super) struct SimulateCommand {
    /// The address to listen on. Loopback only, because it accepts any key
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS", value_parser = output::address)]
    listen: SocketAddr,
    /// A TOML file with rules for the answers
    #[arg(long, value_name = "FILE", conflicts_with = "demo")]
    script: Option<PathBuf>,
    /// Uses the script of `brigade demo`
    #[arg(long)]
    demo: bool,
    /// A TOML file with faults to inject
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
    /// Waits this long before each answer, in milliseconds, unless the script sets a latency
    #[arg(long, value_name = "MS", default_value_t = 0)]
    latency_ms: u64,
    /// Accepts conversations that real providers refuse
    #[arg(long)]
    lenient: bool,
    /// Limits requests per minute, with the vendors' headers and status 429
    #[arg(long, value_name = "N")]
    requests_per_minute: Option<u32>,
    /// Limits tokens per minute, in the same way
    #[arg(long, value_name = "N")]
    tokens_per_minute: Option<u32>,
    /// Ends when standard input is closed
    #[arg(long, hide = true)]
    until_stdin_closes: bool,
}

impl SimulateCommand {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
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
        out!("{}", running.base_url());
        tokio::select! {
            signal = tokio::signal::ctrl_c() => signal.context("cannot wait for Ctrl-C")?,
            () = stdin_closed(), if self.until_stdin_closes => {}
        }
        let totals = running.call_log().totals();
        note!(
            "{}, {} refused, {} cut",
            output::count(usize::try_from(totals.ended).unwrap_or(usize::MAX), "call"),
            totals.refused,
            totals.cut
        );
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
            builder = builder.latency(Latency::new(Duration::from_millis(self.latency_ms), Duration::ZERO));
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
