//! All routes and their middleware.

use std::sync::Arc;

use axum::{
    Extension, Router,
    http::{HeaderName, header},
    middleware::{from_fn, from_fn_with_state},
    routing::{any, get, post},
};
use brigade_edge::{cors_layer, ignore_extra_slashes};
use tower_http::catch_panic::CatchPanicLayer;

use super::{
    access, api::Api, approvals, budgets, chat, error, events, head, ignored_tools, mcp, metrics, models, openapi,
    request_ids, responses, resume, runs, usage,
};

/// The headers of responses that a web page may read.
const EXPOSED_HEADERS: [HeaderName; 6] = [
    header::LOCATION,
    header::RETRY_AFTER,
    ignored_tools::IGNORED_TOOLS,
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("x-should-retry"),
    HeaderName::from_static("x-trace-id"),
];

/// All routes of the main address. A request passes the layers from the last to the first.
pub(super) fn all(api: &Arc<Api>) -> Router {
    let with_key = Router::new()
        .route("/v1/chat/completions", post(chat::complete))
        .route("/v1/responses", post(responses::create))
        .route("/v1/responses/{id}", get(responses::show).delete(responses::delete))
        .route("/v1/responses/{id}/cancel", post(responses::cancel))
        .route("/v1/responses/{id}/input_items", get(responses::input_items))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{id}", get(models::show))
        .route("/v1/runs", post(runs::create).get(runs::list))
        .route("/v1/runs/{id}", get(runs::show))
        .route("/v1/runs/{id}/events", get(events::follow))
        .route("/v1/runs/{id}/cancel", post(runs::cancel))
        .route("/v1/runs/{id}/resume", post(resume::resume))
        .route("/v1/runs/{id}/decisions", post(resume::decide))
        .route("/v1/runs/{id}/signals", post(resume::signal))
        .route("/v1/approvals", get(approvals::list))
        .route("/v1/approvals/{id}", post(approvals::answer))
        .route("/v1/usage", get(usage::show))
        .route("/v1/budgets", get(budgets::list))
        .route("/metrics", get(metrics::show))
        .route("/mcp", any(mcp::handle).layer(Extension(mcp::endpoint(api))))
        .route_layer(from_fn_with_state(Arc::clone(api), access::authenticate));
    let without_key =
        api.health().router().route("/openapi.json", get(openapi::document)).route("/docs", get(openapi::page));
    let console = if api.console { brigade_console::router() } else { Router::new() };
    let routes = with_key.merge(without_key).merge(console).method_not_allowed_fallback(error::no_such_method);
    let allowed = Arc::clone(api);
    ignore_extra_slashes(routes.fallback(error::no_such_route).with_state(Arc::clone(api)))
        .layer(from_fn_with_state(Arc::clone(api), access::check_host))
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(from_fn(head::limit))
        .layer(from_fn_with_state(Arc::clone(api), request_ids::assign))
        .layer(cors_layer(move |origin| allowed.setup().allows_origin(origin), EXPOSED_HEADERS))
}

/// Metrics and health without keys, for a separate address.
pub(super) fn metrics_and_health(api: &Arc<Api>) -> Router {
    let routes = api.health().router().route("/metrics", get(metrics::show));
    routes.layer(from_fn(head::limit)).with_state(Arc::clone(api))
}
