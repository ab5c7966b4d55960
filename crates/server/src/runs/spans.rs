//! Exports spans to an OpenTelemetry collector.
//!
//! Needs the feature `otlp`, and a collector in the environment variable `OTEL_EXPORTER_OTLP_ENDPOINT` or
//! `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`.

use std::{env, sync::Arc};

use brigade_core::Observer;
use brigade_observability::Traceparent;

const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];

fn has_collector() -> bool {
    ENDPOINTS.iter().any(|name| env::var_os(name).is_some_and(|value| !value.is_empty()))
}

#[cfg(feature = "otlp")]
mod export {
    use std::time::Duration;

    use brigade_observability::{Otlp, OtlpConfig, OtlpError};

    use super::{Arc, Observer, Traceparent, has_collector};

    /// Exports spans, if a collector is configured.
    #[derive(Debug)]
    pub(crate) struct Spans(Option<Otlp>);

    const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

    impl Spans {
        pub(crate) fn start() -> Result<Self, OtlpError> {
            has_collector().then(|| Otlp::start(&OtlpConfig::default())).transpose().map(Self)
        }

        /// An observer for a run, which is part of the caller's trace if it has one.
        pub(crate) fn observer(&self, caller: Option<Traceparent>) -> Option<Arc<dyn Observer>> {
            let otlp = self.0.as_ref()?;
            Some(caller.map_or_else(|| otlp.observer(), |caller| otlp.continuing(caller)))
        }

        /// Sends the remaining spans.
        pub(crate) async fn shutdown(&self) {
            if let Some(otlp) = &self.0
                && let Err(error) = otlp.shutdown(SHUTDOWN_TIMEOUT).await
            {
                tracing::warn!("{error}");
            }
        }
    }
}

#[cfg(not(feature = "otlp"))]
mod export {
    use super::{Arc, Observer, Traceparent, has_collector};

    /// Exports nothing without the feature `otlp`.
    #[derive(Debug)]
    pub(crate) struct Spans;

    impl Spans {
        #[expect(clippy::unnecessary_wraps, reason = "with the feature it can fail")]
        pub(crate) fn start() -> Result<Self, std::convert::Infallible> {
            if has_collector() {
                tracing::warn!(
                    "a collector is configured, but this program was built without the feature `otlp`; build it with \
                     `--features otlp` to export spans"
                );
            }
            Ok(Self)
        }

        #[expect(clippy::unused_self, reason = "with the feature it is used")]
        pub(crate) fn observer(&self, _: Option<Traceparent>) -> Option<Arc<dyn Observer>> {
            None
        }

        #[expect(clippy::unused_async, reason = "with the feature it waits")]
        pub(crate) async fn shutdown(&self) {}
    }
}

pub(crate) use export::Spans;
