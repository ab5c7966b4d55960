//! Long-term memory for agents: short notes that outlive runs.
//!
//! | to do this | use |
//! |---|---|
//! | give an agent tools that write, find and delete notes | [`Notes`] |
//! | add the notes that match a task to it | [`Notes::for_tasks`] |
//! | keep notes in this process | [`LocalRecall`] |
//! | keep notes elsewhere | an implementation of [`Recall`], such as the one of `brigade-store` |
//!
//! The scope of a run ([`RunBuilder::scope`](brigade_core::RunBuilder::scope)) selects the notes that its agents read and
//! write: those of a tenant, a user or an agent.

mod local_recall;
mod notes;
mod recall;

pub use local_recall::LocalRecall;
pub use notes::Notes;
pub use recall::{Note, NoteSource, Recall};
