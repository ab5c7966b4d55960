//! Metrics of runs, and their export to Prometheus.

pub(crate) mod instruments;
pub(crate) mod labels;
pub(crate) mod metrics;
pub(crate) mod names;
pub(crate) mod prometheus;
pub(crate) mod run_timer;
pub(crate) mod series;
pub(crate) mod zeros;
