//! Spans for an OpenTelemetry collector. Sent when the program was built with the feature `otlp` and the environment names
//! a collector (`OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`).

use std::{env, sync::Arc};

use brigade_core::Observer;
use brigade_observability::Traceparent;

/// The variables that name a collector.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];

/// Whether the environment names a collector.
fn is_wanted() -> bool {
    ENDPOINTS.iter().any(|name| env::var_os(name).is_some_and(|value| !value.is_empty()))
}

#[cfg(feature = "otlp")]
mod export {
    use std::time::Duration;

    use anyhow::Context as _;
    use brigade_observability::{Otlp, OtlpConfig};

    use super::{Arc, Observer, Traceparent, is_wanted};

    /// Exports spans, if somebody takes them.
    #[derive(Debug)]
    pub(crate) struct Spans(Option<Otlp>);

    /// A collector that takes longer for the last spans is not waited for.
    const LAST_SPANS: Duration = Duration::from_secs(5);

    impl Spans {
        pub(crate) fn start() -> anyhow::Result<Self> {
            let otlp = is_wanted().then(|| Otlp::start(&OtlpConfig::default())).transpose();
            Ok(Self(otlp.context("cannot export spans")?))
        }

        /// Who watches a run that was asked for within `caller`'s trace.
        pub(crate) fn observer(&self, caller: Option<Traceparent>) -> Option<Arc<dyn Observer>> {
            let otlp = self.0.as_ref()?;
            Some(caller.map_or_else(|| otlp.observer(), |caller| otlp.continuing(caller)))
        }

        /// Sends what is left.
        pub(crate) async fn shutdown(&self) {
            if let Some(otlp) = &self.0
                && let Err(error) = otlp.shutdown(LAST_SPANS).await
            {
                tracing::warn!("{error}");
            }
        }
    }
}

#[cfg(not(feature = "otlp"))]
mod export {
    use super::{Arc, Observer, Traceparent, is_wanted};

    /// Exports nothing: the program was built without.
    #[derive(Debug)]
    pub(crate) struct Spans;

    impl Spans {
        #[expect(clippy::unnecessary_wraps, reason = "with the feature it can fail")]
        pub(crate) fn start() -> anyhow::Result<Self> {
            if is_wanted() {
                tracing::warn!(
                    "the environment names a collector, but this program was built without spans; build it with `--features otlp`"
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
