//! `GET /metrics`.

use std::sync::Arc;

use axum::{
    Extension,
    extract::State,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use brigade_config::KeyScope;

use super::{ApiError, access::Caller, api::Api};

/// Metrics in the text format of Prometheus. They cover all keys, so a caller needs the scope `admin`. At the separate
/// address for metrics there is no caller.
pub(crate) async fn show(State(api): State<Arc<Api>>, caller: Option<Extension<Caller>>) -> Result<Response, ApiError> {
    if let Some(Extension(caller)) = caller {
        caller.require(KeyScope::Admin)?;
    }
    let content_type = (CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
    Ok(([content_type], api.metrics.render()).into_response())
}
