//! What a run cost, what it did, and where its time went: prices, log lines, metrics, and run logs.
//!
//! Everything here watches or prices; nothing steers. A program gives the same answers without this crate, except that
//! a budget of money needs prices.
//!
//! | what | type | fed by |
//! |---|---|---|
//! | prices of models | [`PriceBook`] | `Metered`, around each model |
//! | log lines, each with the short trace id of its run | [`Logging`] | `tracing`, also from libraries |
//! | metrics for Prometheus | [`Metrics`], [`MetricsHandle`] | events, as an observer |
//! | a file of events, and a run as a tree | [`Recorder`], [`RunTree`] | events, as an observer |
//! | spans for OpenTelemetry (feature `otlp`) | `Otlp` | events, as an observer |
//! | what was said, for those who ask for it | [`ContentLog`] | itself, around a model |
//!
//! ```
//! use std::sync::Arc;
//!
//! use brigade_core::{Agent, ModelExt, Run, testing::{ScriptedModel, Turn}};
//! use brigade_observability::{Logging, Metrics, MetricsConfig, PriceBook, Recorder, RunTree};
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
//! let recorder = Arc::new(Recorder::open(&path)?);
//!
//! // A client of a provider takes the place of the script.
//! let model = ScriptedModel::new([Turn::text("Forty-two.")]).metered(&prices);
//! let oracle = Agent::new("oracle", model);
//!
//! // Whoever watches is named once a run; workers are watched with it.
//! let run = Run::builder().observer(metrics.observer()).observer(recorder.clone()).build();
//! let outcome = oracle.run_in(&run, "What is the answer?").await?;
//! assert_eq!(outcome.text, "Forty-two.");
//!
//! // The body of `/metrics`.
//! assert!(metrics.render().contains(r#"brigade_runs_total{agent="oracle",outcome="finished"} 1"#));
//!
//! // The run as a tree, from the file alone. A recorder writes the rest when it is dropped.
//! drop((oracle, run));
//! drop(recorder);
//! let tree = RunTree::open(&path, &outcome.trace.short())?.to_string();
//! assert!(tree.contains("oracle · finished · 1 turn"));
//! # Ok(())
//! # }
//! ```

mod logs;
mod metrics;
mod prices;
#[cfg(feature = "otlp")]
mod spans;
mod trace;

pub use logs::content_log::ContentLog;
pub use logs::line::Format;
pub use logs::logging::{LogLayer, LogTarget, Logging, LoggingError, LoggingHandle, log_panics};
pub use logs::mask_event::mask_event;
pub use logs::secrets::mask;
pub use metrics::metrics::{Metrics, MetricsConfig};
pub use metrics::names::Convention;
pub use metrics::prometheus::{MetricsError, MetricsHandle};
pub use prices::price_book::{ModelFacts, PriceBook, PriceBookError};
#[cfg(feature = "otlp")]
pub use spans::otlp::{Otlp, OtlpConfig, OtlpError};
pub use trace::recorder::Recorder;
pub use trace::traceparent::{ParseTraceparentError, Traceparent};
pub use trace::tree::{RunTree, TraceError};
