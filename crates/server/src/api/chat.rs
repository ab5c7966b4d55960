//! `POST /v1/chat/completions`, as documented by `OpenAI`:
//! <https://platform.openai.com/docs/api-reference/chat/create>.
//!
//! The model is the name of an agent. The agent has its own instructions and tools: a client's instructions follow the
//! agent's. A client's tools are taken if the agent accepts them; the client runs them.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use brigade_core::RunId;
use brigade_openai::{ChatBody, ChatConversation, ClientTools, ErrorCode};

use super::{
    ApiError,
    api::Api,
    chat_stream, durable_runs,
    idempotent::IdempotencyKey,
    ignored_tools,
    json_body::JsonText,
    models, openai,
    request_ids::RequestIds,
    scoped::Runner,
    start::{Durability, RunRequest},
};
use crate::runs::{idempotency::RunOfKey, run_handle::CancelOnDrop};

/// Runs the agent that `model` names. If its calls can wait for approvals, the run is stored, and goes on when they are
/// answered, also after the response has ended.
pub(crate) async fn complete(
    State(api): State<Arc<Api>>,
    Runner(caller): Runner,
    Extension(ids): Extension<RequestIds>,
    headers: HeaderMap,
    JsonText(body, text): JsonText<ChatBody>,
) -> Result<Response, ApiError> {
    let key = IdempotencyKey::of(&headers)?;
    let include_usage = body.include_usage();
    let is_streamed = body.stream == Some(true);
    let agent = models::find(&api.setup(), &body.model)?;
    let tools = if agent.accepts_client_tools { body.client_tools()? } else { ClientTools::default() };
    let mut request = request(body, &api)?;
    let ignored = request.add_client_tools(tools)?;
    if request.agent.asks_for_approvals && api.durable.is_some() {
        request.refuse_client_tools()?;
        let submission = durable_runs::chat_submission(&request, &text, &caller, ids)?;
        request.durability = Durability::Submit(Box::new(submission));
        request.hold = api.wait_in_request;
    }
    let has_schema = request.settings.output.is_some();
    let (request, events) = if is_streamed {
        let (request, events) = chat_stream::observed(request);
        (request, Some(events))
    } else {
        (request, None)
    };
    let cancel_on_disconnect = key.is_none();
    let run = match key {
        None => request.start(&api, &caller, ids).await?,
        Some(key) => {
            let start = Box::pin(request.start(&api, &caller, ids));
            match key.start_once(&api, &caller, ids, &String::from_utf8_lossy(&text), start).await? {
                RunOfKey::InMemory(run) => run,
                RunOfKey::Earlier(run) => return Err(earlier(run)),
            }
        }
    };
    drop(text);
    // If the client disconnects, the guard is dropped and the run is cancelled, unless a call waits for an approval.
    let guard = cancel_on_disconnect.then(|| CancelOnDrop::new(Arc::clone(&run)));
    if let Some(events) = events {
        let response = chat_stream::respond(run, guard, events, include_usage).await?;
        return Ok(ignored_tools::named(response, &ignored));
    }
    let end = run.wait().await;
    let outcome = openai::outcome(&run, &end)?;
    let completion = openai::completion(&run, &end, &outcome, has_schema);
    Ok(ignored_tools::named(Json(completion).into_response(), &ignored))
}

/// The answer has the form of a chat completion only while the run is in memory.
fn earlier(run: RunId) -> ApiError {
    let message = format!(
        "this idempotency key started the run {run}, whose answer is not in memory; read it at `/v1/runs/{run}`, \
         and use a new key only to start another run"
    );
    ApiError::new(StatusCode::CONFLICT, ErrorCode::RunNotKept, message)
}

/// The run that is asked for, without a stream and without tools of the client.
pub(super) fn request(body: ChatBody, api: &Api) -> Result<RunRequest, ApiError> {
    let agent = models::find(&api.setup(), &body.model)?;
    body.refuse_unsupported(agent.accepts_client_tools)?;
    let settings = body.settings(agent.agent.model_settings())?;
    let ChatConversation { instructions, task, .. } = body.conversation(agent.accepts_client_tools)?;
    Ok(RunRequest { instructions, settings, ..RunRequest::new(agent, task) })
}

#[cfg(test)]
mod tests;
