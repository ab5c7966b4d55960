//! Rate limits, enforced as the vendors do.

pub(crate) mod limiter;
