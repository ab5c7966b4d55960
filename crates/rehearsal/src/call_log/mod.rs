//! The log of all calls, independent of what clients believe.

pub(crate) mod call_log;
pub(crate) mod record;
