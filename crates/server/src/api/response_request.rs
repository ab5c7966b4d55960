//! A request for a response as a run.

use std::{collections::HashMap, sync::Arc};

use axum::http::StatusCode;
use brigade_core::{Message, RawJson, Role, RunId, Task, Transcript};
use brigade_openai::{ClientTools, ErrorCode, ResponseBody, ResponseInput, ResponseObject};
use brigade_store::StoredResponse;
use jiff::Timestamp;
use serde_json::Value;

use super::{
    ApiError,
    access::Caller,
    api::Api,
    durable_runs, models,
    request_ids::RequestIds,
    responses,
    start::{Durability, RunRequest},
};
use crate::runs::{responses::ResponseMemory, run_handle::RunHandle};

/// A response that a client asks for.
#[derive(Debug)]
pub(super) struct ResponseRequest {
    pub(super) request: RunRequest,
    /// The response before its run has done anything.
    pub(super) response: ResponseObject,
    /// Whether it is kept.
    pub(super) is_kept: bool,
    previous: Option<RunId>,
    /// The tools of the client that the agent does not have.
    pub(super) ignored_tools: Vec<String>,
}

impl ResponseRequest {
    /// Reads a request whose run has this id.
    pub(super) async fn read(api: &Api, caller: &Caller, body: ResponseBody, run: RunId) -> Result<Self, ApiError> {
        let agent = models::find(&api.setup(), &body.model)?;
        let accepts = agent.accepts_client_tools;
        body.refuse_unsupported(accepts)?;
        let tools = if accepts { body.client_tools()? } else { ClientTools::default() };
        let settings = body.settings(agent.agent.model_settings())?;
        let previous = match &body.previous_response_id {
            Some(id) => Some(previous_run(api, caller, id).await?),
            None => None,
        };
        let items = referenced_items(api, caller, &body).await?;
        let response = ResponseObject::new(&body, &settings, run, Timestamp::now().as_second());
        let is_kept = body.is_stored();
        let ResponseInput { instructions, messages: mut prior, .. } = body.input(&|id| items.get(id).cloned())?;
        if !accepts && prior.iter().any(|message| message.role() == Role::Tool) {
            let message = "the agent's own calls are not part of the conversation, and it takes no tools of clients; leave their \
                           outputs out";
            return Err(ApiError::unsupported("input", message));
        }
        let question = prior.pop_if(|last: &mut Message| last.role() == Role::User);
        let task = question.map_or_else(|| Task::resume(Transcript::new()), Task::from);
        let name = response.id.clone();
        let mut request = RunRequest {
            instructions: instructions.join("\n\n"),
            settings,
            // The session's name is unused: the memory has one conversation.
            ..RunRequest::new(agent, task.session(name))
        };
        let ignored_tools = request.add_client_tools(tools)?;
        let memory = ResponseMemory {
            responses: Arc::clone(&api.responses),
            run,
            account: Arc::clone(&caller.name),
            previous,
            prior,
            is_kept,
            client_calls: request.client_calls.clone(),
        };
        request.memory = Some(Arc::new(memory));
        Ok(Self { request, response, is_kept, previous, ignored_tools })
    }

    /// Starts the run, and keeps the response if it is to be kept. `text` is the body of the request.
    pub(super) async fn start(
        mut self,
        api: &Api,
        caller: &Caller,
        ids: RequestIds,
        text: &[u8],
    ) -> Result<Arc<RunHandle>, ApiError> {
        let waits = self.request.agent.asks_for_approvals;
        if api.durable.is_some() && (waits || self.response.background()) {
            self.request.refuse_client_tools()?;
            let submission = durable_runs::response_submission(&self.request, text, caller, ids)?;
            self.request.durability = Durability::Submit(Box::new(submission));
            self.request.hold = api.wait_in_request;
        }
        if self.is_kept {
            let json = |error: &serde_json::Error| ApiError::internal(format!("the response cannot be kept: {error}"));
            let body = durable_runs::stored_body(text)?;
            let response = RawJson::of(&self.response).map_err(|error| json(&error))?;
            let kept = StoredResponse::new(ids.run, Arc::clone(&caller.name), body, response).previous(self.previous);
            api.responses.insert(kept).await?;
        }
        let started = self.request.start(api, caller, ids).await;
        if started.is_err()
            && self.is_kept
            && let Err(error) = api.responses.delete(ids.run, None).await
        {
            tracing::warn!(run = %ids.run, "a response that did not start is still stored: {error}");
        }
        started
    }
}

/// The run of the response that a request continues.
async fn previous_run(api: &Api, caller: &Caller, id: &str) -> Result<RunId, ApiError> {
    let param = Some("previous_response_id".to_owned());
    let kept = responses::find(api, Some(&caller.name), id).await;
    let kept = kept.map_err(|error| ApiError { param: param.clone(), ..error })?;
    if responses::current(api, &kept).await?.has_ended() {
        return Ok(kept.run);
    }
    let message = "the response that this one continues is still in progress; wait until it has ended, or cancel it";
    Err(ApiError { param, ..ApiError::new(StatusCode::CONFLICT, ErrorCode::ResponseInProgress, message) })
}

/// The items of earlier responses that a request refers to, by their ids.
async fn referenced_items(api: &Api, caller: &Caller, body: &ResponseBody) -> Result<HashMap<String, Value>, ApiError> {
    let mut items = HashMap::new();
    for item in body.references() {
        if items.contains_key(item) {
            continue;
        }
        let Some(run) = ResponseObject::run_of_item(item) else { continue };
        let Some(kept) = api.responses.find(run, Some(&caller.name)).await? else { continue };
        let output = responses::current(api, &kept).await?.output;
        let output =
            output.into_iter().filter_map(|item| Some((item.id().to_owned(), serde_json::to_value(item).ok()?)));
        items.extend(output);
    }
    Ok(items)
}
