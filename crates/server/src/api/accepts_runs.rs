//! The health check that fails while the server shuts down.

use std::sync::Arc;

use async_trait::async_trait;
use brigade_edge::{CheckResult, HealthCheck};

use super::api::Api;

/// Passes while new runs are accepted.
#[derive(Debug)]
pub(super) struct AcceptsRuns(pub(super) Arc<Api>);

#[async_trait]
impl HealthCheck for AcceptsRuns {
    async fn check(&self) -> Vec<CheckResult> {
        vec![if self.0.runs().is_draining() {
            CheckResult::failed("accepts runs", "the server is shutting down")
        } else {
            CheckResult::passed("accepts runs")
        }]
    }
}
