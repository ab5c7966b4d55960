//! Health checks and their HTTP routes.

use std::{fmt::Debug, sync::Arc};

use async_trait::async_trait;
use axum::{
    Json, Router,
    extract::{RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use futures::future::join_all;
use schemars::JsonSchema;
use serde::Serialize;

/// A condition that must hold before a process should get requests. [`Health`] has an example.
#[async_trait]
pub trait HealthCheck: Debug + Send + Sync + 'static {
    /// Checks the condition now. One check may report several results.
    async fn check(&self) -> Vec<CheckResult>;
}

/// The result of a health check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct CheckResult {
    /// The name of the check.
    pub name: String,
    /// Whether the condition holds.
    pub passed: bool,
    /// True if the process should get requests although the condition does not hold, because only a part of them fails.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub degraded: bool,
    /// Why the check failed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// All results of a readiness check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Readiness {
    /// True if all checks passed, or failed only for a part of the requests.
    pub ready: bool,
    /// The results of all checks.
    pub checks: Vec<CheckResult>,
}

/// Health checks that can be mounted in any axum application.
///
/// `/livez` and `/healthz` report that the process answers; they run no checks, because restarting a process does not
/// repair what it depends on. `/readyz` runs all checks and answers 200 or 503; `/readyz?verbose` lists the results. A
/// failure that affects only a part of the requests is listed, and the answer is still 200.
///
/// ```
/// use brigade_edge::{CheckResult, Health, HealthCheck, async_trait};
///
/// #[derive(Debug)]
/// struct Queue;
///
/// #[async_trait]
/// impl HealthCheck for Queue {
///     async fn check(&self) -> Vec<CheckResult> {
///         vec![CheckResult::passed("queue")]
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let health = Health::new().check(Queue);
/// assert!(health.readiness().await.ready);
/// let app: axum::Router = axum::Router::new().merge(health.router());
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Health {
    checks: Vec<Arc<dyn HealthCheck>>,
}

impl CheckResult {
    /// The condition holds.
    pub fn passed(name: impl Into<String>) -> Self {
        Self { name: name.into(), passed: true, degraded: false, reason: String::new() }
    }

    /// The condition does not hold.
    pub fn failed(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { name: name.into(), passed: false, degraded: false, reason: reason.into() }
    }

    /// The condition does not hold, but the process should still get requests.
    pub fn degraded(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { degraded: true, ..Self::failed(name, reason) }
    }
}

impl Health {
    /// Health without checks: always ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check.
    #[must_use]
    pub fn check(self, check: impl HealthCheck) -> Self {
        self.shared_check(Arc::new(check))
    }

    /// Adds a check that the caller goes on using.
    #[must_use]
    pub fn shared_check(mut self, check: Arc<dyn HealthCheck>) -> Self {
        self.checks.push(check);
        self
    }

    /// Runs all checks at the same time.
    pub async fn readiness(&self) -> Readiness {
        let checks: Vec<_> = join_all(self.checks.iter().map(|check| check.check())).await;
        let checks: Vec<_> = checks.into_iter().flatten().collect();
        Readiness { ready: checks.iter().all(|check| check.passed || check.degraded), checks }
    }

    /// The routes `/livez`, `/healthz` and `/readyz`.
    pub fn router<S: Clone + Send + Sync + 'static>(self) -> Router<S> {
        Router::new()
            .route("/livez", get(live))
            .route("/healthz", get(live))
            .route("/readyz", get(ready))
            .with_state(self)
    }
}

#[async_trait]
impl HealthCheck for Health {
    async fn check(&self) -> Vec<CheckResult> {
        self.readiness().await.checks
    }
}

async fn live() -> &'static str {
    "ok\n"
}

async fn ready(State(health): State<Health>, RawQuery(query): RawQuery) -> Response {
    let readiness = health.readiness().await;
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    // The parameter counts with any value, or none.
    let is_verbose = |pair: &str| pair.split('=').next() == Some("verbose");
    if query.is_some_and(|query| query.split('&').any(is_verbose)) {
        return (status, Json(readiness)).into_response();
    }
    let affected: Vec<_> = readiness.checks.iter().filter(|check| !check.passed).map(|check| &*check.name).collect();
    let text = match (readiness.ready, affected.is_empty()) {
        (true, true) => "ok\n".to_owned(),
        (true, false) => format!("ok, except {}; /readyz?verbose says why\n", affected.join(", ")),
        (false, _) => format!("not ready: {}; /readyz?verbose says why\n", affected.join(", ")),
    };
    (status, text).into_response()
}
