//! `/v1/runs`: start, list, show and cancel runs.

use std::{str::FromStr, sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    extract::{OriginalUri, Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use brigade_core::{Money, Observer, RunId, StopReason, Task};
use brigade_durable::RunState;
use brigade_edge::{Object, whole, without_extra_slashes};
use brigade_openai::ErrorCode;
use brigade_store::RunStatus;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    ApiError,
    access::Caller,
    api::Api,
    durable_runs,
    idempotent::IdempotencyKey,
    json_body::JsonBody,
    models,
    path::PathId,
    request_ids::RequestIds,
    run_view::{RunList, RunView, failure},
    scoped::{Reader, Runner},
    start::{CallerLimits, Durability, RunRequest},
};
use crate::runs::{
    idempotency::RunOfKey,
    lookup::{FoundRun, RunPage, RunQuery},
    run_handle::{CancelOnDrop, RunEnd, RunHandle},
};

/// A task for an agent.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunBody {
    /// The agent's name.
    pub(super) agent: String,
    /// The task.
    #[schemars(regex(pattern = r"\S"))]
    task: String,
    /// Instructions that follow the agent's own.
    #[serde(default)]
    instructions: String,
    /// The session to continue. Sessions belong to the key.
    #[schemars(length(min = 1, max = MAX_SESSION_ID))]
    session_id: Option<String>,
    /// The end user. Agents keep the notes of each user separate, and providers receive the name.
    user: Option<String>,
    /// Responds at once, while the run continues.
    #[serde(default)]
    background: bool,
    /// Adds the answer's text to the events while it is generated.
    #[serde(default)]
    stream: bool,
    /// `false`: the run is not stored, so it ends with its process, and starts even if the store fails. By default it is
    /// stored if there is a store.
    #[serde(skip_serializing_if = "Option::is_none")]
    durable: Option<bool>,
    /// Limits that are lower than the configured ones.
    #[serde(default)]
    budget: Object<RunBudget>,
    /// A time limit such as "30s" that is lower than the configured one.
    #[serde(default, with = "humantime_serde")]
    #[schemars(with = "Option<String>", regex(pattern = r"^[0-9]{1,9}(ms|s|m|h)$"))]
    timeout: Option<Duration>,
}

/// Limits that are lower than the configured ones.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct RunBudget {
    /// US dollars, as a decimal such as "0.10".
    #[serde(deserialize_with = "amount")]
    #[schemars(with = "Option<String>", regex(pattern = r"^[0-9]{1,9}(\.[0-9]{1,9})?$"))]
    usd: Option<Money>,
    #[serde(deserialize_with = "whole")]
    tokens: Option<u64>,
    #[serde(deserialize_with = "whole")]
    turns: Option<u64>,
}

/// An amount that is not negative.
fn amount<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Money>, D::Error> {
    let amount = Option::<Money>::deserialize(deserializer)?;
    if amount.is_some_and(|amount| amount < Money::ZERO) {
        return Err(de::Error::custom("an amount cannot be negative; write one such as \"0.10\""));
    }
    Ok(amount)
}

/// The query of `GET /v1/runs`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RunListParams {
    /// Only runs of this agent.
    agent: Option<String>,
    /// Only runs with this status.
    #[schemars(extend("enum" = RunStatus::ALL.map(RunStatus::name)))]
    status: Option<String>,
    /// Only runs that ended for this reason.
    #[schemars(with = "StopReason")]
    stop: Option<StopReason>,
    /// Only runs of this key. Other keys than the caller's own need the scope `admin`.
    key: Option<String>,
    /// Only runs of requests whose trace id starts with these digits: at least the eight that are on log lines.
    #[schemars(regex(pattern = r"^[0-9a-f]{8,32}$"))]
    trace: Option<String>,
    /// Only runs that started at this time or later.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    since: Option<Timestamp>,
    /// Only runs that have cost at least this many US dollars so far, as a decimal such as "0.10".
    #[serde(deserialize_with = "amount")]
    #[schemars(with = "Option<String>", regex(pattern = r"^[0-9]{1,9}(\.[0-9]{1,9})?$"))]
    min_cost_usd: Option<Money>,
    /// Only runs of this session.
    session_id: Option<String>,
    /// Only runs for this end user.
    user: Option<String>,
    /// The maximum number of runs. 20 by default. A page has fewer if they are more than 1 MiB together.
    #[schemars(range(min = 1, max = MAX_PAGE))]
    limit: Option<usize>,
    /// Only runs older than the one with this id.
    #[schemars(with = "Option<String>", extend("format" = "uuid"))]
    before: Option<Uuid>,
}

const MAX_SESSION_ID: usize = 256;

const DEFAULT_PAGE: usize = 20;
const MAX_PAGE: usize = 100;

/// A page ends at this size, but has at least one run. Answers can have megabytes.
pub(super) const MAX_PAGE_BYTES: usize = 1 << 20;

