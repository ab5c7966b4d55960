//! Answers that wait for their reservations.

use std::future::Future;

use async_trait::async_trait;
use brigade_core::{ChatModel, ChatReply, ChatRequest, Embedder, Embeddings, ModelError, ModelId, Run, Settings};

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

    /// The answer, once the reservation of its call is on disk. That was noted before the call came here, by whoever
    /// meters it.
    async fn booked<T>(&self, answer: impl Future<Output = T>) -> T {
        let noted = self.history.noted();
        let answer = answer.await;
        if let Err(error) = self.history.written(noted).await {
            tracing::debug!(%error, "an answer is used before its cost is on disk");
        }
        answer
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
        self.booked(self.model.chat(request, run)).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<E: Embedder> Embedder for Booked<E> {
    fn id(&self) -> &ModelId {
        self.model.id()
    }

    async fn embed(&self, texts: &[&str], run: &Run) -> Result<Embeddings, ModelError> {
        self.booked(self.model.embed(texts, run)).await
    }
}
