//! Combining the wrappers into a stack.

pub(crate) mod policy;
pub(crate) mod resilient;