/// Starts a run, and waits for its end unless it runs in the background.
pub(crate) async fn create(
    State(api): State<Arc<Api>>,
    Runner(caller): Runner,
    Extension(ids): Extension<RequestIds>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    JsonBody(body): JsonBody<RunBody>,
) -> Result<Response, ApiError> {
    let key = IdempotencyKey::of(&headers)?;
    // If the client disconnects, this future is dropped, which cancels the run. A run continues if the client can ask for
    // it again: by its idempotency key, or by the id of a background run.
    let cancel_on_disconnect = key.is_none() && !body.background;
    let run = match key {
        None => body.start(&api, &caller, ids, None).await?,
        Some(key) => {
            let start = Box::pin(body.start(&api, &caller, ids, None));
            match key.start_once(&api, &caller, ids, &body, start).await? {
                RunOfKey::InMemory(run) => run,
                RunOfKey::Earlier(run) => return earlier(&api, &caller, run, body.background.then_some(&uri)).await,
            }
        }
    };
    if body.background {
        // A repeated request may find that its run has ended.
        let end = run.end();
        let view = Json(RunView::of(&run, end.as_deref()));
        return Ok((StatusCode::ACCEPTED, location(&uri, run.id()), view).into_response());
    }
    let _guard = cancel_on_disconnect.then(|| CancelOnDrop::new(Arc::clone(&run)));
    let end = run.wait().await;
    let view = Json(RunView::of(&run, Some(&end)));
    if let RunEnd::Suspended(_) = *end {
        return Ok((StatusCode::ACCEPTED, location(&uri, run.id()), view).into_response());
    }
    Ok(match failure(&end) {
        None => view.into_response(),
        Some(error) => (error.status, Extension(error.code), view).into_response(),
    })
}

/// Where a run in the background can be seen. The routes may be nested below another path, so it follows the path of the
/// request that started the run.
fn location(started: &Uri, run: RunId) -> [(&'static str, String); 1] {
    [("location", format!("{}/{run}", without_extra_slashes(started.path())))]
}

/// The response for a run that was started under the same idempotency key, and that only the store knows. A request for
/// a run in the background has its URL.
async fn earlier(api: &Api, caller: &Caller, run: RunId, background: Option<&Uri>) -> Result<Response, ApiError> {
    let Some(found) = api.lookup().find(run, Some(&caller.name)).await? else {
        let message =
            "the run of this idempotency key has ended and is not kept any more; use a new key to start another";
        return Err(ApiError::new(StatusCode::CONFLICT, ErrorCode::RunNotKept, message));
    };
    let end = found.end();
    let view = Json(RunView::of_found(&found, end.as_deref()));
    if let Some(started) = background {
        return Ok((StatusCode::ACCEPTED, location(started, run), view).into_response());
    }
    Ok(match &found {
        FoundRun::Durable(run) if run.stored.status != RunState::Finished => {
            (StatusCode::ACCEPTED, view).into_response()
        }
        FoundRun::Stored(run) if ApiError::of_stored(&run.info).is_some() => {
            (StatusCode::INTERNAL_SERVER_ERROR, view).into_response()
        }
        FoundRun::Stored(_) | FoundRun::Durable(_) | FoundRun::InMemory(_) => view.into_response(),
    })
}

/// Shows one run.
pub(crate) async fn show(
    State(api): State<Arc<Api>>,
    Reader(caller): Reader,
    PathId(id): PathId,
) -> Result<Response, ApiError> {
    let found = find(&api, &caller, &id).await?;
    Ok(Json(RunView::of_found(&found, found.end().as_deref())).into_response())
}

/// Cancels a run. A run that has ended stays as it is.
pub(crate) async fn cancel(
    State(api): State<Arc<Api>>,
    Runner(caller): Runner,
    PathId(id): PathId,
) -> Result<Response, ApiError> {
    let mut found = find(&api, &caller, &id).await?;
    match (&found, &api.durable) {
        (FoundRun::InMemory(run), Some(durable)) if run.is_durable() => {
            // The signal closes its approvals at once, and is there after a restart.
            let stored = durable.cancel(run.id()).await;
            run.cancel();
            stored?;
        }
        (FoundRun::InMemory(run), _) => run.cancel(),
        (FoundRun::Durable(run), Some(durable)) => {
            durable.cancel(run.stored.id).await?;
            found = find(&api, &caller, &id).await?;
        }
        (FoundRun::Durable(_) | FoundRun::Stored(_), _) => {}
    }
    Ok((StatusCode::ACCEPTED, Json(RunView::of_found(&found, found.end().as_deref()))).into_response())
}

/// Lists the runs of the caller's key, or of all keys to a caller with the scope `admin`.
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Reader(caller): Reader,
    query: Result<Query<RunListParams>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(params) = query.map_err(|error| ApiError::from(&error))?;
    let RunPage { runs, has_more } = api.lookup().list(&params.query(&caller)?).await?;
    let ends: Vec<_> = runs.iter().map(FoundRun::end).collect();
    let views = runs.iter().zip(&ends).map(|(found, end)| RunView::of_found(found, end.as_deref()));
    let (mut data, mut bytes) = (Vec::new(), 0);
    for view in views {
        bytes += serde_json::to_vec(&view).map_or(0, |json| json.len());
        if bytes > MAX_PAGE_BYTES && !data.is_empty() {
            break;
        }
        data.push(view);
    }
    let has_more = has_more || data.len() < runs.len();
    Ok(Json(RunList { object: "list", data, has_more }).into_response())
}

