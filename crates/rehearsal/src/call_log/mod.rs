//! A record of what really happened.

pub(crate) mod call_log;
