//! `/v1/approvals`: lists the calls that wait until a person allows them, and answers them.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
};
use brigade_core::RunId;
use brigade_durable::{Answered, Approval, ApprovalAnswer, ApprovalQuery, ApprovalStatus, ApprovalView, Durable};
use brigade_openai::ErrorCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    ApiError,
    access::Caller,
    api::{Api, ApiBuilder},
    json_body::JsonBody,
    path::PathId,
    runs::MAX_PAGE_BYTES,
    scoped::{ApprovalReader, ApprovalWriter},
};
use crate::runs::approval_webhook::ApprovalWebhook;

/// The query of `GET /v1/approvals`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ApprovalListParams {
    /// Only approvals with this status.
    #[schemars(with = "Option<String>", extend("enum" = ApprovalStatus::ALL.map(ApprovalStatus::name)))]
    status: Option<ApprovalStatus>,
    /// Only approvals of the run with this id.
    #[schemars(with = "Option<String>", extend("format" = "uuid"))]
    run: Option<Uuid>,
    /// The maximum number of approvals. 20 by default.
    #[schemars(range(min = 1, max = MAX_PAGE))]
    limit: Option<usize>,
}

/// The answer to an approval.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnswerBody {
    decision: CallDecision,
    /// Why. The model reads the reason of a denial.
    #[schemars(length(max = MAX_REASON))]
    reason: Option<String>,
    /// Other arguments to make the call with, which must match the tool's schema. Only with `approve`.
    #[schemars(with = "Option<std::collections::BTreeMap<String, Value>>")]
    arguments: Option<Map<String, Value>>,
}

/// Whether the call is made.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum CallDecision {
    /// It is made.
    Approve,
    /// It is not made.
    Deny,
}

/// Approvals, the newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ApprovalList {
    #[schemars(extend("const" = "list"))]
    object: &'static str,
    data: Vec<ApprovalView>,
    has_more: bool,
}

const DEFAULT_PAGE: usize = 20;
const MAX_PAGE: usize = 100;
const MAX_REASON: usize = 2_000;

/// Lists the approvals that the caller may see.
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    ApprovalReader(caller): ApprovalReader,
    query: Result<Query<ApprovalListParams>, QueryRejection>,
) -> Result<Json<ApprovalList>, ApiError> {
    let Query(params) = query.map_err(|error| ApiError::from(&error))?;
    let limit = params.limit.unwrap_or(DEFAULT_PAGE);
    let query = params.query(&caller, limit)?;
    let mut approvals = match &api.durable {
        Some(durable) => durable.store().approvals(&query).await?,
        None => Vec::new(),
    };
    // Arguments can be long.
    let mut bytes = 0;
    let fits = |approval: &&Approval| {
        let edited = approval.answer.as_ref().and_then(|answer| answer.arguments.as_ref());
        bytes += approval.arguments.get().len() + edited.map_or(0, |arguments| arguments.get().len());
        bytes <= MAX_PAGE_BYTES
    };
    let shown = approvals.iter().take(limit).take_while(fits).count().max(1);
    let has_more = approvals.len() > shown;
    approvals.truncate(shown);
    let data = approvals.into_iter().map(ApprovalView::from).collect();
    Ok(Json(ApprovalList { object: "list", data, has_more }))
}

/// Answers an approval.
pub(crate) async fn answer(
    State(api): State<Arc<Api>>,
    ApprovalWriter(caller): ApprovalWriter,
    PathId(id): PathId,
    JsonBody(body): JsonBody<AnswerBody>,
) -> Result<Json<ApprovalView>, ApiError> {
    let (approval, durable) = find(&api, &caller, &id).await?;
    caller.require_approver(&approval.account, api.setup().four_eyes)?;
    let is_approved = body.decision == CallDecision::Approve;
    let answered = durable.answer_approval(&id, body.answer(&caller)?).await?;
    if answered == Answered::Stored {
        api.metrics.observer().approval_answered(is_approved);
    }
    match answered.refusal() {
        None => Ok(Json(find(&api, &caller, &id).await?.0.into())),
        Some(message) => Err(ApiError::new(StatusCode::CONFLICT, ErrorCode::ApprovalClosed, message)),
    }
}

/// An approval that the caller may see.
async fn find<'a>(api: &'a Api, caller: &Caller, id: &str) -> Result<(Approval, &'a Durable), ApiError> {
    let durable = api.durable.as_ref().ok_or_else(not_found)?;
    let query = ApprovalQuery::default().id(id).accounts(caller.visible_approvals());
    let found = durable.store().approvals(&query).await?.pop();
    Ok((found.ok_or_else(not_found)?, durable))
}

fn not_found() -> ApiError {
    ApiError::not_found(ErrorCode::ApprovalNotFound, "there is no approval with this id")
}

impl ApprovalListParams {
    /// The query, with one more approval, which shows whether there are more.
    fn query(&self, caller: &Caller, limit: usize) -> Result<ApprovalQuery, ApiError> {
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(ApiError::field("limit", format!("`limit` must be between 1 and {MAX_PAGE}")));
        }
        let mut query = ApprovalQuery::default().accounts(caller.visible_approvals()).limit(limit + 1);
        query.run = self.run.map(RunId::from);
        query.status = self.status;
        Ok(query)
    }
}

impl AnswerBody {
    fn answer(self, caller: &Caller) -> Result<ApprovalAnswer, ApiError> {
        let Self { decision, reason, arguments } = self;
        if reason.as_ref().is_some_and(|reason| reason.chars().count() > MAX_REASON) {
            return Err(ApiError::field("reason", format!("`reason` has more than {MAX_REASON} characters")));
        }
        let name = Arc::clone(&caller.name);
        let answer = match (decision, arguments) {
            (CallDecision::Approve, None) => ApprovalAnswer::approve(name),
            (CallDecision::Approve, Some(arguments)) => {
                ApprovalAnswer::approve(name).arguments(&Value::Object(arguments))
            }
            (CallDecision::Deny, None) => ApprovalAnswer::deny(name),
            (CallDecision::Deny, Some(_)) => {
                return Err(ApiError::field("arguments", "`arguments` belongs to the decision `approve`"));
            }
        };
        Ok(answer.reason(reason))
    }
}

/// How calls wait until a person allows them.
#[derive(Debug)]
pub(super) struct ApprovalSettings {
    pub(super) four_eyes: bool,
    pub(super) wait_in_request: Duration,
    /// Is notified of calls that begin to wait.
    pub(super) webhook: Option<ApprovalWebhook>,
}

impl Default for ApprovalSettings {
    fn default() -> Self {
        Self { four_eyes: false, wait_in_request: Duration::from_mins(1), webhook: None }
    }
}

impl ApiBuilder {
    /// Sets the webhook that is notified of calls that wait.
    pub(crate) fn approval_webhook(mut self, webhook: ApprovalWebhook) -> Self {
        self.approvals.webhook = Some(webhook);
        self
    }

    /// Sets whether the key that started a run may not approve its calls. It may by default.
    pub fn four_eyes(mut self, four_eyes: bool) -> Self {
        self.approvals.four_eyes = four_eyes;
        self
    }

    /// How long after its start a chat completion still stays open while a call waits for an approval. Then it says what the
    /// run waits for, and the run goes on without it. 60 s by default, which clients wait for an answer anyway.
    pub fn wait_in_request(mut self, wait: Duration) -> Self {
        self.approvals.wait_in_request = wait;
        self
    }
}

#[cfg(test)]
mod tests;
