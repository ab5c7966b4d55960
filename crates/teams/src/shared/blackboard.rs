//! Notes that all agents of a request share.

use std::{collections::BTreeMap, sync::Arc};

use brigade_core::{RawJson, Run};
use parking_lot::Mutex;

/// Small notes that all agents of a request can read and write. Cheap to clone; clones share the notes.
///
/// The number and the size of notes are bounded, because agents read them into their prompts. Agents use it through the
/// tools of [`blackboard_tools`](crate::blackboard_tools).
///
/// A run that goes on after a crash has the notes that its completed steps wrote. Notes that code outside of a step writes are
/// not recorded, because this code runs again.
///
/// ```
/// use brigade_teams::Blackboard;
///
/// let board = Blackboard::new();
/// board.write("deadline", "The talk is on Friday.")?;
/// assert_eq!(board.read("deadline").as_deref(), Some("The talk is on Friday."));
/// # Ok::<(), brigade_teams::BlackboardError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Blackboard {
    notes: Arc<Mutex<BTreeMap<String, String>>>,
    /// Records the notes that are written in its steps.
    run: Option<Run>,
}

/// The name under which steps record changes.
const CHANGES: &str = "blackboard";

/// A note was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlackboardError {
    /// The note is too long: it has this many bytes.
    #[error("a note may have {limit} bytes, this one has {0}; write a shorter one", limit = Blackboard::MAX_NOTE_BYTES)]
    NoteTooLong(usize),
    /// The name is empty or too long: it has this many bytes.
    #[error("the name of a note must have 1 to {limit} bytes, this one has {0}; choose another name", limit = Blackboard::MAX_NAME_BYTES)]
    Name(usize),
    /// There are too many notes.
    #[error("the blackboard holds {limit} notes already; overwrite one of them", limit = Blackboard::MAX_NOTES)]
    Full,
}

impl Blackboard {
    /// The most notes that a board can hold.
    pub const MAX_NOTES: usize = 64;
    /// The longest name of a note, in bytes.
    pub const MAX_NAME_BYTES: usize = 128;
    /// The longest note, in bytes.
    pub const MAX_NOTE_BYTES: usize = 16 * 1024;

    /// An empty board.
    pub fn new() -> Self {
        Self::default()
    }

    /// The board for a run, with the notes that steps wrote before a crash.
    pub(super) fn for_run(&self, run: &Run) -> Self {
        for change in run.take_recorded_changes(CHANGES) {
            if let Ok((name, note)) = serde_json::from_str(change.get()) {
                self.notes.lock().insert(name, note);
            }
        }
        Self { run: Some(run.clone()), ..self.clone() }
    }

    /// The board without its run.
    pub(super) fn for_all_runs(self) -> Self {
        Self { run: None, ..self }
    }

    /// Writes a note. It replaces an older one of the same name.
    pub fn write(&self, name: &str, note: impl Into<String>) -> Result<(), BlackboardError> {
        let note = note.into();
        if name.is_empty() || name.len() > Self::MAX_NAME_BYTES {
            return Err(BlackboardError::Name(name.len()));
        }
        if note.len() > Self::MAX_NOTE_BYTES {
            return Err(BlackboardError::NoteTooLong(note.len()));
        }
        let mut notes = self.notes.lock();
        if notes.len() >= Self::MAX_NOTES && !notes.contains_key(name) {
            return Err(BlackboardError::Full);
        }
        // Under the lock, so that changes are recorded in the order of the writes.
        if let (Some(run), Ok(change)) = (&self.run, RawJson::of(&(name, &note))) {
            run.record_change(CHANGES, &change);
        }
        notes.insert(name.to_owned(), note);
        Ok(())
    }

    /// The note of this name.
    pub fn read(&self, name: &str) -> Option<String> {
        self.notes.lock().get(name).cloned()
    }

    /// All notes by name.
    pub fn notes(&self) -> BTreeMap<String, String> {
        self.notes.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use brigade_core::Effect;

    use super::*;
    use crate::{
        TeamRun, TeamRunBuilder,
        fixtures::{Records, agent},
    };

    #[tokio::test]
    async fn a_run_that_goes_on_has_the_notes_of_its_completed_steps() {
        let records = Records::default();
        let run = Run::builder().journal(records.journal()).build();
        let writer = agent(&run, "writer");
        for (step, name, note) in [("1", "plan", "first"), ("2", "facts", "4,478 m"), ("3", "plan", "second")] {
            let write = async |run: Run| run.blackboard().write(name, note).unwrap();
            writer.step(step, Effect::Repeatable, &(), write).await.unwrap();
        }
        let critic = agent(&run, "critic");
        let unfinished = critic.step("1", Effect::Repeatable, &(), async |run: Run| {
            run.blackboard().write("plan", "of a step that is done again").unwrap();
            std::future::pending::<()>().await;
        });
        assert!(futures::FutureExt::now_or_never(unfinished).is_none());

        let initial = Blackboard::new();
        initial.write("task", "Climb it.").unwrap();
        let again = Run::builder().id(run.id()).journal(records.journal()).blackboard(initial).build();
        let notes = agent(&again, "writer").blackboard().notes();
        let expected = [("facts", "4,478 m"), ("plan", "second"), ("task", "Climb it.")];
        assert_eq!(notes, expected.map(|(name, note)| (name.to_owned(), note.to_owned())).into());
    }

    #[test]
    fn clones_share_the_notes_and_the_last_writer_wins() {
        let board = Blackboard::new();
        board.clone().write("plan", "first").unwrap();
        board.write("plan", "second").unwrap();
        assert_eq!(board.clone().read("plan").as_deref(), Some("second"));
        assert_eq!(board.read("other"), None);
    }

    #[test]
    fn a_note_on_a_full_board_can_be_overwritten() {
        let board = Blackboard::new();
        for number in 0..Blackboard::MAX_NOTES {
            board.write(&number.to_string(), "note").unwrap();
        }
        assert_eq!(board.write("one more", "note"), Err(BlackboardError::Full));
        board.write("0", "new text").unwrap();
        assert_eq!(board.notes().len(), Blackboard::MAX_NOTES);
    }

    #[test]
    fn notes_and_names_are_bounded() {
        let board = Blackboard::new();
        let too_long = "x".repeat(Blackboard::MAX_NOTE_BYTES + 1);
        assert_eq!(board.write("a", &*too_long), Err(BlackboardError::NoteTooLong(too_long.len())));
        assert_eq!(board.write("", "note"), Err(BlackboardError::Name(0)));
        assert_eq!(board.write(&"x".repeat(129), "note"), Err(BlackboardError::Name(129)));
        assert!(board.notes().is_empty());
    }
}
