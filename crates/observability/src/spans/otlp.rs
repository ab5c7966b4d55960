//! Spans of runs for a collector that speaks OTLP.

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
    transport::OnTokio,
};
use crate::{Convention, Traceparent};

/// Where spans go and how they are named.
///
/// What is absent here comes from the environment variables that OpenTelemetry defines: `OTEL_EXPORTER_OTLP_ENDPOINT`,
/// `_HEADERS` and `_TIMEOUT`, also with `_TRACES_`; `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`;
/// `OTEL_TRACES_SAMPLER` and `_ARG`; `OTEL_BSP_*`; `OTEL_SDK_DISABLED`. See
/// <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpConfig {
    /// The whole URL that takes traces, such as `http://localhost:4318/v1/traces`. Absent unless said otherwise, so
    /// that the environment decides, as operators expect; without a word from either it is that URL.
    pub endpoint: Option<String>,
    /// What the process is called if the environment has no name for it: `brigade`, as the collector would otherwise
    /// show `unknown_service`.
    pub service_name: String,
    /// Which names the attributes have; the newest unless a backend wants others.
    pub convention: Convention,
}

/// Exports the spans of runs over OTLP (HTTP with protobuf), in batches and in the background. Cheap to clone.
///
/// Each agent's run is a span `invoke_agent`, each model turn below it a span `chat` with all its attempts, each tool
/// call a span `execute_tool` with the runs of workers below it. Waits for rate limits are spans too; retries,
/// fallbacks and refusals are events of the span they happen in. The trace id is that of the run. No span holds a
/// prompt, an answer, or arguments, nor a message of an error, which may quote them.
///
/// A collector that is slow or gone makes spans go missing, never a run wait.
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

/// Spans cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// There is no runtime to send requests on.
    #[error("spans are sent on a tokio runtime; set their export up inside of one")]
    NoRuntime(#[source] tokio::runtime::TryCurrentError),
    /// The HTTP client cannot be built, for instance because the system has no root certificates.
    #[error("the HTTP client for spans cannot be set up")]
    Http(#[source] reqwest::Error),
    /// The configuration or the environment makes no sense.
    #[error("the export of spans cannot be set up; check the endpoint and the variables `OTEL_EXPORTER_OTLP_*`")]
    Exporter(#[source] ExporterBuildError),
    /// Not everything reached the collector in time.
    #[error("the last spans did not reach the collector; see whether it runs, and allow more time if it is slow")]
    Shutdown(#[source] OTelSdkError),
}

impl Default for OtlpConfig {
    fn default() -> Self {
        Self { endpoint: None, service_name: "brigade".to_owned(), convention: Convention::default() }
    }
}

impl Otlp {
    /// Starts the export. Requests are sent on the runtime that this is called in.
    pub fn start(config: &OtlpConfig) -> Result<Self, OtlpError> {
        let client = OnTokio::new(config.endpoint.as_deref())?;
        let exporter = SpanExporter::builder().with_http().with_http_client(client);
        let exporter = match &config.endpoint {
            Some(endpoint) => exporter.with_endpoint(endpoint),
            None => exporter,
        };
        let mut processor = BatchSpanProcessor::builder(exporter.build().map_err(OtlpError::Exporter)?).build();
        processor.set_resource(&resource(&config.service_name));
        Ok(Self(Arc::new(OpenRuns::new(processor, sampler(), config.convention))))
    }

    /// What runs must tell their events to.
    pub fn observer(&self) -> Arc<dyn Observer> {
        Arc::new(SpanObserver { runs: Arc::clone(&self.0), caller: None })
    }

    /// The same for one request that came with this header: its spans hang below the caller's, provided that the run
    /// was given the caller's trace id. Whether the caller records its trace decides whether this process does, unless
    /// the sampler is told otherwise.
    pub fn continuing(&self, caller: Traceparent) -> Arc<dyn Observer> {
        Arc::new(SpanObserver { runs: Arc::clone(&self.0), caller: Some(caller) })
    }

    /// Ends the spans of runs that go on, and exports what is left. Whatever happens then is not exported. Takes no
    /// longer than `within`; what has not arrived by then is lost.
    pub async fn shutdown(&self, within: Duration) -> Result<(), OtlpError> {
        let runs = Arc::clone(&self.0);
        // The processor blocks until its thread is done, and that needs the runtime to send the last batch.
        let stopping = tokio::task::spawn_blocking(move || {
            runs.shut();
            runs.processor().shutdown_with_timeout(within)
        });
        let stopped = match stopping.await {
            Ok(result) => result,
            Err(error) => Err(OTelSdkError::InternalFailure(error.to_string())),
        };
        stopped.map_err(OtlpError::Shutdown)
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

/// The sampler that the environment names; everything that a caller wants traced if it names none.
fn sampler() -> Box<dyn ShouldSample> {
    let is_disabled = std::env::var("OTEL_SDK_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true"));
    if is_disabled { Box::new(Sampler::AlwaysOff) } else { Config::default().sampler }
}

#[cfg(test)]
mod tests;
