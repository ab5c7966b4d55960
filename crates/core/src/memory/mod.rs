//! Memory: sessions across requests, and notes in long-term memory.

pub(crate) mod local_recall;
pub(crate) mod memory;
pub(crate) mod notes;
pub(crate) mod recall;
pub(crate) mod recent;
