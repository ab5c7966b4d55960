//! The process that plays the provider.

use std::io::{self, BufRead, Write};
use std::time::Duration;

use anyhow::Result;
use brigade_rehearsal::{CallLog, CallRecord, CallTotals, Latency, SimulatedRateLimits, Simulator};
use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use crate::child::Child;
use crate::resources;
use crate::scenario::script;

/// How the provider behaves.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Options {
    /// How long every answer takes, in milliseconds.
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
    /// Keeps a record of every call.
    #[arg(long)]
    records: bool,
}

/// The provider, running in a process of its own.
#[derive(Debug)]
pub(crate) struct Provider {
    child: Child,
    base_url: String,
}

/// What the provider saw since it was last asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) calls: u64,
    /// Calls that did not get a whole answer.
    pub(crate) failed: u64,
    pub(crate) request_bytes: u64,
    /// Each call, if records are kept.
    pub(crate) records: Vec<Record>,
}

/// One call, by what must be the same for all contenders.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) agent: String,
    pub(crate) model: String,
    pub(crate) turn: usize,
    pub(crate) stream: bool,
    pub(crate) status: u16,
}

impl Options {
    /// Answers at once, and keeps no more than sums.
    pub(crate) const fn counting() -> Self {
        Self { latency_ms: 0, records: false }
    }

    pub(crate) const fn recording() -> Self {
        Self { latency_ms: 0, records: true }
    }

    pub(crate) const fn slow(latency_ms: u64) -> Self {
        Self { latency_ms, records: false }
    }
}

impl Provider {
    pub(crate) fn start(options: Options) -> Result<Self> {
        let mut arguments = vec!["simulator".to_owned(), format!("--latency-ms={}", options.latency_ms)];
        if options.records {
            arguments.push("--records".to_owned());
        }
        let mut child = Child::start("brigade-bench", &arguments)?;
        let base_url = child.answer()?;
        Ok(Self { child, base_url })
    }

    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Everything since the last time, once no call is open.
    pub(crate) fn seen(&mut self) -> Result<Seen> {
        self.child.ask(&())
    }
}

/// Plays the provider until standard input ends.
pub(crate) fn serve(options: Options) -> Result<()> {
    resources::raise_file_limit()?;
    let runtime = Runtime::new()?;
    let latency = Latency { first: Duration::from_millis(options.latency_ms), between: Duration::ZERO };
    // Limits that nobody reaches: without any, the provider would state common ones, and clients would keep to them.
    let limits = SimulatedRateLimits { requests_per_minute: Some(u32::MAX), tokens_per_minute: Some(u32::MAX) };
    let builder = Simulator::builder().script(script()).latency(latency).rate_limits(limits);
    let simulator = if options.records { builder } else { builder.count_only() }.build();
    let running = runtime.block_on(simulator.serve_locally())?;
    let mut output = io::stdout().lock();
    writeln!(output, "{}", serde_json::to_string(&running.base_url())?)?;
    let (mut before, mut told) = (CallTotals::default(), 0);
    for line in io::stdin().lock().lines() {
        line?;
        runtime.block_on(running.call_log().wait_until_idle());
        let (seen, now) = since(&before, told, running.call_log());
        (before, told) = (now, told + seen.records.len());
        writeln!(output, "{}", serde_json::to_string(&seen)?)?;
    }
    Ok(())
}

fn since(before: &CallTotals, told: usize, truth: &CallLog) -> (Seen, CallTotals) {
    let now = truth.totals();
    let failed = |totals: &CallTotals| totals.refused + totals.cut + totals.disconnected;
    let seen = Seen {
        calls: now.arrived - before.arrived,
        failed: failed(&now) - failed(before),
        request_bytes: now.request_bytes - before.request_bytes,
        records: truth.calls().into_iter().skip(told).map(Record::from).collect(),
    };
    (seen, now)
}

impl From<CallRecord> for Record {
    fn from(call: CallRecord) -> Self {
        Self {
            agent: call.agent.unwrap_or_default(),
            model: call.model,
            turn: call.turn,
            stream: call.stream,
            status: call.status,
        }
    }
}
