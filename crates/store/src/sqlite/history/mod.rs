//! Runs, their events, and their costs.

pub(crate) mod epoch;
pub(crate) mod event_writer;
pub(crate) mod history;
pub(crate) mod idempotency;
pub(crate) mod known_spending;
pub(crate) mod request_recorder;
pub(crate) mod run_history;
pub(crate) mod run_row;
pub(crate) mod spending_columns;
pub(crate) mod spending_log;
pub(crate) mod sweep;
pub(crate) mod trace_history;
pub(crate) mod usage;
pub(crate) mod write_barrier;
