//! Resumes durable runs, and decides about steps that may have had their effect before a crash.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use brigade_core::RunId;
use brigade_durable::{Durable, Signalled};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    ApiError, access::Caller, api::Api, error_code::ErrorCode, json_body::JsonBody, path::PathId, run_view::RunView,
    runs::find, scoped::Runner,
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
