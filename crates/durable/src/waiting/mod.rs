//! Steps that wait: for a client's result, a named signal or a time.

pub(crate) mod client_tool;
pub(crate) mod named_signal;
pub(crate) mod run_waits;
pub(crate) mod timer;
