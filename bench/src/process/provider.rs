//! The process of the simulated provider.

use std::io::{self, BufRead, Write};
use std::time::Duration;

use anyhow::Result;
use brigade_rehearsal::{CallLog, CallRecord, CallTotals, Latency, SimulatedRateLimits, Simulator};
use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use crate::process::child::Child;
use crate::process::resources;
use crate::workload::script;

/// The provider's latency, and whether it keeps records.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Options {
    /// How long every answer takes, in milliseconds.
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
    /// Keeps a record of every call.
    #[arg(long)]
    records: bool,
}

/// The provider in a process of its own.
#[derive(Debug)]
pub(crate) struct Provider {
    child: Child,
    base_url: String,
}

/// The calls since the counts were last taken.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CallCounts {
    pub(crate) calls: u64,
    /// Calls without a complete answer.
    pub(crate) failed: u64,
    pub(crate) request_bytes: u64,
    /// Each call, if records are kept.
    pub(crate) records: Vec<CallKey>,
}

/// The properties of a call that must be the same for all contenders.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct CallKey {
    pub(crate) agent: String,
    pub(crate) model: String,
    pub(crate) turn: usize,
    pub(crate) stream: bool,
    pub(crate) status: u16,
}

impl Options {
    /// Answers at once, and keeps only sums.
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

    /// Waits until no call is open, and returns the counts since the last time.
    pub(crate) fn take_counts(&mut self) -> Result<CallCounts> {
        self.child.ask(&())
    }
}

/// Runs the provider until standard input ends.
pub(crate) fn serve(options: Options) -> Result<()> {
    resources::raise_file_limit()?;
    let runtime = Runtime::new()?;
    let latency = Latency::new(Duration::from_millis(options.latency_ms), Duration::ZERO);
    // Limits that are never reached. Without them the provider would state common limits, and clients would obey them.
    let limits = SimulatedRateLimits::default().requests_per_minute(u32::MAX).tokens_per_minute(u32::MAX);
    let builder = Simulator::builder().script(script()).latency(latency).rate_limits(limits);
    let simulator = if options.records { builder } else { builder.count_only() }.build();
    let running = runtime.block_on(simulator.serve_locally())?;
    let mut output = io::stdout().lock();
    writeln!(output, "{}", serde_json::to_string(&running.base_url())?)?;
    let (mut before, mut reported) = (CallTotals::default(), 0);
    for line in io::stdin().lock().lines() {
        line?;
        runtime.block_on(running.call_log().wait_until_idle());
        let (counts, now) = since(&before, reported, running.call_log());
        (before, reported) = (now, reported + counts.records.len());
        writeln!(output, "{}", serde_json::to_string(&counts)?)?;
    }
    Ok(())
}

fn since(before: &CallTotals, reported: usize, call_log: &CallLog) -> (CallCounts, CallTotals) {
    let now = call_log.totals();
    let failed = |totals: &CallTotals| totals.refused + totals.cut + totals.disconnected;
    let counts = CallCounts {
        calls: now.arrived - before.arrived,
        failed: failed(&now) - failed(before),
        request_bytes: now.request_bytes - before.request_bytes,
        records: call_log.calls().into_iter().skip(reported).map(CallKey::from).collect(),
    };
    (counts, now)
}

impl From<CallRecord> for CallKey {
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
