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
    api::Api,
    chat_body::ChatBody,
    chat_messages::Conversation,
    chat_stream, durable_runs,
    json_body::JsonText,
    models,
    openai::{self, ChatCompletion},
    request_ids::RequestIds,
    scoped::Runner,
    start::{Durability, RunRequest},
};
use crate::runs::run_handle::CancelOnDrop;

/// Runs the agent that `model` names. If its calls can wait for approvals, the run is stored, and goes on when they are
/// answered, also after the response has ended.
pub(crate) async fn complete(
    State(api): State<Arc<Api>>,
    Runner(caller): Runner,
    Extension(ids): Extension<RequestIds>,
    JsonText(body, text): JsonText<ChatBody>,
) -> Result<Response, ApiError> {
    let include_usage = body.include_usage();
    let is_streamed = body.stream == Some(true);
    let mut request = body.request(&api)?;
    if request.agent.asks_for_approvals && api.durable.is_some() {
        let submission = durable_runs::chat_submission(&request, &text, &caller, ids)?;
        request.durability = Durability::Submit(Box::new(submission));
        request.hold = api.wait_in_request;
    }
    drop(text);
    if is_streamed {
        return chat_stream::respond(&api, &caller, ids, request, include_usage).await;
    }
    let run = request.start(&api, &caller, ids).await?;
    // If the client disconnects, this future is dropped and the run is cancelled.
    let _guard = CancelOnDrop::new(Arc::clone(&run));
    let end = run.wait().await;
    let outcome = openai::outcome(&run, &end)?;
    Ok(Json(ChatCompletion::new(&run, &end, &outcome)).into_response())
}

impl ChatBody {
    /// The run that is asked for, without a stream.
    pub(super) fn request(self, api: &Api) -> Result<RunRequest, ApiError> {
        let agent = models::find(&api.setup(), &self.model)?;
        self.refuse_unsupported()?;
        let settings = self.settings(&agent)?;
        let Conversation { instructions, task } = Conversation::new(self.messages)?;
        Ok(RunRequest { instructions, settings, ..RunRequest::new(agent, task) })
    }

    fn include_usage(&self) -> bool {
        self.stream_options.as_ref().is_some_and(|options| options.0.include_usage == Some(true))
    }
}
