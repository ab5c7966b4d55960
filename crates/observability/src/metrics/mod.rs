//! Metrics of runs, and their export to Prometheus.

pub(crate) mod in_flight;
pub(crate) mod instruments;
pub(crate) mod metrics;
pub(crate) mod names;
pub(crate) mod prometheus;
pub(crate) mod series;
pub(crate) mod vocabulary;
