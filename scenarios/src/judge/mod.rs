//! Checks observations against the rules, and reports the results.

pub(crate) mod judge;
pub(crate) mod report;
