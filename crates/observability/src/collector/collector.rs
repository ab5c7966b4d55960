//! Exports spans to the collector that the environment names.

use std::{env, error::Error, sync::Arc};

use brigade_core::Observer;

#[cfg(feature = "otlp")]
use crate::spans::otlp::{Otlp, OtlpConfig};
use crate::trace::traceparent::Traceparent;

/// Exports spans to the OpenTelemetry collector in the environment variable `OTEL_EXPORTER_OTLP_ENDPOINT` or
/// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`. Needs the feature `otlp`; without it, nothing is exported.
///
/// ```no_run
/// # async fn example() -> Result<(), brigade_observability::CollectorError> {
/// use brigade_observability::Collector;
///
/// let collector = Collector::of_environment()?;
/// let mut run = brigade_core::Run::builder();
/// if let Some(observer) = collector.observer(None) {
///     run = run.observer(observer);
/// }
/// // … use `run.build()`
/// collector.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Collector {
    #[cfg(feature = "otlp")]
    otlp: Option<Otlp>,
}

/// Spans cannot be exported.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct CollectorError(Box<dyn Error + Send + Sync>);

const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];

#[cfg(feature = "otlp")]
const SHUTDOWN_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

fn has_collector() -> bool {
    ENDPOINTS.iter().any(|name| env::var_os(name).is_some_and(|value| !value.is_empty()))
}

#[cfg(feature = "otlp")]
impl Collector {
    /// Begins to export spans, if the environment names a collector.
    ///
    /// # Errors
    ///
    /// The settings of the exporter are not valid.
    pub fn of_environment() -> Result<Self, CollectorError> {
        let otlp = has_collector().then(|| Otlp::start(&OtlpConfig::default())).transpose();
        otlp.map(|otlp| Self { otlp }).map_err(|error| CollectorError(error.into()))
    }

    /// An observer for a run, which is part of the caller's trace if it has one. Absent if nothing is exported.
    pub fn observer(&self, caller: Option<Traceparent>) -> Option<Arc<dyn Observer>> {
        let otlp = self.otlp.as_ref()?;
        Some(caller.map_or_else(|| otlp.observer(), |caller| otlp.continuing(caller)))
    }

    /// Sends the remaining spans, within 5 s.
    pub async fn shutdown(&self) {
        if let Some(otlp) = &self.otlp
            && let Err(error) = otlp.shutdown(SHUTDOWN_TIMEOUT).await
        {
            tracing::warn!("{error}");
        }
    }
}

#[cfg(not(feature = "otlp"))]
impl Collector {
    /// Warns if the environment names a collector.
    ///
    /// # Errors
    ///
    /// None without the feature `otlp`.
    pub fn of_environment() -> Result<Self, CollectorError> {
        if has_collector() {
            tracing::warn!(
                "a collector is configured, but this program was built without the feature `otlp`; build it with \
                 `--features otlp` to export spans"
            );
        }
        Ok(Self {})
    }

    /// Absent without the feature `otlp`.
    pub fn observer(&self, _caller: Option<Traceparent>) -> Option<Arc<dyn Observer>> {
        None
    }

    /// Does nothing without the feature `otlp`.
    #[expect(clippy::unused_async, reason = "with the feature it waits")]
    pub async fn shutdown(&self) {}
}
