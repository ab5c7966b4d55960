//! Health checks.

pub(crate) mod check;
pub(crate) mod providers;
