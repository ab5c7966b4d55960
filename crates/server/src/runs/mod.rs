//! Runs: started, watched, recorded and counted.

pub(crate) mod event_log;
pub(crate) mod history;
pub(crate) mod manager;
pub(crate) mod report;
pub(crate) mod spans;
pub(crate) mod store;
pub(crate) mod totals;
