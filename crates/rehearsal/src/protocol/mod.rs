//! What all parts of the simulator know about the vendors' protocols.

pub(crate) mod dialect;
pub(crate) mod failure;
pub(crate) mod field;
pub(crate) mod ids;
pub(crate) mod parameters;
pub(crate) mod tokens;
pub(crate) mod usage;
