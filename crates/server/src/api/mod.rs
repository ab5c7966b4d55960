//! The server's HTTP interface: what `OpenAI` clients speak, Brigade's own, and health.

use std::sync::{Arc, PoisonError, RwLock};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware::{from_fn, from_fn_with_state},
    routing::{get, post},
};
use brigade_core::Observer;
use brigade_observability::MetricsHandle;
use tower_http::catch_panic::CatchPanicLayer;

use crate::{
    app::App, config, health::providers::Reach, runs::history::Past, runs::manager::Runs, runs::spans::Spans,
    runs::store::Store,
};

mod access;
mod answer;
mod body;
mod chat;
mod chat_stream;
mod error;
mod events;
mod head;
mod health;
mod idempotency;
mod ids;
mod launch;
pub(crate) mod listen;
mod models;
mod openapi;
mod path;
mod rate;
mod runs;
mod usage;

pub(crate) use access::{ANYBODY, Doors};
pub(crate) use error::ApiError;
use idempotency::OnceKeys;

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Site {
    current: RwLock<Arc<Current>>,
    pub(crate) runs: Runs,
    pub(crate) once: OnceKeys,
    pub(crate) reach: Reach,
    pub(crate) metrics: MetricsHandle,
    pub(crate) observers: Vec<Arc<dyn Observer>>,
    pub(crate) spans: Spans,
    pub(crate) store: Option<Store>,
}

/// What the configuration says now.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) app: App,
    pub(crate) doors: Doors,
    pub(crate) server: config::Server,
}

/// Who watches every run.
#[derive(Debug)]
pub(crate) struct Watchers {
    pub(crate) metrics: MetricsHandle,
    pub(crate) spans: Spans,
    pub(crate) store: Option<Store>,
    pub(crate) others: Vec<Arc<dyn Observer>>,
}

impl Site {
    pub(crate) fn new(current: Current, watchers: Watchers) -> Arc<Self> {
        let Watchers { metrics, spans, store, others: mut observers } = watchers;
        observers.push(metrics.observer());
        let runs = Runs::new(current.server.max_runs, current.server.kept_runs);
        let current = RwLock::new(Arc::new(current));
        Arc::new(Self {
            current,
            runs,
            once: OnceKeys::default(),
            reach: Reach::default(),
            metrics,
            observers,
            spans,
            store,
        })
    }

    /// What the configuration says now. A request takes it once, so that it sees one configuration to its end.
    pub(crate) fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What was run until now, and what it cost.
    pub(crate) fn past(&self) -> Past<'_> {
        Past { runs: &self.runs, store: self.store.as_ref() }
    }

    /// Answers requests from a new configuration from now on. Runs that go on keep theirs.
    pub(crate) fn replace(&self, current: Current) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(current);
    }
}

/// Everything that is served at the main address.
pub(crate) fn router(site: &Arc<Site>) -> Router {
    let body_limit = site.current().server.max_body.bytes;
    let guarded = Router::new()
        .route("/v1/chat/completions", post(chat::complete))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{id}", get(models::show))
        .route("/v1/runs", post(runs::create).get(runs::list))
        .route("/v1/runs/{id}", get(runs::show))
        .route("/v1/runs/{id}/events", get(events::follow))
        .route("/v1/runs/{id}/cancel", post(runs::cancel))
        .route("/v1/usage", get(usage::show))
        .route("/metrics", get(health::metrics))
        .route_layer(from_fn_with_state(Arc::clone(site), access::admit));
    let open = health::routes().route("/openapi.json", get(openapi::document)).route("/docs", get(openapi::page));
    guarded
        .merge(open)
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(from_fn_with_state(Arc::clone(site), access::check_host))
        .layer(DefaultBodyLimit::max(body_limit))
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(from_fn(head::bound))
        .layer(from_fn_with_state(Arc::clone(site), ids::give))
        .with_state(Arc::clone(site))
}

/// Metrics and health alone, for an address of their own.
pub(crate) fn metrics_router(site: &Arc<Site>) -> Router {
    let routes = health::routes().route("/metrics", get(health::metrics));
    routes.layer(from_fn(head::bound)).with_state(Arc::clone(site))
}
