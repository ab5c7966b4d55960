//! Resumes durable runs, sends signals to them, and decides about steps that may have had their effect before a crash.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use brigade_core::RunId;
use brigade_durable::{Durable, NewSignal, Signalled};
use brigade_openai::ErrorCode;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{
    ApiError, access::Caller, api::Api, idempotent::IdempotencyKey, json_body::JsonBody, path::PathId,
    run_view::RunView, runs::find, scoped::Runner,
};
use crate::runs::lookup::FoundRun;

/// Where a run goes on.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ResumeBody {
    /// The path of a step, such as `2/tool:1`. It and all later steps are done again, whatever effects they had. Without it,
    /// the run goes on where it ended.
    from: Option<String>,
}

/// What is done with a step that may have had its effect before a crash.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DecisionBody {
    /// The path of the step, as in `waiting.steps` of the run.
    step: String,
    decision: StepDecision,
    /// What the model reads in place of the step's output. Needed for `answer`, and for nothing else.
    answer: Option<String>,
}

/// A named signal, for which a step of the run may wait.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignalBody {
    /// The name for which the step waits.
    #[schemars(length(min = 1, max = MAX_SIGNAL_NAME))]
    name: String,
    /// What the step receives.
    #[serde(default)]
    payload: Value,
}

const MAX_SIGNAL_NAME: usize = 256;
const MAX_SIGNAL_BYTES: usize = 256 << 10;

/// What is done with the step.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum StepDecision {
    /// It is done again.
    Repeat,
    /// It is not done again.
    Answer,
}

/// Resumes a run that failed, was set aside or waits.
pub(crate) async fn resume(
    State(api): State<Arc<Api>>,
    Runner(caller): Runner,
    PathId(id): PathId,
    JsonBody(body): JsonBody<ResumeBody>,
) -> Result<Response, ApiError> {
    let (run, durable) = stored(&api, &caller, &id).await?;
    durable.resume(run, body.from.as_deref()).await?;
    accepted(&api, &caller, &id).await
}

/// Decides about a step that may have had its effect before a crash.
pub(crate) async fn decide(
    State(api): State<Arc<Api>>,
    Runner(caller): Runner,
    PathId(id): PathId,
    JsonBody(body): JsonBody<DecisionBody>,
) -> Result<Response, ApiError> {
    let (run, durable) = stored(&api, &caller, &id).await?;
    let signalled = match (body.decision, &body.answer) {
        (StepDecision::Repeat, None) => durable.repeat_step(run, &body.step).await?,
        (StepDecision::Answer, Some(answer)) => durable.answer_step(run, &body.step, answer).await?,
        (StepDecision::Repeat, Some(_)) => {
            return Err(ApiError::field("answer", "`answer` belongs to the decision `answer`"));
        }
        (StepDecision::Answer, None) => {
            return Err(ApiError::field("answer", "`answer` is missing; write what the model should read"));
        }
    };
    match signalled {
        Signalled::Stored(_) | Signalled::Same(_) => accepted(&api, &caller, &id).await,
        Signalled::Clash(_) => Err(conflict(ErrorCode::RunNotWaiting, "another decision was made about this step")),
        Signalled::Ended | Signalled::Unknown => Err(conflict(ErrorCode::RunNotWaiting, "the run has ended")),
    }
}

/// Sends a named signal to a run. With an idempotency key, the same signal again changes nothing.
pub(crate) async fn signal(
    State(api): State<Arc<Api>>,
    Runner(caller): Runner,
    PathId(id): PathId,
    headers: HeaderMap,
    JsonBody(body): JsonBody<SignalBody>,
) -> Result<Response, ApiError> {
    let signal = body.signal(IdempotencyKey::of(&headers)?)?;
    let (run, durable) = stored(&api, &caller, &id).await?;
    match durable.signal(run, signal).await? {
        Signalled::Stored(_) | Signalled::Same(_) => accepted(&api, &caller, &id).await,
        Signalled::Clash(_) => {
            Err(conflict(ErrorCode::IdempotencyKeyReused, "the run got another signal with this idempotency key"))
        }
        Signalled::Ended | Signalled::Unknown => Err(conflict(ErrorCode::RunNotWaiting, "the run has ended")),
    }
}

impl SignalBody {
    fn signal(&self, key: Option<IdempotencyKey>) -> Result<NewSignal, ApiError> {
        if !(1..=MAX_SIGNAL_NAME).contains(&self.name.chars().count()) {
            return Err(ApiError::field("name", format!("`name` must have 1 to {MAX_SIGNAL_NAME} characters")));
        }
        let signal = NewSignal::named(&self.name, &self.payload);
        let signal = signal.map_err(|error| ApiError::field("payload", format!("it is not JSON: {error}")))?;
        if signal.payload.get().len() > MAX_SIGNAL_BYTES {
            let message = format!("`payload` is larger than {MAX_SIGNAL_BYTES} bytes; send where the data is");
            return Err(ApiError::field("payload", message));
        }
        Ok(key.into_iter().fold(signal, |signal, key| signal.key(key.of_signal())))
    }
}

/// The durable run with this id, if the caller may see it.
async fn stored<'a>(api: &'a Api, caller: &Caller, id: &str) -> Result<(RunId, &'a Durable), ApiError> {
    let run = match find(api, caller, id).await? {
        FoundRun::InMemory(run) => run.id(),
        FoundRun::Stored(run) => run.info.run,
        FoundRun::Durable(run) => run.stored.id,
    };
    match &api.durable {
        Some(durable) if durable.store().find(run).await?.is_some() => Ok((run, durable)),
        _ => Err(conflict(ErrorCode::RunNotDurable, "the run was not stored when it started, so it cannot be resumed")),
    }
}

async fn accepted(api: &Api, caller: &Caller, id: &str) -> Result<Response, ApiError> {
    let found = find(api, caller, id).await?;
    Ok((StatusCode::ACCEPTED, Json(RunView::of_found(&found, found.end().as_deref()))).into_response())
}

fn conflict(code: ErrorCode, message: &str) -> ApiError {
    ApiError::new(StatusCode::CONFLICT, code, message)
}
