//! Prices, log lines, metrics, run logs and spans for Brigade.
//!
//! This crate observes runs and knows prices, and does not change any answer. Only money budgets need it, for the prices.
//!
//! | to get | use | fed by |
//! |---|---|---|
//! | prices of models | [`PriceBook`] | `Metered`, around each model |
//! | log lines, each with the short trace id of its run | [`Logging`] | `tracing`, including events of libraries |
//! | the same for the lines of HTTP requests (feature `tower`) | `TraceIdLayer` | a layer of your axum router |
//! | metrics for Prometheus | [`Metrics`], [`MetricsHandle`] | events, as an observer |
//! | a log of events, and a run as a tree | [`RunLog`], [`RunTree`] | events, as an observer |
//! | spans for OpenTelemetry (feature `otlp`) | `Otlp` | events, as an observer |
//! | the same for the collector that the environment names | [`Collector`] | events, as an observer |
//! | prompts and answers in the log | [`ContentLog`] | `ContentLog`, around a model |
//!
//! ```
//! use std::sync::Arc;
//!
//! use brigade_core::{Agent, ModelExt, Run, testing::{ScriptedModel, Turn}};
//! use brigade_observability::{Logging, Metrics, MetricsConfig, PriceBook, RunLog, RunTree};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Once, when the program starts.
//! let _logging = Logging::new().level("info").init()?;
//! let metrics = Metrics::install(&MetricsConfig::default().agent("oracle"))?;
//! let prices = PriceBook::bundled();
//! metrics.watch_prices(&prices);
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("events.jsonl");
//! let run_log = Arc::new(RunLog::open(&path)?);
//!
//! // Use the client of a provider instead of the script.
//! let model = ScriptedModel::new([Turn::text("Forty-two.")]).metered(&prices);
//! let oracle = Agent::new("oracle", model);
//!
//! // Workers have the observers of their run.
//! let run = Run::builder().observer(metrics.observer()).observer(run_log.clone()).build();
//! let outcome = oracle.run_in(&run, "What is the answer?").await?;
//! assert_eq!(outcome.text, "Forty-two.");
//!
//! // The body of `/metrics`.
//! assert!(metrics.render().contains(r#"brigade_runs_total{agent="oracle",outcome="finished"} 1"#));
//!
//! // The run as a tree, from the file alone. The last events are written when the log is dropped.
//! drop((oracle, run, run_log));
//! let tree = RunTree::open(&path, &outcome.trace.short())?.to_string();
//! assert!(tree.contains("oracle · finished · 1 turn"));
//! # Ok(())
//! # }
//! ```

mod collector;
mod logs;
mod metrics;
mod prices;
#[cfg(feature = "otlp")]
mod spans;
mod trace;

pub use collector::collector::{Collector, CollectorError};
pub use logs::content_log::ContentLog;
pub use logs::format::LogFormat;
pub use logs::logging::{LogLayer, LogTarget, Logging, LoggingError, LoggingHandle, log_panics};
pub use logs::mask::mask;
pub use logs::mask_event::mask_event;
pub use metrics::metrics::{Metrics, MetricsConfig};
pub use metrics::names::Convention;
pub use metrics::prometheus::{MetricsError, MetricsHandle, Storage};
pub use prices::price_book::{ModelLimits, PriceBook, PriceBookError};
#[cfg(feature = "otlp")]
pub use spans::otlp::{Otlp, OtlpConfig, OtlpError};
pub use trace::recent_run::RecentRun;
pub use trace::run_log::RunLog;
#[cfg(feature = "tower")]
pub use trace::trace_id_layer::{TraceIdLayer, TraceIdService};
pub use trace::traceparent::{ParseTraceparentError, Traceparent};
pub use trace::tree::render::TreeStyle;
pub use trace::tree::{RunTree, TraceError};

/// Returns the guard of a lock. A panic while it was locked cannot have left a broken value behind.
pub(crate) fn unpoisoned<G>(locked: Result<G, std::sync::PoisonError<G>>) -> G {
    locked.unwrap_or_else(std::sync::PoisonError::into_inner)
}
