//! Runs that survive a crash.

pub(crate) mod approvals;
pub(crate) mod commit;
pub(crate) mod retention;
pub(crate) mod rows;
pub(crate) mod run_store;
pub(crate) mod signals;
pub(crate) mod stored_runs;
