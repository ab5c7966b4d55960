//! Memory: sessions across requests, and long-term notes.

pub(crate) mod local_recall;
pub(crate) mod memory;
pub(crate) mod notes;
pub(crate) mod recall;
pub(crate) mod recent;
