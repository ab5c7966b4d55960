//! The run log: a file of events, and the tree of a run that it shows.

pub(crate) mod recent_run;
pub(crate) mod run_log;
#[cfg(feature = "tower")]
pub(crate) mod trace_id_layer;
pub(crate) mod traceparent;
pub(crate) mod tree;
