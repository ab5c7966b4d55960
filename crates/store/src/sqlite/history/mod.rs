//! Runs, their events, and their costs.

pub(crate) mod event_writer;
pub(crate) mod history;
pub(crate) mod run_history;
pub(crate) mod spending_columns;
pub(crate) mod spending_log;
pub(crate) mod trace_history;
pub(crate) mod usage;
pub(crate) mod write_barrier;
