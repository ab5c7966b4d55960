//! Checks what was observed, and reports the result.

pub(crate) mod judge;
pub(crate) mod report;
