//! The run log: a file of events, and the tree of a run that it shows.

pub(crate) mod run_log;
pub(crate) mod traceparent;
pub(crate) mod tree;