/// Finds a run that the caller may see.
pub(super) async fn find(api: &Api, caller: &Caller, id: &str) -> Result<FoundRun, ApiError> {
    let found = match Uuid::from_str(id) {
        Ok(id) => api.lookup().find(id.into(), caller.visible_owner()).await?,
        Err(_) => None,
    };
    found.ok_or_else(|| {
        let message = if api.store.is_some() {
            "this key has no run with this id; the store keeps runs for `retention.runs` after their end"
        } else {
            "this key has no run with this id; without a store, only the last `server.kept_runs` runs are kept"
        };
        ApiError::not_found(ErrorCode::RunNotFound, message)
    })
}

impl RunBody {
    /// The task in the arguments of a tool call.
    pub(super) fn of_tool(agent: String, mut arguments: Map<String, Value>) -> Result<Self, ApiError> {
        arguments.insert("agent".to_owned(), agent.into());
        arguments.retain(|name, _| ["agent", "task", "session_id"].contains(&name.as_str()));
        let body = serde_json::from_value(Value::Object(arguments));
        body.map_err(|error| ApiError::field("task", format!("the arguments are not valid: {error}")))
    }

    pub(super) async fn start(
        &self,
        api: &Api,
        caller: &Caller,
        ids: RequestIds,
        observer: Option<Arc<dyn Observer>>,
    ) -> Result<Arc<RunHandle>, ApiError> {
        let mut request = RunRequest { observer, ..self.request(api, caller)? };
        if api.durable.is_some() && self.durable != Some(false) {
            request.durability = Durability::Submit(Box::new(durable_runs::submission(self, caller, ids)?));
        }
        request.start(api, caller, ids).await
    }

    /// The run that is asked for.
    pub(super) fn request(&self, api: &Api, caller: &Caller) -> Result<RunRequest, ApiError> {
        let agent = models::find(&api.setup(), &self.agent)
            .map_err(|error| ApiError { param: Some("agent".to_owned()), ..error })?;
        if self.task.trim().is_empty() {
            return Err(ApiError::field("task", "`task` is empty; write what the agent should do"));
        }
        let mut task = Task::from(self.task.as_str());
        if let Some(session) = &self.session_id {
            if session.is_empty() || session.chars().count() > MAX_SESSION_ID {
                return Err(ApiError::field("session_id", "`session_id` must have 1 to 256 characters"));
            }
            // Sessions belong to a key. No name of a key contains a slash, so different pairs have different ids.
            task = task.session(format!("{}/{session}", caller.name));
        }
        let Object(RunBudget { usd, tokens, turns }) = self.budget;
        let mut request = RunRequest::new(agent, task);
        request.settings.user.clone_from(&self.user);
        Ok(RunRequest {
            instructions: self.instructions.clone(),
            limits: CallerLimits { usd, tokens, turns, wall: self.timeout },
            session: self.session_id.as_deref().map(Arc::from),
            keeps_events: true,
            deltas: self.stream,
            ..request
        })
    }
}

impl RunListParams {
    fn query(self, caller: &Caller) -> Result<RunQuery, ApiError> {
        let status = self.status.as_deref().map(parse_status).transpose()?;
        let limit = self.limit.unwrap_or(DEFAULT_PAGE);
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(ApiError::field("limit", format!("`limit` must be between 1 and {MAX_PAGE}")));
        }
        Ok(RunQuery {
            owner: caller.visible_key(self.key.as_deref())?,
            agent: self.agent,
            status,
            stop: self.stop,
            trace: self.trace.map(check_trace).transpose()?,
            since: self.since,
            min_cost: self.min_cost_usd,
            session: self.session_id,
            user: self.user,
            before: self.before.map(RunId::from),
            limit,
        })
    }
}

fn check_trace(digits: String) -> Result<String, ApiError> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if (8..=32).contains(&digits.len()) && digits.bytes().all(is_digit) {
        return Ok(digits);
    }
    Err(ApiError::field("trace", "`trace` must have 8 to 32 hexadecimal digits in lower case: the start of a trace id"))
}

fn parse_status(name: &str) -> Result<RunStatus, ApiError> {
    let known = RunStatus::ALL.into_iter().find(|status| status.name() == name);
    known.ok_or_else(|| {
        let names = RunStatus::ALL.map(RunStatus::name).join(", ");
        ApiError::field("status", format!("unknown status `{name}`; use one of {names}"))
    })
}
