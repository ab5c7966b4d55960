//! Exports spans to a collector over OTLP.

use std::{sync::Arc, time::Duration};

use brigade_core::Observer;
use opentelemetry::Key;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkError,
    trace::{BatchSpanProcessor, Config, Sampler, ShouldSample, SpanProcessor},
};

use super::{
    open_runs::{OpenRuns, SpanObserver},
    transport::CollectorClient,
};
use crate::{Convention, Traceparent};

/// Settings of [`Otlp`].
///
/// Unset values come from the environment variables that OpenTelemetry defines: `OTEL_EXPORTER_OTLP_ENDPOINT`,
/// `_HEADERS` and `_TIMEOUT`, also with `_TRACES_`; `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`;
/// `OTEL_TRACES_SAMPLER` and `_ARG`; `OTEL_BSP_*`; `OTEL_SDK_DISABLED`. See
/// <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OtlpConfig {
    /// The complete URL for traces. Unset by default, so that the environment decides, as operators expect; if that
    /// names none, it is `http://localhost:4318/v1/traces`.
    pub endpoint: Option<String>,
    /// The service name if the environment sets none. `brigade`; the collector would otherwise show `unknown_service`.
    pub service_name: String,
    /// The names of the attributes. The newest by default; older backends may need the other ones.
    pub convention: Convention,
}

/// Exports the spans of runs over OTLP (HTTP with protobuf), in batches and in the background. Cheap to clone.
///
/// Each agent's run is a span `invoke_agent`, each model turn below it a span `chat` with all its attempts, each tool
/// call a span `execute_tool` with the runs of workers below it. Waits for rate limits are spans, too; retries,
/// fallbacks and refusals are events of the span they happen in. The trace id is that of the run. Spans hold no prompts,
/// answers, arguments, or error messages, which may quote them.
///
/// If the collector is slow or down, spans are lost, but runs never wait.
///
/// ```no_run
/// # async fn example(agent: brigade_core::Agent) -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// use brigade_core::Run;
/// use brigade_observability::{Otlp, OtlpConfig};
///
/// let otlp = Otlp::start(&OtlpConfig::default())?;
/// let run = Run::builder().observer(otlp.observer()).build();
/// agent.run_in(&run, "What is the answer?").await?;
/// otlp.shutdown(Duration::from_secs(5)).await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "without `shutdown` the last spans are lost"]
#[derive(Debug, Clone)]
pub struct Otlp(Arc<OpenRuns>);

/// Spans could not be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OtlpError {
    /// Sending requests needs a runtime.
    #[error("spans are sent on a tokio runtime; set up their export inside one")]
    NoRuntime(#[source] tokio::runtime::TryCurrentError),
    /// The HTTP client cannot be built, for example because the system has no root certificates.
    #[error("the HTTP client for spans cannot be set up")]
    Http(#[source] reqwest::Error),
    /// The configuration or the environment is invalid.
    #[error("the export of spans cannot be set up; check the endpoint and the variables `OTEL_EXPORTER_OTLP_*`")]
    Exporter(#[source] ExporterBuildError),
    /// Some spans did not reach the collector in time.
    #[error("the last spans did not reach the collector; check that it runs, and allow more time if it is slow")]
    Shutdown(#[source] OTelSdkError),
}

impl Default for OtlpConfig {
    fn default() -> Self {
        Self { endpoint: None, service_name: "brigade".to_owned(), convention: Convention::default() }
    }
}

impl OtlpConfig {
    /// Sets the complete URL for traces.
    #[must_use]
    pub fn endpoint(self, url: impl Into<String>) -> Self {
        Self { endpoint: Some(url.into()), ..self }
    }

    /// Sets the service name for an environment that sets none.
    #[must_use]
    pub fn service_name(self, name: impl Into<String>) -> Self {
        Self { service_name: name.into(), ..self }
    }

    /// Sets the names of the attributes.
    #[must_use]
    pub fn convention(self, convention: Convention) -> Self {
        Self { convention, ..self }
    }
}

impl Otlp {
    /// Starts the export. Requests are sent on the current runtime.
    pub fn start(config: &OtlpConfig) -> Result<Self, OtlpError> {
        let client = CollectorClient::new(config.endpoint.as_deref())?;
        let exporter = SpanExporter::builder().with_http().with_http_client(client);
        let exporter = match &config.endpoint {
            Some(endpoint) => exporter.with_endpoint(endpoint),
            None => exporter,
        };
        let mut processor = BatchSpanProcessor::builder(exporter.build().map_err(OtlpError::Exporter)?).build();
        processor.set_resource(&resource(&config.service_name));
        Ok(Self(Arc::new(OpenRuns::new(processor, sampler(), config.convention))))
    }

    /// The observer to register with runs.
    pub fn observer(&self) -> Arc<dyn Observer> {
        Arc::new(SpanObserver { runs: Arc::clone(&self.0), caller: None })
    }

    /// The observer for a request with this header: its spans are below the caller's if the run has the caller's trace
    /// id. By default the trace is recorded if the caller records it; the sampler can be configured otherwise.
    pub fn continuing(&self, caller: Traceparent) -> Arc<dyn Observer> {
        Arc::new(SpanObserver { runs: Arc::clone(&self.0), caller: Some(caller) })
    }

    /// Ends the spans of unfinished runs, and exports all remaining spans. Later events are ignored. Takes no longer than
    /// `within`; spans that have not arrived by then are lost.
    pub async fn shutdown(&self, within: Duration) -> Result<(), OtlpError> {
        let runs = Arc::clone(&self.0);
        // The processor blocks until its thread is done, and that needs the runtime to send the last batch.
        let shutdown = tokio::task::spawn_blocking(move || {
            runs.shut_down();
            runs.processor().shutdown_with_timeout(within)
        });
        let result = shutdown.await.unwrap_or_else(|error| Err(OTelSdkError::InternalFailure(error.to_string())));
        result.map_err(OtlpError::Shutdown)
    }
}

fn resource(service_name: &str) -> Resource {
    let detected = Resource::builder().build();
    let name = detected.get(&Key::from_static_str("service.name"));
    if name.is_some_and(|name| !name.as_str().starts_with("unknown_service")) {
        return detected;
    }
    Resource::builder().with_service_name(service_name.to_owned()).build()
}

/// The sampler that the environment names; by default, the caller's decision.
fn sampler() -> Box<dyn ShouldSample> {
    let is_disabled = std::env::var("OTEL_SDK_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true"));
    if is_disabled { Box::new(Sampler::AlwaysOff) } else { Config::default().sampler }
}

#[cfg(test)]
mod tests;
