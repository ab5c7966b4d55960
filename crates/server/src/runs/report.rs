//! The result of a run as JSON, for the command line and the HTTP API.

use brigade_core::{CostSummary, Degradation, ModelId, Outcome, RunError, StopReason, TraceId, Transcript, Usage};
use brigade_store::RunInfo;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The result of a run. The store keeps text and cost details of durable runs for `retention.answers`, and none of others, so
/// a run that only the store knows may have fewer fields.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RunResult<'a> {
    /// The answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    /// Why the run ended.
    #[schemars(with = "StopReason")]
    stop: &'a str,
    /// Which limit was reached and what to do, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    notice: Option<&'a str>,
    /// Model turns of the agent itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    turns: Option<u32>,
    /// The model that gave the last answer, as `provider/model`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    model: Option<&'a ModelId>,
    /// Tokens, including workers.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<&'a CostSummary>,
    /// Parts of the run that failed and were left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    degraded: Option<&'a [Degradation]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    elapsed_ms: Option<u64>,
    trace_id: String,
}

/// The outcome of a durable run, as the store keeps it for `retention.answers`.
#[derive(Debug, Deserialize)]
pub(crate) struct StoredAnswer {
    text: String,
    stop: StopReason,
    notice: String,
    turns: u32,
    #[serde(default)]
    model: Option<ModelId>,
    usage: Usage,
    cost: CostSummary,
    degraded: Vec<Degradation>,
    elapsed_ms: u64,
    trace: TraceId,
}

impl StoredAnswer {
    /// The outcome, without its conversation.
    pub(crate) fn outcome(&self) -> Outcome {
        let mut outcome = Outcome::new(self.trace, self.stop, self.text.clone(), Transcript::new());
        outcome.notice.clone_from(&self.notice);
        (outcome.turns, outcome.usage) = (self.turns, self.usage);
        outcome.model.clone_from(&self.model);
        outcome.cost.clone_from(&self.cost);
        outcome.degraded.clone_from(&self.degraded);
        outcome
    }
}

/// A failed run.
#[derive(Debug, Serialize)]
pub(crate) struct RunFailureReport {
    error: String,
    cost: CostSummary,
    trace_id: String,
}

impl<'a> RunResult<'a> {
    pub(crate) fn of_outcome(outcome: &'a Outcome) -> Self {
        Self {
            text: Some(&outcome.text),
            stop: outcome.stop.name(),
            notice: Some(&*outcome.notice).filter(|notice| !notice.is_empty()),
            turns: Some(outcome.turns),
            model: outcome.model.as_ref(),
            usage: Some(outcome.usage),
            cost: Some(&outcome.cost),
            degraded: Some(&outcome.degraded),
            elapsed_ms: Some(u64::try_from(outcome.elapsed.as_millis()).unwrap_or(u64::MAX)),
            trace_id: outcome.trace.to_string(),
        }
    }

    pub(crate) fn of_answer(answer: &'a StoredAnswer) -> Self {
        Self {
            text: Some(&answer.text),
            stop: answer.stop.name(),
            notice: Some(&*answer.notice).filter(|notice| !notice.is_empty()),
            turns: Some(answer.turns),
            model: answer.model.as_ref(),
            usage: Some(answer.usage),
            cost: Some(&answer.cost),
            degraded: Some(&answer.degraded),
            elapsed_ms: Some(answer.elapsed_ms),
            trace_id: answer.trace.to_string(),
        }
    }

    pub(crate) fn of_stored(run: &'a RunInfo) -> Self {
        Self {
            text: None,
            stop: run.outcome.as_deref().unwrap_or_default(),
            notice: None,
            turns: run.turns,
            model: None,
            usage: run.usage,
            cost: None,
            degraded: None,
            elapsed_ms: run.elapsed_us.map(|elapsed| elapsed / 1_000),
            trace_id: run.trace.clone(),
        }
    }
}

impl RunFailureReport {
    pub(crate) fn of(error: &RunError) -> Self {
        Self { error: error.chain(), cost: error.cost().clone(), trace_id: error.trace().to_string() }
    }
}
