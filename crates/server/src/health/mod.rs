//! Health checks.

pub(crate) mod providers;
