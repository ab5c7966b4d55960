//! Long-term memory as the configuration describes it.

use std::sync::Arc;

use brigade_core::{Agent, Embedder, LocalRecall, Notes, Recall};
use brigade_store::RecallSettings;

use crate::{
    config::{AgentRecall, Config, NoteTool, NotesOf},
    runs::store::Store,
};

/// The notes of all who ask. Without a store, as on the command line, they end with the process.
pub(crate) fn open(config: &Config, store: Option<&Store>, embedder: Option<Arc<dyn Embedder>>) -> Arc<dyn Recall> {
    let Some(store) = store else { return Arc::new(LocalRecall::new()) };
    let settings = RecallSettings::default()
        .max_note_bytes(config.recall.max_note.bytes)
        .max_notes(config.recall.max_notes)
        .keep_for(config.retention.notes);
    let recall = store.recall(settings);
    match embedder {
        Some(embedder) => Arc::new(recall.embedder(embedder)),
        None => Arc::new(recall),
    }
}

/// The agent with its notes.
pub(crate) fn give(agent: Agent, written: &AgentRecall, recall: &Arc<dyn Recall>) -> Agent {
    let mut notes = Notes::new(Arc::clone(recall));
    if !written.of.contains(&NotesOf::User) {
        notes = notes.of_tenant();
    }
    if written.of.contains(&NotesOf::Agent) {
        notes = notes.of_agent();
    }
    // In an order of their own, as every byte of a prompt has.
    let tools = NoteTool::ALL.into_iter().filter(|tool| written.tools.contains(tool));
    let agent = tools.fold(agent, |agent, tool| {
        agent.tool(match tool {
            NoteTool::Remember => notes.remember(),
            NoteTool::Recall => notes.recall(),
            NoteTool::Forget => notes.forget(),
        })
    });
    match written.context_tokens {
        Some(most) => agent.notes(notes, most),
        None => agent,
    }
}
