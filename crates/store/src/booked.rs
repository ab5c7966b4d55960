//! Answers that wait for their reservations.

use async_trait::async_trait;
use brigade_core::{ChatModel, ChatReply, ChatRequest, ModelError, ModelId, Run, Settings};

use crate::History;

/// A model whose answers wait until what was reserved for them is on disk: see [`History::booked`].
///
/// So whatever an agent was answered is in the file, at the least as a reservation, and no crash makes a call free that
/// somebody has read the answer of. It costs no time where answers take longer than a commit. A disk that cannot be
/// written to keeps no answer back: what it does not take stays in memory, is tried again, and the log says so.
#[derive(Debug, Clone)]
pub struct Booked<M> {
    model: M,
    history: History,
}

impl<M> Booked<M> {
    pub(crate) fn new(model: M, history: History) -> Self {
        Self { model, history }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<M: ChatModel> ChatModel for Booked<M> {
    fn id(&self) -> &ModelId {
        self.model.id()
    }

    fn settings(&self) -> &Settings {
        self.model.settings()
    }

    async fn chat(&self, request: &ChatRequest, run: &Run) -> Result<ChatReply, ModelError> {
        // The reservation of this call was noted before it came here, by whoever meters it.
        let noted = self.history.noted();
        let answer = self.model.chat(request, run).await;
        if let Err(error) = self.history.written(noted).await {
            tracing::debug!(%error, "an answer is used before its cost is on disk");
        }
        answer
    }
}
