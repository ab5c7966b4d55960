//! `GET /v1/usage`: what runs have cost; with a store ever, without since this process started.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Query, State},
};
use brigade_core::Spending;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::{ApiError, Site, access::Caller};
use crate::{config::Scope, runs::history::WantedSpending, runs::totals::Post};

/// What is asked for; everything, where nothing is said.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    from: Option<Date>,
    to: Option<Date>,
    agent: Option<String>,
    model: Option<String>,
    key: Option<String>,
}

/// What it came to.
#[derive(Debug, Serialize)]
pub(crate) struct UsageList {
    total: Spending,
    data: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    #[serde(flatten)]
    post: Post,
    #[serde(flatten)]
    spending: Spending,
}

/// The spending of the caller; of everybody, for who may administrate.
pub(crate) async fn show(
    State(site): State<Arc<Site>>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<Filter>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<UsageList>, ApiError> {
    caller.require(Scope::Read)?;
    let Query(filter) = query.map_err(|error| ApiError::invalid(error.body_text()))?;
    let posts = site.past().spending(&filter.wanted(&caller)?).await?;
    let mut total = Spending::default();
    for (_, spending) in &posts {
        total += *spending;
    }
    let data = posts.into_iter().map(|(post, spending)| Line { post, spending }).collect();
    Ok(Json(UsageList { total, data }))
}

impl Filter {
    fn wanted(self, caller: &Caller) -> Result<WantedSpending, ApiError> {
        let Self { from, to, agent, model, key } = self;
        let key = caller.sees_only(key.as_deref())?;
        Ok(WantedSpending { from, to, key, agent, model })
    }
}
