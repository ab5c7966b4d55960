//! Helpers that several wrappers use.

#[macro_use]
mod setters;

pub(crate) mod instants;
pub(crate) mod jitter;
pub(crate) mod reply_watch;
pub(crate) mod requested_wait;
pub(crate) mod rolling_counter;
pub(crate) mod run_end;
