//! Limits on how long one attempt may take.

pub(crate) mod deadlines;
pub(crate) mod settings;
pub(crate) mod timeout;
