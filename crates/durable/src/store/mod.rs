//! The trait of a store of runs, and what it keeps.

pub(crate) mod approval;
pub(crate) mod approval_view;
pub(crate) mod client_call;
pub(crate) mod commit;
pub(crate) mod run_store;
pub(crate) mod signal;
pub(crate) mod stored_run;
