//! Delays answers until their reservations are on disk.

use std::future::Future;

use async_trait::async_trait;
use brigade_core::{ChatModel, ChatReply, ChatRequest, Embedder, Embeddings, ModelError, ModelId, Run, Settings};

use crate::History;

/// A model or embedder whose answers wait until the reservation of the call is on disk; see [`History::write_barrier`].
///
/// So the file knows of every call that an agent has an answer of, at least as a reservation, and a crash cannot make
/// such a call free. Answers that take longer than a commit are not delayed. If the disk cannot be written to,
/// answers do not wait: the spending stays in memory, is written again, and the failure is logged.
#[derive(Debug, Clone)]
pub struct WriteBarrier<M> {
    model: M,
    history: History,
}

impl<M> WriteBarrier<M> {
    pub(super) fn new(model: M, history: History) -> Self {
        Self { model, history }
    }

    /// `Metered` has recorded the reservation before the call comes here.
    async fn after_reservation<T>(&self, answer: impl Future<Output = T>) -> T {
        let revision = self.history.spending_revision();
        let answer = answer.await;
        if let Err(error) = self.history.spending_written(revision).await {
            tracing::debug!(%error, "an answer is used before its reservation is on disk");
        }
        answer
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<M: ChatModel> ChatModel for WriteBarrier<M> {
    fn id(&self) -> &ModelId {
        self.model.id()
    }

    fn settings(&self) -> &Settings {
        self.model.settings()
    }

    async fn chat(&self, request: &ChatRequest, run: &Run) -> Result<ChatReply, ModelError> {
        self.after_reservation(self.model.chat(request, run)).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<E: Embedder> Embedder for WriteBarrier<E> {
    fn id(&self) -> &ModelId {
        self.model.id()
    }

    async fn embed(&self, texts: &[&str], run: &Run) -> Result<Embeddings, ModelError> {
        self.after_reservation(self.model.embed(texts, run)).await
    }
}
