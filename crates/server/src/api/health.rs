//! Health and metrics.

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::{RawQuery, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;

use super::{ApiError, Site, access::Caller};
use crate::config::Scope;

/// What anybody may ask.
pub(crate) fn routes() -> Router<Arc<Site>> {
    Router::new().route("/livez", get(live)).route("/healthz", get(live)).route("/readyz", get(ready))
}

/// The process answers. It looks at nothing else: a restart repairs no provider.
async fn live() -> &'static str {
    "ok\n"
}

/// Whether requests should be sent here.
async fn ready(State(site): State<Arc<Site>>, RawQuery(query): RawQuery) -> Response {
    let current = site.current();
    let mut checks = site.reach.checks(&current.app);
    checks.insert(
        0,
        crate::health::providers::Check::new("accepts runs", !site.runs.is_draining(), "the server is stopping"),
    );
    if let Some(store) = &site.store {
        checks.push(store.check().await);
    }
    let is_ready = checks.iter().all(|check| check.passed);
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    // Present, with whatever value.
    let is_verbose = |pair: &str| pair.split('=').next() == Some("verbose");
    if query.is_some_and(|query| query.split('&').any(is_verbose)) {
        return (status, Json(json!({ "ready": is_ready, "checks": checks }))).into_response();
    }
    (status, if is_ready { "ok\n" } else { "not ready; /readyz?verbose says why\n" }).into_response()
}

/// The metrics in the text format of Prometheus. Whoever may see everybody's runs may see them.
pub(crate) async fn metrics(
    State(site): State<Arc<Site>>,
    caller: Option<Extension<Caller>>,
) -> Result<Response, ApiError> {
    if let Some(Extension(caller)) = caller {
        caller.require(Scope::Admin)?;
    }
    let content_type = (CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
    Ok(([content_type], site.metrics.render()).into_response())
}
