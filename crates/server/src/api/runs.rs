//! Brigade's own interface: runs that can be waited for, watched, found again and cancelled.

use std::{str::FromStr, sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use brigade_core::{Money, Observer, RunId, Task};
use brigade_store::{RunInfo, RunStatus};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    ApiError, Site,
    access::Caller,
    body::{JsonBody, Object},
    error::ErrorCode,
    idempotency::{self, Once},
    ids::Ids,
    launch::{Ask, Tighter},
    models,
    path::PathId,
};
use crate::{
    config::Scope,
    runs::event_log::EventLog,
    runs::history::{Found, Wanted},
    runs::manager::{CancelOnDrop, End, Record},
    runs::report::{KeptReport, Report},
};

/// A task for an agent.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunBody {
    /// The agent.
    agent: String,
    /// What it is to do.
    #[schemars(regex(pattern = r"\S"))]
    task: String,
    /// Instructions that follow the agent's own.
    #[serde(default)]
    instructions: String,
    /// The conversation that this continues. Sessions belong to the key.
    #[schemars(length(min = 1, max = LONGEST_SESSION_ID))]
    session_id: Option<String>,
    /// The person for whom it is. Agents keep the notes of each person apart, and providers are told.
    user: Option<String>,
    /// Answers at once; the run goes on.
    #[serde(default)]
    background: bool,
    /// Puts the answer's text into the events, piece by piece.
    #[serde(default)]
    stream: bool,
    /// What it may spend, where that is less than the configuration allows.
    #[serde(default)]
    budget: Object<RunBudget>,
    /// How long it may take, such as "30s", where that is less than the configuration allows.
    #[serde(default, with = "humantime_serde")]
    #[schemars(with = "Option<String>", regex(pattern = r"^[0-9]{1,9}(ms|s|m|h)$"))]
    timeout: Option<Duration>,
}

/// Limits that are tighter than the configured ones.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct RunBudget {
    /// US dollars, as a decimal such as "0.10".
    #[schemars(with = "Option<String>", regex(pattern = r"^[0-9]{1,9}(\.[0-9]{1,9})?$"))]
    usd: Option<Money>,
    tokens: Option<u64>,
    turns: Option<u64>,
}

/// A run, as it is shown.
#[derive(Debug, Serialize)]
pub(crate) struct RunView<'a> {
    id: RunId,
    object: &'static str,
    agent: &'a str,
    status: &'static str,
    began_at: Timestamp,
    trace_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Answer<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<serde_json::Value>,
    /// What it has cost until now.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_usd: Option<Money>,
}

/// How it ended.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Answer<'a> {
    Known(Report<'a>),
    /// What was said is not kept.
    Kept(KeptReport<'a>),
}

/// Which runs are asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Filter {
    agent: Option<String>,
    status: Option<String>,
    session_id: Option<String>,
    limit: Option<usize>,
    /// Only runs older than the one with this id.
    before: Option<Uuid>,
}

/// Longer ids than this are no ids.
const LONGEST_SESSION_ID: usize = 256;

/// A page, where nothing is said, and the largest.
const PAGE: usize = 20;
const LARGEST_PAGE: usize = 100;

/// Starts a run, and waits for its end unless it is to go on in the background.
pub(crate) async fn create(
    State(site): State<Arc<Site>>,
    Extension(caller): Extension<Caller>,
    (Extension(ids), headers): (Extension<Ids>, HeaderMap),
    JsonBody(body): JsonBody<RunBody>,
) -> Result<Response, ApiError> {
    let background = body.background;
    let key = idempotency::key(&headers)?;
    let ask = || body.start(&site, &caller, ids);
    // The client hanging up drops this future, and the run with it; but not a run that it may ask for again.
    let cancels = key.is_none() && !background;
    let record = match key {
        None => ask()?,
        Some(key) => site.once.run(Once::new(&caller.name, key, &body), &site.runs, ask)?,
    };
    if background {
        let location = [("location", format!("/v1/runs/{}", record.id))];
        return Ok((StatusCode::ACCEPTED, location, view(&record, None)).into_response());
    }
    let _guard = cancels.then(|| CancelOnDrop(Arc::clone(&record)));
    let end = record.ended().await;
    let shown = view(&record, Some(&end));
    Ok(match failure(&end) {
        None => shown,
        Some(error) => (error.status, Extension(ErrorCode(error.code)), shown).into_response(),
    })
}

