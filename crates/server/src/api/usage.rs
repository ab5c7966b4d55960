//! `GET /v1/usage`: what runs have cost.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use brigade_core::Spending;
use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ApiError, api::Api, scoped::Reader};
use crate::runs::{
    lookup::{UsagePage, UsageQuery},
    totals::{UsageKey, UsageSum},
};

/// The query of `GET /v1/usage`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UsageParams {
    /// Only from this day on, in UTC.
    #[schemars(with = "Option<String>", extend("format" = "date"))]
    from: Option<Date>,
    /// Only up to this day, in UTC.
    #[schemars(with = "Option<String>", extend("format" = "date"))]
    to: Option<Date>,
    /// Only this agent.
    agent: Option<String>,
    /// Only this model, as `provider/model`.
    model: Option<String>,
    /// Only this key.
    key: Option<String>,
    /// The maximum number of sums, 1,000 by default.
    #[schemars(range(min = 1, max = MAX_PAGE))]
    limit: Option<usize>,
    /// The number of sums to leave out: those of earlier pages. The newest day comes last.
    #[serde(default)]
    #[schemars(range(max = usize::MAX))]
    offset: usize,
}

/// Half a megabyte.
const MAX_PAGE: usize = 1_000;

/// Sums of spending.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "UsageReport")]
pub(crate) struct UsageReport {
    /// The sum of all pages.
    total: Spending,
    data: Vec<UsageLine>,
    has_more: bool,
}

/// What was spent on one day by one key, agent and model.
#[derive(Debug, Serialize, JsonSchema)]
struct UsageLine {
    #[serde(flatten)]
    key: UsageKey,
    #[serde(flatten)]
    spending: Spending,
}

/// Shows the spending of the caller's key, or of all keys to a caller with the scope `admin`.
pub(crate) async fn show(
    State(api): State<Arc<Api>>,
    Reader(caller): Reader,
    query: Result<Query<UsageParams>, QueryRejection>,
) -> Result<Json<UsageReport>, ApiError> {
    let Query(params) = query.map_err(|error| ApiError::from(&error))?;
    let UsageParams { from, to, agent, model, key, limit, offset } = params;
    let limit = limit.unwrap_or(MAX_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(ApiError::field("limit", format!("`limit` must be between 1 and {MAX_PAGE}")));
    }
    let key = caller.visible_key(key.as_deref())?;
    let query = UsageQuery { from, to, key, agent, model, offset, limit };
    let UsagePage { total, sums, has_more } = api.lookup().usage(&query).await?;
    let data = sums.into_iter().map(|UsageSum { key, spending }| UsageLine { key, spending }).collect();
    Ok(Json(UsageReport { total, data, has_more }))
}
