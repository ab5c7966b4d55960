//! `brigade simulate`

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use brigade_config::ConfigError;
use brigade_rehearsal::{FaultPlan, Latency, PlanError, Script, SimulatedRateLimits, Simulator};
use clap::Args;
use tokio::{io::AsyncReadExt, net::TcpListener};

use crate::{exit::Exit, note, options::ListenHint, out, output};

#[derive(Debug, Args)]
#[command(after_help = include_str!("simulate_help.txt"))]
pub struct SimulateCommand {
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
    #[command(flatten)]
    _hint: ListenHint,
}

impl SimulateCommand {
    pub async fn run(self) -> anyhow::Result<Exit> {
        if !self.listen.ip().is_loopback() {
            bail!(
                "{} is not a loopback address; the simulator accepts any key, so it listens on 127.0.0.1 or [::1] only",
                self.listen
            );
        }
        let has_script = self.script.is_some() || self.demo;
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
        let calls = |number: u64| output::count(usize::try_from(number).unwrap_or(usize::MAX), "call");
        note!("{}, {} refused, {} cut", calls(totals.ended), totals.refused, totals.cut);
        if has_script && totals.echoed > 0 {
            note!("note: no rule matched {}, which got the last user message as the answer", calls(totals.echoed));
        }
        Ok(Exit::Finished)
    }

    fn simulator(&self) -> anyhow::Result<Simulator> {
        let mut builder = Simulator::builder().strict(!self.lenient);
        if self.demo {
            builder = builder.script(Script::demo());
        }
        if let Some(path) = &self.script {
            builder = builder.script(parsed(path, Script::from_toml)?);
        }
        if let Some(path) = &self.faults {
            builder = builder.faults(parsed(path, FaultPlan::from_toml)?);
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

/// Reads a file, and says where it is wrong as for a configuration.
fn parsed<T>(path: &Path, parse: impl Fn(&str) -> Result<T, PlanError>) -> anyhow::Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).map_err(|error| ConfigError::of_toml(path, &text, error.cause()).into())
}

async fn stdin_closed() {
    let (mut stdin, mut byte) = (tokio::io::stdin(), [0; 64]);
    while stdin.read(&mut byte).await.is_ok_and(|read| read > 0) {}
}
