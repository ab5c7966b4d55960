//! `/v1/responses`, as documented by `OpenAI`: <https://platform.openai.com/docs/api-reference/responses>.
//!
//! The model is the name of an agent, as for Chat Completions. A response is one run; its id is `resp_` and the id of the run.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use brigade_core::{Outcome, RawJson, StopReason};
use brigade_durable::RunState;
use brigade_openai::{
    BrigadeDetails, ErrorCode, FieldError, InputItemList, InputItemParams, ResponseBody, ResponseObject,
};
use brigade_store::StoredResponse;
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    ApiError,
    access::Caller,
    api::Api,
    idempotent::IdempotencyKey,
    ignored_tools,
    json_body::JsonText,
    openai,
    path::PathId,
    request_ids::RequestIds,
    response_request::ResponseRequest,
    response_stream,
    scoped::{Reader, Runner},
};
use crate::runs::{
    lookup::FoundRun,
    run_handle::{CancelOnDrop, RunEnd, RunHandle},
};

/// The answer to the deletion of a response.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DeletedResponse {
    id: String,
    #[schemars(extend("const" = "response"))]
    object: &'static str,
    deleted: bool,
}

/// Runs the agent that `model` names.
pub(crate) async fn create(
    State(api): State<Arc<Api>>,
    Runner(caller): Runner,
    Extension(ids): Extension<RequestIds>,
    headers: HeaderMap,
    JsonText(body, text): JsonText<ResponseBody>,
) -> Result<Response, ApiError> {
    if IdempotencyKey::of(&headers)?.is_some() {
        return Err(IdempotencyKey::unsupported().of_response());
    }
    respond(api, &caller, ids, (body, &text)).await.map_err(ApiError::of_response)
}

async fn respond(
    api: Arc<Api>,
    caller: &Caller,
    ids: RequestIds,
    (body, text): (ResponseBody, &[u8]),
) -> Result<Response, ApiError> {
    let is_streamed = body.stream == Some(true);
    let mut asked = ResponseRequest::read(&api, caller, body, ids.run).await?;
    let (response, is_kept) = (asked.response.clone(), asked.is_kept);
    let ignored = std::mem::take(&mut asked.ignored_tools);
    if is_streamed {
        let text_shown = response_stream::observe(&mut asked.request);
        let run = asked.start(&api, caller, ids, text).await?;
        let response = response_stream::respond(api, run, text_shown, (response, is_kept)).await?;
        return Ok(ignored_tools::named(response, &ignored));
    }
    let run = asked.start(&api, caller, ids, text).await?;
    if response.background() {
        return Ok(Json(response).into_response());
    }
    // If the client disconnects, this future is dropped and the run is cancelled.
    let _guard = CancelOnDrop::new(Arc::clone(&run));
    let end = run.wait().await;
    let ended = at_end(&api, &response, &run, &end, &[]);
    if is_kept {
        keep(
            &api,
            &run,
            &ended.clone().unwrap_or_else(|error| response.failed(&[], error.code.name(), &*error.message)),
        )
        .await;
    }
    Ok(ignored_tools::named(Json(ended?).into_response(), &ignored))
}

/// The response at the end of its run, or the error that the client gets instead. `shown` are the messages that its stream
/// has shown.
pub(super) fn at_end(
    api: &Api,
    response: &ResponseObject,
    run: &RunHandle,
    end: &RunEnd,
    shown: &[String],
) -> Result<ResponseObject, ApiError> {
    let ended = |outcome: &Outcome| {
        let waits = matches!(end, RunEnd::Suspended(_));
        response.clone().ended(shown, outcome, BrigadeDetails::new(run.id(), waits, outcome))
    };
    if let (RunEnd::Finished(outcome), Some(client)) = (end, run.client_calls())
        && let calls = client.of(outcome)
        && !calls.is_empty()
    {
        let said = if shown.is_empty() { client.text_before().into_iter().collect() } else { shown.to_vec() };
        return Ok(response.clone().calling(&said, calls, outcome, BrigadeDetails::new(run.id(), false, outcome)));
    }
    if let RunEnd::Finished(outcome) = end
        && outcome.stop == StopReason::Cancelled
    {
        return if api.runs().is_draining() { Err(ApiError::stopping()) } else { Ok(ended(outcome)) };
    }
    openai::outcome(run, end).map(|outcome| ended(&outcome)).map_err(ApiError::of_response)
}

/// Keeps the last state of a response. If that fails, the state is found by the run. A run that goes on later has none yet, also
/// if this server has notified its client that it stops.
pub(super) async fn keep(api: &Api, run: &RunHandle, response: &ResponseObject) {
    if let Some(RunEnd::Suspended(_)) = run.end().as_deref() {
        return;
    }
    let Ok(json) = RawJson::of(response) else { return };
    if let Err(error) = api.responses.update(run.id(), json).await {
        tracing::warn!(run = %run.id(), "the last state of a response was not kept: {error}");
    }
}

/// Shows a response.
pub(crate) async fn show(
    State(api): State<Arc<Api>>,
    Reader(caller): Reader,
    PathId(id): PathId,
) -> Result<Json<ResponseObject>, ApiError> {
    let kept = find(&api, caller.visible_owner(), &id).await?;
    Ok(Json(current(&api, &kept).await?))
}

