//! What `OpenAI`'s forms have no field for.

use brigade_core::{Degradation, ModelId, Money, Outcome, RunId, StopReason};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What `OpenAI`'s form has no field for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct BrigadeDetails {
    /// The id of the run, for `GET /v1/runs/{id}`.
    #[schemars(with = "String", extend("format" = "uuid"))]
    pub run_id: RunId,
    trace_id: String,
    /// `waiting` if the run has not ended: it goes on when the calls that it waits for are approved or denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["waiting"]))]
    status: Option<String>,
    /// Why the run ended; absent if it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stop: Option<StopReason>,
    /// Which limit was reached and what to do, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    notice: String,
    /// Model turns of the agent itself.
    turns: u32,
    /// The model that gave the last answer, as `provider/model`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    model: Option<ModelId>,
    /// US dollars, workers included. Zero if nothing was charged; absent only if no model had a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cost_usd: Option<Money>,
    /// Parts of the run that failed and were left out.
    degraded: Vec<Degradation>,
}

impl BrigadeDetails {
    /// The details of a run with this outcome, or of a run that `waits`.
    pub fn new(run: RunId, waits: bool, outcome: &Outcome) -> Self {
        Self {
            run_id: run,
            trace_id: outcome.trace.to_string(),
            status: waits.then(|| "waiting".to_owned()),
            stop: (!waits).then_some(outcome.stop),
            notice: outcome.notice.clone(),
            turns: outcome.turns,
            model: outcome.model.clone(),
            cost_usd: outcome.cost.total.cost(),
            degraded: outcome.degraded.clone(),
        }
    }

    pub(crate) const fn waits(&self) -> bool {
        self.status.is_some()
    }
}
