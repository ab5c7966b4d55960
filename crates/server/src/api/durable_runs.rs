//! Durable runs: how a request is stored, and how its run goes on in another process.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
};

use async_trait::async_trait;
use brigade_core::{RawJson, RunId, TraceId};
use brigade_durable::{
    ClaimedRun, Durable, InDoubt, RunQuery, RunStarter, RunState, RunStore, RunStoreError, StoredRun, Submission,
    WaitReason, WorkerSettings,
};
use brigade_openai::{ChatBody, ErrorCode, ResponseBody};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio_util::task::AbortOnDropHandle;

use super::{
    ApiError,
    access::Caller,
    api::Api,
    chat, json_body,
    request_ids::RequestIds,
    response_request::ResponseRequest,
    runs::RunBody,
    served_setup::Setup,
    start::{Durability, RunRequest},
};
use crate::{
    runs::approval_webhook::ApprovalWebhook,
    setup::error::{SetupContext as _, SetupError},
};

/// A request as it is stored with its run.
#[derive(Debug, Serialize, Deserialize)]
struct StoredRequest {
    /// The body of `POST /v1/runs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<RawJson>,
    /// The body of `POST /v1/chat/completions`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chat: Option<RawJson>,
    /// The body of `POST /v1/responses`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    response: Option<RawJson>,
    trace: TraceId,
    /// The trace context that the client sent.
    parent: Option<String>,
}

/// Starts the runs of processes that died, and runs that were resumed.
struct StoredRequests {
    api: Weak<Api>,
    /// All agents that were configured since the start, and those of the runs that earlier processes left. Runs of agents
    /// that are not configured any more are claimed too, so that they are set aside and do not wait for ever.
    queues: Mutex<BTreeSet<Arc<str>>>,
}

/// The store must not show what the configuration does not allow to be kept, so the text of ended runs is erased. The answer
/// stays for `retention.answers`, because its client may have been cut off.
pub(super) fn open(
    store: Arc<dyn RunStore>,
    setup: Arc<RwLock<Arc<Setup>>>,
    webhook: Option<ApprovalWebhook>,
) -> Durable {
    let settings = WorkerSettings::default().keep_content(false).keep_answer(true);
    let durable = Durable::shared(store).settings(settings).in_doubt(move |run, tool| {
        let setup = setup.read();
        setup.agents.get(&*run.queue).map_or(InDoubt::Ask, |agent| agent.policy_in_doubt(tool))
    });
    match webhook {
        Some(webhook) => durable.on_approval(move |approval| webhook.notify(approval)),
        None => durable,
    }
}

/// The run of a request, to be stored.
pub(super) fn submission(body: &RunBody, caller: &Caller, ids: RequestIds) -> Result<Submission, ApiError> {
    let stored = StoredRequest { body: Some(RawJson::of(body).map_err(|error| not_stored(&error))?), ..ids.into() };
    stored.submission(&body.agent, caller, ids)
}

/// The run of a chat, to be stored.
pub(super) fn chat_submission(
    request: &RunRequest,
    text: &[u8],
    caller: &Caller,
    ids: RequestIds,
) -> Result<Submission, ApiError> {
    let stored = StoredRequest { chat: Some(stored_body(text)?), ..ids.into() };
    stored.submission(request.agent.agent.name(), caller, ids)
}

/// The run of a response, to be stored.
pub(super) fn response_submission(
    request: &RunRequest,
    text: &[u8],
    caller: &Caller,
    ids: RequestIds,
) -> Result<Submission, ApiError> {
    let stored = StoredRequest { response: Some(stored_body(text)?), ..ids.into() };
    stored.submission(request.agent.agent.name(), caller, ids)
}

/// The body of a request as it is stored.
pub(super) fn stored_body(text: &[u8]) -> Result<RawJson, ApiError> {
    let body: Map<String, Value> = json_body::parse(text)?;
    RawJson::of(&body).map_err(|error| not_stored(&error))
}

fn not_stored(error: &serde_json::Error) -> ApiError {
    ApiError::internal(format!("the request cannot be stored: {error}"))
}

impl From<RequestIds> for StoredRequest {
    fn from(ids: RequestIds) -> Self {
        Self {
            body: None,
            chat: None,
            response: None,
            trace: ids.trace,
            parent: ids.parent.map(|parent| parent.to_string()),
        }
    }
}

impl StoredRequest {
    fn submission(&self, agent: &str, caller: &Caller, ids: RequestIds) -> Result<Submission, ApiError> {
        let request = RawJson::of(self).map_err(|error| not_stored(&error))?;
        // The task is in the request.
        let mut submission = Submission::new(agent, "").id(ids.run).extra(request);
        submission.account = Arc::clone(&caller.name);
        Ok(submission)
    }

    /// The run that was asked for; absent if another version of this server stored it.
    async fn request(&self, api: &Api, caller: &Caller, run: RunId) -> Option<Result<RunRequest, ApiError>> {
        if let Some(chat) = &self.chat {
            return Some(chat::request(serde_json::from_str::<ChatBody>(chat.get()).ok()?, api));
        }
        if let Some(response) = &self.response {
            let body = serde_json::from_str::<ResponseBody>(response.get()).ok()?;
            return Some(ResponseRequest::read(api, caller, body, run).await.map(|asked| asked.request));
        }
        Some(serde_json::from_str::<RunBody>(self.body.as_ref()?.get()).ok()?.request(api, caller))
    }
}

