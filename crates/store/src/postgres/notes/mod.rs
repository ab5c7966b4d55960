//! Long-term notes.

pub(crate) mod notes;
pub(crate) mod recall;