/// One run.
pub(crate) async fn show(
    State(site): State<Arc<Site>>,
    Extension(caller): Extension<Caller>,
    PathId(id): PathId,
) -> Result<Response, ApiError> {
    match find(&site, &caller, &id).await? {
        Found::Known(record) => Ok(view(&record, record.end().as_deref())),
        Found::Kept(run) => Ok(Json(RunView::of_kept(&run)).into_response()),
    }
}

/// Tells a run to stop.
pub(crate) async fn cancel(
    State(site): State<Arc<Site>>,
    Extension(caller): Extension<Caller>,
    PathId(id): PathId,
) -> Result<Response, ApiError> {
    caller.require(Scope::Run)?;
    match find(&site, &caller, &id).await? {
        Found::Known(record) => {
            record.cancel();
            Ok((StatusCode::ACCEPTED, view(&record, record.end().as_deref())).into_response())
        }
        // It has ended.
        Found::Kept(run) => Ok((StatusCode::ACCEPTED, Json(RunView::of_kept(&run))).into_response()),
    }
}

/// The runs of the caller, the newest first; everybody's, for who may administrate.
pub(crate) async fn list(
    State(site): State<Arc<Site>>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<Filter>, QueryRejection>,
) -> Result<Response, ApiError> {
    caller.require(Scope::Read)?;
    let Query(filter) = query.map_err(|error| ApiError::invalid(error.body_text()))?;
    let (page, has_more) = site.past().list(&filter.wanted(&caller)?).await?;
    let ends: Vec<_> = page.iter().map(Found::end).collect();
    let data: Vec<_> = page.iter().zip(&ends).map(|(found, end)| RunView::of_found(found, end.as_deref())).collect();
    Ok(Json(serde_json::json!({ "object": "list", "data": data, "has_more": has_more })).into_response())
}

/// The run with this id, if the caller may see it.
pub(crate) async fn find(site: &Site, caller: &Caller, id: &str) -> Result<Found, ApiError> {
    caller.require(Scope::Read)?;
    let found = match Uuid::from_str(id) {
        Ok(id) => site.past().find(id.into()).await?,
        Err(_) => None,
    };
    found.filter(|found| caller.may_see(found.owner())).ok_or_else(|| {
        let message = "there is no run with this id; without a store, runs are remembered until newer ones take their \
                       place";
        ApiError::not_found("run_not_found", message)
    })
}

/// The error that a run ended with, if it did.
fn failure(end: &End) -> Option<ApiError> {
    match end {
        End::Outcome(_) => None,
        End::Failed(failed) => Some(failed.error.clone()),
        End::Panicked => Some(ApiError::internal("the run failed by a bug; the log says more")),
    }
}

fn view(record: &Record, end: Option<&End>) -> Response {
    Json(RunView::of(record, end)).into_response()
}

