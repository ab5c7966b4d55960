//! A run as clients see it.

use axum::http::StatusCode;
use brigade_core::{Money, RunId};
use brigade_durable::{RunState, WaitReason, Waiting};
use brigade_openai::ErrorCode;
use brigade_store::RunStatus;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::{ApiError, error::ErrorDetails};
use crate::runs::{
    lookup::{DurableRun, FoundRun, RecordedRun},
    report::RunResult,
    run_handle::{RunEnd, RunHandle},
};

/// A run.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Run")]
pub(crate) struct RunView<'a> {
    #[schemars(with = "String", extend("format" = "uuid"))]
    id: RunId,
    #[schemars(extend("const" = "run"))]
    object: &'static str,
    agent: &'a str,
    /// The name of the key that started the run.
    key: &'a str,
    /// The end user that the request named.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    /// `ready`: it goes on as soon as there is room. `waiting`: it goes on when what it waits for has come. `set_aside`: it
    /// ended its process too often, and goes on when it is resumed.
    #[schemars(extend("enum" = statuses()))]
    status: &'static str,
    /// Whether the run survives the end of its process. Absent if it has ended in another process.
    #[serde(skip_serializing_if = "Option::is_none")]
    durable: Option<bool>,
    /// What the run waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<WaitingView<'a>>,
    #[schemars(with = "String", extend("format" = "date-time"))]
    began_at: Timestamp,
    trace_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<RunResult<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorDetails>,
    /// What the run has cost so far, in US dollars. Zero if nothing was charged; absent only if no model had a price.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_usd: Option<Money>,
    /// The most that the run may cost, in US dollars. Absent if it has no limit, or is only in the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_usd: Option<Money>,
    /// Requests that were sent to providers so far, by the run and its workers. Absent if it is only in the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    calls: Option<u64>,
    /// Tokens of answered requests so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<u64>,
    /// Requests that were retried. Absent if this process did not keep the events of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    retries: Option<u64>,
}

/// A page of runs, the newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RunList<'a> {
    #[schemars(extend("const" = "list"))]
    pub(super) object: &'static str,
    pub(super) data: Vec<RunView<'a>>,
    pub(super) has_more: bool,
}

/// What a run waits for.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Waiting")]
struct WaitingView<'a> {
    #[schemars(extend("enum" = WaitReason::ALL.map(WaitReason::name)))]
    reason: &'static str,
    /// The paths of the steps that wait.
    steps: &'a [String],
    /// A sentence for people.
    note: &'a str,
}

impl<'a> RunView<'a> {
    pub(super) fn of(run: &'a RunHandle, end: Option<&'a RunEnd>) -> Self {
        let result = match end {
            Some(RunEnd::Finished(outcome)) => Some(RunResult::of_outcome(outcome)),
            Some(RunEnd::Failed(_) | RunEnd::Panicked | RunEnd::Suspended(_)) | None => None,
        };
        let waiting = match end {
            Some(RunEnd::Suspended(suspended)) => suspended.waiting.as_ref(),
            Some(RunEnd::Finished(_) | RunEnd::Failed(_) | RunEnd::Panicked) | None => None,
        };
        let status = match end {
            Some(RunEnd::Suspended(_)) if waiting.is_some() => RunState::Waiting.name(),
            Some(RunEnd::Suspended(_)) => RunState::Ready.name(),
            Some(end) => end.status().name(),
            None => RunStatus::Running.name(),
        };
        let total = run.cost().total;
        Self {
            id: run.id(),
            object: "run",
            agent: run.agent(),
            key: run.owner(),
            user: run.user(),
            status,
            durable: Some(run.is_durable()),
            waiting: waiting.map(WaitingView::of),
            began_at: run.started(),
            trace_id: run.trace().to_string(),
            session_id: run.session(),
            result,
            error: end.and_then(failure).map(|error| error.details()),
            cost_usd: total.cost(),
            limit_usd: run.limit(),
            calls: Some(total.calls),
            tokens: Some(total.usage.total_tokens()),
            retries: run.events().map(|events| events.retries()),
        }
    }

    pub(super) fn of_found(found: &'a FoundRun, end: Option<&'a RunEnd>) -> Self {
        match found {
            FoundRun::InMemory(run) => Self::of(run, end),
            FoundRun::Stored(run) => Self::of_stored(run),
            FoundRun::Durable(run) => Self::of_durable(run),
        }
    }

    /// A run that is only in the store.
    pub(super) fn of_stored(RecordedRun { info: run, answer }: &'a RecordedRun) -> Self {
        let result = || answer.as_ref().map_or_else(|| RunResult::of_stored(run), RunResult::of_answer);
        let has_outcome = matches!(run.status(), RunStatus::Ended | RunStatus::Cancelled);
        Self {
            id: run.run,
            object: "run",
            agent: &run.agent,
            key: &run.account,
            user: run.user.as_deref(),
            status: run.status().name(),
            durable: None,
            waiting: None,
            began_at: Timestamp::from_microsecond(run.started_us).unwrap_or_default(),
            trace_id: run.trace.clone(),
            session_id: run.session.as_deref(),
            result: has_outcome.then(result),
            error: ApiError::of_stored(run).map(|error| error.details()),
            cost_usd: run.cost,
            limit_usd: None,
            calls: None,
            tokens: run.usage.map(|usage| usage.total_tokens()),
            retries: None,
        }
    }

    /// A durable run that is not at work in this process.
    pub(super) fn of_durable(run: &'a DurableRun) -> Self {
        let DurableRun { stored, request, answer } = run;
        let status = match stored.status {
            RunState::Finished => RunStatus::Ended.name(),
            RunState::Running => RunStatus::Running.name(),
            RunState::Failed => RunStatus::Failed.name(),
            RunState::Cancelled => RunStatus::Cancelled.name(),
            other => other.name(),
        };
        let failed = |message: &String| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Failed, &**message);
        Self {
            id: stored.id,
            object: "run",
            agent: &stored.queue,
            key: &stored.account,
            user: request.body.user.as_deref(),
            status,
            durable: Some(true),
            waiting: stored.waiting.as_ref().map(WaitingView::of),
            began_at: stored.submitted_at,
            trace_id: request.trace.map(|trace| trace.to_string()).unwrap_or_default(),
            session_id: request.body.session_id.as_deref(),
            result: answer.as_ref().map(RunResult::of_answer),
            error: stored.error.as_ref().map(|error| failed(error).details()),
            cost_usd: stored.cost.cost(),
            limit_usd: None,
            calls: Some(stored.cost.calls),
            tokens: Some(stored.cost.usage.total_tokens()),
            retries: None,
        }
    }
}

impl<'a> WaitingView<'a> {
    fn of(waiting: &'a Waiting) -> Self {
        Self { reason: waiting.reason.name(), steps: &waiting.paths, note: &waiting.note }
    }
}

/// The names of all statuses.
fn statuses() -> Vec<&'static str> {
    let suspended = [RunState::Ready, RunState::SetAside].map(RunState::name);
    RunStatus::ALL.map(RunStatus::name).into_iter().chain(suspended).collect()
}

/// The error of a run that failed.
pub(super) fn failure(end: &RunEnd) -> Option<ApiError> {
    match end {
        RunEnd::Finished(_) | RunEnd::Suspended(_) => None,
        RunEnd::Failed(error) => Some(ApiError::from(error)),
        RunEnd::Panicked => Some(ApiError::panicked()),
    }
}
