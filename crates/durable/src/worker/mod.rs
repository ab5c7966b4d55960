//! The front of the library: runs are submitted, carried on by a worker, and waited for.

pub(crate) mod claimed_run;
pub(crate) mod client_calls;
mod decision;
pub(crate) mod durable;
mod held_runs;
pub(crate) mod in_doubt;
pub(crate) mod settings;
pub(crate) mod starter;
pub(crate) mod submission;
mod work;
