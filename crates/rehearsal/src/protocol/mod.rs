//! What all parts know of the vendors' protocols.

pub(crate) mod dialect;
pub(crate) mod failure;
pub(crate) mod ids;
pub(crate) mod tokens;
pub(crate) mod usage;
