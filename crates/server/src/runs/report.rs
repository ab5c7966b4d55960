//! How a run ended, as JSON: the same from the command line and over HTTP.

use brigade_core::{CostSummary, Outcome, RunError, StopReason, Usage};
use brigade_store::RunInfo;
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

/// The same of a run that only the store knows, which keeps nothing of what was said.
#[derive(Debug, Serialize)]
pub(crate) struct KeptReport<'a> {
    stop: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    turns: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    elapsed_ms: Option<u64>,
    trace_id: &'a str,
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

impl<'a> KeptReport<'a> {
    pub(crate) fn of(run: &'a RunInfo) -> Self {
        Self {
            stop: run.outcome.as_deref().unwrap_or_default(),
            turns: run.turns,
            usage: run.tokens.map(|(input, output)| Usage::new(input, output)),
            elapsed_ms: run.elapsed_us.map(|elapsed| elapsed / 1_000),
            trace_id: &run.trace,
        }
    }
}

impl Failure {
    pub(crate) fn of(error: &RunError) -> Self {
        Self { error: error.chain(), cost: error.cost().clone(), trace_id: error.trace().to_string() }
    }
}
