//! Spans of runs, exported with OpenTelemetry. Feature `otlp`.

pub(crate) mod names;
pub(crate) mod open_run;
pub(crate) mod open_runs;
pub(crate) mod otlp;
pub(crate) mod span;
pub(crate) mod span_event;
pub(crate) mod transport;
