//! Asking another model when one cannot answer.

pub(crate) mod fallback;