impl RunBody {
    fn start(&self, site: &Site, caller: &Caller, ids: Ids) -> Result<Arc<Record>, ApiError> {
        let served = models::find(&site.current(), &self.agent)
            .map_err(|error| ApiError { param: Some("agent".to_owned()), ..error })?;
        if self.task.trim().is_empty() {
            return Err(ApiError::field("task", "the task is empty"));
        }
        let mut task = Task::from(self.task.as_str());
        if let Some(session) = &self.session_id {
            if session.is_empty() || session.chars().count() > LONGEST_SESSION_ID {
                return Err(ApiError::field("session_id", "a session's id has 1 to 256 characters"));
            }
            // Nobody reads what others said, even if the id is guessed.
            task = task.session(format!("{}/{session}", caller.name));
        }
        let Object(RunBudget { usd, tokens, turns }) = self.budget;
        let log = EventLog::new();
        let ask = Ask {
            settings: served.settings.clone().user(self.user.clone()),
            served,
            task,
            instructions: self.instructions.clone(),
            limits: Tighter { usd, tokens, turns, wall: self.timeout },
            observer: Some(Arc::clone(&log) as Arc<dyn Observer>),
            deltas: self.stream,
            // The event of a new beginning is told.
            append_only: false,
        };
        ask.start_logged(site, caller, (ids, self.session_id.as_deref(), Some(log)))
    }
}

impl Filter {
    fn wanted(self, caller: &Caller) -> Result<Wanted, ApiError> {
        let status = self.status.as_deref().map(status_called).transpose()?;
        let limit = self.limit.unwrap_or(PAGE);
        if !(1..=LARGEST_PAGE).contains(&limit) {
            return Err(ApiError::field("limit", format!("a page has 1 to {LARGEST_PAGE} runs")));
        }
        Ok(Wanted {
            owner: caller.sees_only(None)?,
            agent: self.agent,
            status,
            session: self.session_id,
            before: self.before.map(RunId::from),
            limit,
        })
    }
}

impl<'a> RunView<'a> {
    pub(crate) fn of(record: &'a Record, end: Option<&'a End>) -> Self {
        let result = match end {
            Some(End::Outcome(outcome)) => Some(Answer::Known(Report::of(outcome))),
            Some(End::Failed(_) | End::Panicked) | None => None,
        };
        // In the form in which requests fail, so that clients find it.
        let error = end.and_then(failure).and_then(|error| error.body().get("error").cloned());
        Self {
            id: record.id,
            object: "run",
            agent: &record.agent,
            status: end.map_or(RunStatus::Running, End::status).name(),
            began_at: record.began,
            trace_id: record.trace.to_string(),
            session_id: record.session.as_deref(),
            result,
            error,
            cost_usd: record.cost().total.cost(),
        }
    }

    fn of_found(found: &'a Found, end: Option<&'a End>) -> Self {
        match found {
            Found::Known(record) => Self::of(record, end),
            Found::Kept(run) => Self::of_kept(run),
        }
    }

    /// A run that this process does not remember.
    pub(crate) fn of_kept(run: &'a RunInfo) -> Self {
        let has_outcome = matches!(run.status(), RunStatus::Ended | RunStatus::Cancelled);
        Self {
            id: run.run,
            object: "run",
            agent: &run.agent,
            status: run.status().name(),
            began_at: Timestamp::from_microsecond(run.started_us).unwrap_or_default(),
            trace_id: run.trace.clone(),
            session_id: run.session.as_deref(),
            result: has_outcome.then(|| Answer::Kept(KeptReport::of(run))),
            error: kept_failure(run),
            cost_usd: run.cost,
        }
    }
}

/// Why a run that this process does not remember did not end by itself.
fn kept_failure(run: &RunInfo) -> Option<serde_json::Value> {
    let message = match run.status() {
        RunStatus::Failed => "the run failed; its events say how",
        RunStatus::Interrupted => "the server ended before the run did",
        RunStatus::Running | RunStatus::Ended | RunStatus::Cancelled => return None,
    };
    let code = run.error.as_deref().unwrap_or(run.status().name());
    Some(serde_json::json!({ "message": message, "type": "server_error", "param": null, "code": code }))
}

fn status_called(name: &str) -> Result<RunStatus, ApiError> {
    let known = RunStatus::ALL.into_iter().find(|status| status.name() == name);
    known.ok_or_else(|| {
        let names = RunStatus::ALL.map(RunStatus::name).join(", ");
        ApiError::field("status", format!("there is no status `{name}`; there are {names}"))
    })
}
