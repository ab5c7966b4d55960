//! Exports spans to a configured collector.

pub(crate) mod collector;