/// Stores a run and claims it.
pub(super) async fn start(api: &Api, submission: Submission) -> Result<Option<ClaimedRun>, ApiError> {
    let Some(durable) = &api.durable else { return Ok(None) };
    let claimed = durable.start(submission).await?;
    let taken = || {
        let message = "the run was stored, and another process has started it";
        ApiError::new(axum::http::StatusCode::CONFLICT, ErrorCode::RunNotWaiting, message)
    };
    claimed.map(Some).ok_or_else(taken)
}

/// The number of the last event that is stored of a run that goes on.
pub(super) async fn last_event(api: &Api, claimed: Option<&ClaimedRun>) -> u64 {
    /// The last events before a crash were not stored, but clients have seen their numbers.
    const UNSTORED: u64 = 1_000;
    let Some(claimed) = claimed.filter(|claimed| claimed.run().epoch > 1) else { return 0 };
    let events = api.lookup().events(claimed.run().id, 0).await.unwrap_or_default();
    events.last().map_or(0, |event| event.number) + UNSTORED
}

/// Logs the runs that an earlier process left, and spawns the task that carries them on.
pub(super) async fn spawn_worker(api: &Arc<Api>, durable: &Durable) -> Result<AbortOnDropHandle<()>, SetupError> {
    let left = UnfinishedRuns::read(durable.store().as_ref()).await.context("cannot read the stored runs")?;
    if left.total > 0 {
        let UnfinishedRuns { runs, wait, need_decision, .. } = left;
        tracing::info!("recovered runs: {runs}, waiting: {wait}, in need of a decision: {need_decision}");
    }
    let starter = StoredRequests { api: Arc::downgrade(api), queues: Mutex::new(left.queues) };
    let (durable, starter) = (durable.clone(), Arc::new(starter));
    let stop = api.runs().release().clone();
    let worker = async move { durable.work_with(starter, stop).await };
    Ok(AbortOnDropHandle::new(tokio::runtime::Handle::current().spawn(worker)))
}

/// Waits until the worker has ended. It fails only if it panicked, which is logged.
pub(super) async fn join(worker: Option<AbortOnDropHandle<()>>) {
    if let Some(worker) = worker {
        let _ = worker.await;
    }
}

/// The runs that an earlier process left.
struct UnfinishedRuns {
    total: usize,
    runs: usize,
    wait: usize,
    need_decision: usize,
    queues: BTreeSet<Arc<str>>,
}

impl UnfinishedRuns {
    async fn read(store: &dyn RunStore) -> Result<Self, RunStoreError> {
        let list = async |status| store.list(&RunQuery::default().status(status)).await;
        let (mut runs, waiting) = (list(RunState::Ready).await?, list(RunState::Waiting).await?);
        runs.extend(list(RunState::Running).await?);
        let queues = runs.iter().chain(&waiting).map(|run| Arc::clone(&run.queue)).collect();
        let reason = |run: &StoredRun| run.waiting.as_ref().map(|waiting| waiting.reason);
        let need_decision = waiting.iter().filter(|run| reason(run) == Some(WaitReason::NeedsDecision)).count();
        let wait = waiting.len() - need_decision;
        Ok(Self { total: runs.len() + waiting.len(), runs: runs.len(), wait, need_decision, queues })
    }
}

#[async_trait]
impl RunStarter for StoredRequests {
    fn queues(&self) -> Vec<Arc<str>> {
        let Some(api) = self.api.upgrade() else { return Vec::new() };
        let mut queues = self.queues.lock();
        queues.extend(api.setup().agents.keys().map(|name| Arc::from(name.as_str())));
        queues.iter().cloned().collect()
    }

    fn room(&self) -> usize {
        self.api.upgrade().map_or(0, |api| api.runs().room())
    }

    async fn start(&self, claimed: ClaimedRun) {
        let Some(api) = self.api.upgrade() else { return claimed.release().await };
        let (run, agent) = (claimed.run().id, Arc::clone(&claimed.run().queue));
        let setup = api.setup();
        if !setup.agents.contains_key(&*agent) {
            let why = format!(
                "the agent `{agent}` is not configured any more; add it again and resume the run, or cancel it"
            );
            tracing::warn!(%run, "a stored run was set aside: {why}");
            return claimed.set_aside(why).await;
        }
        let stored = claimed.task().and_then(|task| task.extra);
        let unreadable = "its request cannot be read; another version of this server stored it";
        let stored = stored.and_then(|extra| serde_json::from_str::<StoredRequest>(extra.get()).ok());
        let Some(stored) = stored else { return claimed.fail(unreadable).await };
        let Some(caller) = setup.access.named(&claimed.run().account) else {
            let why = format!("the key `{}` is not configured any more", claimed.run().account);
            return claimed.fail(why).await;
        };
        let request = match stored.request(&api, caller, run).await {
            Some(Ok(request)) => request,
            // The store may answer again later.
            Some(Err(error)) if error.status.is_server_error() => return claimed.release().await,
            Some(Err(error)) => return claimed.fail(error.message).await,
            None => return claimed.fail(unreadable).await,
        };
        let StoredRequest { trace, parent, .. } = stored;
        let request = RunRequest { durability: Durability::Claimed(Box::new(claimed)), ..request };
        let ids = RequestIds { run, trace, parent: parent.and_then(|parent| parent.parse().ok()) };
        if let Err(error) = request.start(&api, caller, ids).await {
            tracing::error!(%run, "a stored run could not be started: {}", error.message);
        }
    }
}

#[cfg(test)]
mod tests;
