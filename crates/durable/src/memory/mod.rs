//! A store of runs inside one process.

pub(crate) mod memory_run_store;
