//! The journal of a claimed run.

pub(crate) mod cut;
pub(crate) mod lease;
pub(crate) mod store_journal;
