//! How a run ended, as JSON: the same from the command line and over HTTP.

use brigade_core::{CostSummary, Outcome, RunError, StopReason, Usage};
use serde::Serialize;

/// How a run ended. What is not known is left out.
#[derive(Debug, Serialize)]
pub(crate) struct Report<'a> {
    text: &'a str,
    stop: StopReason,
    #[serde(skip_serializing_if = "str::is_empty")]
    notice: &'a str,
    turns: u32,
    usage: Usage,
    cost: &'a CostSummary,
    degraded: Vec<Degraded<'a>>,
    elapsed_ms: u64,
    trace_id: String,
}

/// How a run failed.
#[derive(Debug, Serialize)]
pub(crate) struct Failure {
    error: String,
    cost: CostSummary,
    trace_id: String,
}

#[derive(Debug, Serialize)]
struct Degraded<'a> {
    part: &'a str,
    reason: &'a str,
}

impl<'a> Report<'a> {
    pub(crate) fn of(outcome: &'a Outcome) -> Self {
        let degraded = outcome.degraded.iter().map(|lost| Degraded { part: &lost.part, reason: &lost.reason });
        Self {
            text: &outcome.text,
            stop: outcome.stop,
            notice: &outcome.notice,
            turns: outcome.turns,
            usage: outcome.usage,
            cost: &outcome.cost,
            degraded: degraded.collect(),
            elapsed_ms: u64::try_from(outcome.elapsed.as_millis()).unwrap_or(u64::MAX),
            trace_id: outcome.trace.to_string(),
        }
    }
}

impl Failure {
    pub(crate) fn of(error: &RunError) -> Self {
        let failed = error.failed();
        Self { error: error.chain(), cost: failed.cost.clone(), trace_id: failed.trace.to_string() }
    }
}
