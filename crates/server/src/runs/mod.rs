//! Runs: starting, following, recording and billing them.

pub(crate) mod approval_webhook;
pub(crate) mod event_log;
pub(crate) mod idempotency;
pub(crate) mod lookup;
pub(crate) mod manager;
pub(crate) mod new_run;
pub(crate) mod report;
pub(crate) mod responses;
pub(crate) mod run_handle;
pub(crate) mod sessions;
pub(crate) mod store;
pub(crate) mod totals;
