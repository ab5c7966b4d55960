//! Helpers that several wrappers use.

pub(crate) mod jitter;
pub(crate) mod stopped;
pub(crate) mod tally;
pub(crate) mod watch;
