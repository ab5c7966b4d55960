//! The front of the library: runs are submitted, carried on by a worker, and waited for.

pub(crate) mod carry_on;
pub(crate) mod durable;
pub(crate) mod held_runs;
pub(crate) mod settings;
pub(crate) mod submission;
pub(crate) mod work;
