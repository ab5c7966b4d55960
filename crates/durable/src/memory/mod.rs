//! A store of runs inside one process.

mod entry;
pub(crate) mod memory_run_store;
