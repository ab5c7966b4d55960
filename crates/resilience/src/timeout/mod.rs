//! Limits on how long one attempt may take.

pub(crate) mod timeout;