/// Cancels a response. One that has ended stays as it is.
pub(crate) async fn cancel(
    State(api): State<Arc<Api>>,
    Runner(caller): Runner,
    PathId(id): PathId,
) -> Result<Json<ResponseObject>, ApiError> {
    let kept = find(&api, caller.visible_owner(), &id).await?;
    cancel_run(&api, &kept).await?;
    Ok(Json(current(&api, &kept).await?))
}

/// Cancels a response, and deletes it with its part of the conversation.
pub(crate) async fn delete(
    State(api): State<Arc<Api>>,
    Runner(caller): Runner,
    PathId(id): PathId,
) -> Result<Json<DeletedResponse>, ApiError> {
    let kept = find(&api, caller.visible_owner(), &id).await?;
    cancel_run(&api, &kept).await?;
    api.responses.delete(kept.run, caller.visible_owner()).await?;
    Ok(Json(DeletedResponse { id, object: "response", deleted: true }))
}

/// Lists the items of the request, without those of the responses that it continues.
pub(crate) async fn input_items(
    State(api): State<Arc<Api>>,
    Reader(caller): Reader,
    PathId(id): PathId,
    query: Result<Query<InputItemParams>, QueryRejection>,
) -> Result<Json<InputItemList>, ApiError> {
    let Query(params) = query.map_err(|error| ApiError::from(&error))?;
    let kept = find(&api, caller.visible_owner(), &id).await?;
    let refused = |error: FieldError| match ApiError::from(error) {
        // The item is what does not exist.
        error if error.param.as_deref() == Some("after") => ApiError { status: StatusCode::NOT_FOUND, ..error },
        error => error,
    };
    InputItemList::of(&kept.request, kept.run, &params).map(Json).map_err(refused)
}

/// Finds a response of this account, or of any if it is absent.
pub(super) async fn find(api: &Api, account: Option<&str>, id: &str) -> Result<StoredResponse, ApiError> {
    let found = match ResponseObject::run_of(id) {
        Some(run) => api.responses.find(run, account).await?,
        None => None,
    };
    let message = "this key has no response with this id; one is kept unless its request has `\"store\": false`, for \
                   `retention.sessions` or 30 days with a store, and without one while it is among the newest 1,000";
    found.ok_or_else(|| ApiError::not_found(ErrorCode::ResponseNotFound, message))
}

/// Cancels the run, and waits until it has ended if it is at work in this process: it ends at once.
async fn cancel_run(api: &Api, kept: &StoredResponse) -> Result<(), ApiError> {
    match (api.lookup().find(kept.run, None).await?, &api.durable) {
        (Some(FoundRun::InMemory(run)), _) => {
            run.cancel();
            run.wait().await;
        }
        (Some(FoundRun::Durable(run)), Some(durable)) => {
            durable.cancel(run.stored.id).await?;
        }
        (Some(FoundRun::Durable(_) | FoundRun::Stored(_)) | None, _) => {}
    }
    Ok(())
}

/// The present state of a response.
pub(super) async fn current(api: &Api, kept: &StoredResponse) -> Result<ResponseObject, ApiError> {
    let response: ResponseObject = serde_json::from_str(kept.response.get())
        .map_err(|error| ApiError::internal(format!("the response was kept by another version: {error}")))?;
    if response.has_ended() {
        return Ok(response);
    }
    let answered = |answer: &crate::runs::report::StoredAnswer| {
        let outcome = answer.outcome();
        response.clone().ended(&[], &outcome, BrigadeDetails::new(kept.run, false, &outcome))
    };
    let failed = |error: &ApiError| response.clone().failed(&[], error.code.name(), &*error.message);
    let state = match api.lookup().find(kept.run, None).await? {
        Some(FoundRun::InMemory(run)) => match run.end() {
            Some(end) if let RunEnd::Suspended(_) = *end => {
                return Ok(at_end(api, &response, &run, &end, &[]).unwrap_or(response));
            }
            Some(end) => at_end(api, &response, &run, &end, &[]).unwrap_or_else(|error| failed(&error)),
            None => return Ok(response),
        },
        Some(FoundRun::Durable(run)) => match (&run.answer, &run.stored.error) {
            (Some(answer), _) => answered(answer),
            (None, Some(error)) if run.stored.status == RunState::Failed => failed(&ApiError::internal(error)),
            (None, _) if !run.stored.status.is_ended() || run.stored.status == RunState::SetAside => {
                return Ok(response);
            }
            (None, _) => failed(&not_kept()),
        },
        Some(FoundRun::Stored(run)) => match &run.answer {
            Some(answer) => answered(answer),
            None => failed(&ApiError::of_stored(&run.info).unwrap_or_else(not_kept)),
        },
        None => failed(&not_kept()),
    };
    if let Ok(json) = RawJson::of(&state) {
        api.responses.update(kept.run, json).await?;
    }
    Ok(state)
}

fn not_kept() -> ApiError {
    let message =
        "the process that worked on the response has ended, and its answer was not kept; send the request again";
    ApiError { code: ErrorCode::Interrupted, ..ApiError::internal(message) }
}
