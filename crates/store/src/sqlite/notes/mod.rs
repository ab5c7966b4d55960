//! Long-term notes, found by words and by meaning.

pub(crate) mod notes;
pub(crate) mod recall;
