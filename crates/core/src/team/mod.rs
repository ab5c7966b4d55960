//! Supervisors and their workers.

pub(crate) mod worker;
