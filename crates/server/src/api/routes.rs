//! All routes and their middleware.

use std::sync::Arc;

use axum::{
    Router,
    middleware::{from_fn, from_fn_with_state},
    routing::{get, post},
};
use tower_http::catch_panic::CatchPanicLayer;

use super::{
    access, api::Api, chat, cors, error, events, head, metrics, models, openapi, path, request_ids, runs, usage,
};

/// All routes of the main address. A request passes the layers from the last to the first.
pub(super) fn all(api: &Arc<Api>) -> Router {
    let with_key = Router::new()
        .route("/v1/chat/completions", post(chat::complete))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{id}", get(models::show))
        .route("/v1/runs", post(runs::create).get(runs::list))
        .route("/v1/runs/{id}", get(runs::show))
        .route("/v1/runs/{id}/events", get(events::follow))
        .route("/v1/runs/{id}/cancel", post(runs::cancel))
        .route("/v1/usage", get(usage::show))
        .route("/metrics", get(metrics::show))
        .route_layer(from_fn_with_state(Arc::clone(api), access::authenticate));
    let without_key =
        api.health().router().route("/openapi.json", get(openapi::document)).route("/docs", get(openapi::page));
    let routes =
        with_key.merge(without_key).method_not_allowed_fallback(error::no_such_method).with_state(Arc::clone(api));
    let exact = routes.clone().fallback(error::no_such_route);
    routes
        .fallback(move |request| path::route_normalized(exact.clone(), request))
        .layer(from_fn_with_state(Arc::clone(api), access::check_host))
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(from_fn(head::limit))
        .layer(from_fn_with_state(Arc::clone(api), request_ids::assign))
        .layer(cors::layer(api))
}

/// Metrics and health without keys, for a separate address.
pub(super) fn metrics_and_health(api: &Arc<Api>) -> Router {
    let routes = api.health().router().route("/metrics", get(metrics::show));
    routes.layer(from_fn(head::limit)).with_state(Arc::clone(api))
}
