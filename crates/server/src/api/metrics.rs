//! `GET /metrics`.

use std::sync::Arc;

use axum::{
    Extension,
    extract::State,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use brigade_config::KeyScope;
use brigade_durable::{ApprovalQuery, ApprovalStatus};

use super::{ApiError, access::Caller, api::Api};

/// The most approvals that are counted, because each is read with its arguments.
const MOST_APPROVALS: usize = 1_000;

/// Metrics in the text format of Prometheus. They cover all keys, so a caller needs the scope `admin`. At the separate
/// address for metrics there is no caller.
pub(crate) async fn show(State(api): State<Arc<Api>>, caller: Option<Extension<Caller>>) -> Result<Response, ApiError> {
    if let Some(Extension(caller)) = caller {
        caller.require(KeyScope::Admin)?;
    }
    if let Some(durable) = &api.durable {
        let pending = ApprovalQuery::default().status(ApprovalStatus::Pending).limit(MOST_APPROVALS);
        // If the store fails, the gauge keeps its value, and other metrics say so.
        if let Ok(pending) = durable.store().approvals(&pending).await {
            api.metrics.observer().approvals_pending(pending.len() as u64);
        }
    }
    let content_type = (CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
    Ok(([content_type], api.metrics.render()).into_response())
}
