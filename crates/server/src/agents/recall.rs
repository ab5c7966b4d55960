//! Long-term memory for agents, as configured.

use std::sync::Arc;

use brigade_config::{AgentRecallConfig, Config, NoteOwner, NoteTool};
use brigade_core::{Agent, Embedder};
use brigade_notes::{LocalRecall, Notes, Recall};
use brigade_store::RecallSettings;

use crate::runs::store::Store;

/// Opens the notes of all agents. Without a store they are lost when the process ends.
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

/// Gives an agent the configured access to notes.
pub(super) fn add_notes(agent: Agent, config: &AgentRecallConfig, recall: &Arc<dyn Recall>) -> Agent {
    let mut notes = Notes::new(Arc::clone(recall));
    if !config.of.contains(&NoteOwner::User) {
        notes = notes.of_tenant();
    }
    if config.of.contains(&NoteOwner::Agent) {
        notes = notes.of_agent();
    }
    // In a fixed order, because prompt caches depend on every byte of a request.
    let tools = NoteTool::ALL.into_iter().filter(|tool| config.tools.contains(tool));
    let agent = tools.fold(agent, |agent, tool| {
        agent.tool(match tool {
            NoteTool::Remember => notes.remember(),
            NoteTool::Recall => notes.recall(),
            NoteTool::Forget => notes.forget(),
        })
    });
    match config.context_tokens {
        Some(max_tokens) => agent.notes(notes.for_tasks(max_tokens)),
        None => agent,
    }
}
