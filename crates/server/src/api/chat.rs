//! `POST /v1/chat/completions`, as documented by `OpenAI`:
//! <https://platform.openai.com/docs/api-reference/chat/create>.
//!
//! The model is the name of an agent. The agent has its own instructions and tools: a client's instructions follow the
//! agent's, and a client's tools are refused.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse, Response},
};

use super::{
    ApiError,
    access::Runner,
    api::Api,
    chat_body::ChatBody,
    chat_messages::Conversation,
    chat_stream,
    json_body::JsonBody,
    models,
    openai::{self, ChatCompletion},
    request_ids::RequestIds,
    start::RunRequest,
};
use crate::runs::run_handle::CancelOnDrop;

/// Runs the agent that `model` names.
pub(crate) async fn complete(
    State(api): State<Arc<Api>>,
    Runner(caller): Runner,
    Extension(ids): Extension<RequestIds>,
    JsonBody(body): JsonBody<ChatBody>,
) -> Result<Response, ApiError> {
    let agent = models::find(&api.setup(), &body.model)?;
    body.refuse_unsupported()?;
    let settings = body.settings(&agent)?;
    let Conversation { instructions, task } = Conversation::new(body.messages)?;
    let request = RunRequest { instructions, settings, ..RunRequest::new(agent, task) };
    if body.stream == Some(true) {
        let include_usage = body.stream_options.is_some_and(|options| options.0.include_usage == Some(true));
        return chat_stream::respond(&api, &caller, ids, request, include_usage).await;
    }
    let run = request.start(&api, &caller, ids).await?;
    // If the client disconnects, this future is dropped and the run is cancelled.
    let _guard = CancelOnDrop::new(Arc::clone(&run));
    let end = run.wait().await;
    let outcome = openai::outcome(&end)?;
    Ok(Json(ChatCompletion::new(&run, outcome)).into_response())
}
