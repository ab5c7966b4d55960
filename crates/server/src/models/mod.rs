//! Provider accounts.

pub(crate) mod simulated;
