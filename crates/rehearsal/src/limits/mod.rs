//! Rate limits as the vendors enforce them.

pub(crate) mod limits;
