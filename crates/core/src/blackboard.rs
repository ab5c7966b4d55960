//! Small notes that all agents of a run share.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use crate::ledger::unpoisoned;

/// Small notes that all agents of a run can read and write. Cheap to clone; clones share the notes.
///
/// It is bounded: what agents write here they also read into their prompts.
#[derive(Debug, Clone, Default)]
pub struct Blackboard(Arc<Mutex<BTreeMap<String, String>>>);

/// A note was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlackboardError {
    /// The note is too long.
    #[error("a note may have {limit} bytes, this one has {size}; write a shorter one", limit = Blackboard::MAX_NOTE_BYTES)]
    NoteTooLong {
        /// Its size in bytes.
        size: usize,
    },
    /// There are too many notes.
    #[error("the blackboard holds {limit} notes already; write over one of them", limit = Blackboard::MAX_NOTES)]
    Full,
}

impl Blackboard {
    /// The most notes at a time.
    pub const MAX_NOTES: usize = 64;
    /// The longest note, in bytes.
    pub const MAX_NOTE_BYTES: usize = 16 * 1024;

    /// An empty board.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes a note, over an older one of the same name.
    pub fn write(&self, name: &str, note: impl Into<String>) -> Result<(), BlackboardError> {
        let note = note.into();
        if note.len() > Self::MAX_NOTE_BYTES {
            return Err(BlackboardError::NoteTooLong { size: note.len() });
        }
        let mut notes = unpoisoned(&self.0);
        if notes.len() >= Self::MAX_NOTES && !notes.contains_key(name) {
            return Err(BlackboardError::Full);
        }
        notes.insert(name.to_owned(), note);
        Ok(())
    }

    /// The note of this name.
    pub fn read(&self, name: &str) -> Option<String> {
        unpoisoned(&self.0).get(name).cloned()
    }

    /// All notes by name.
    pub fn notes(&self) -> BTreeMap<String, String> {
        unpoisoned(&self.0).clone()
    }
}
