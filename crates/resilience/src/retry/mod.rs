//! Retrying failed calls, within a budget that all callers of a model share.

pub(crate) mod backoff;
pub(crate) mod budget;
pub(crate) mod retry;
pub(crate) mod settings;
