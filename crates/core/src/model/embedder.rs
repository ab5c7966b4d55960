//! What texts mean, as vectors.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use crate::{ModelError, ModelId, Run, Usage};

/// A model that turns texts into vectors, which are close to each other where the texts mean the same.
#[async_trait]
pub trait Embedder: fmt::Debug + Send + Sync + 'static {
    /// The configured name. Vectors of different models are never compared.
    fn id(&self) -> &ModelId;

    /// A vector for each text, asked for on behalf of `run`. Dropping the future cancels the call.
    async fn embed(&self, texts: &[&str], run: &Run) -> Result<Embeddings, ModelError>;
}

#[async_trait]
impl<E: Embedder + ?Sized> Embedder for Arc<E> {
    fn id(&self) -> &ModelId {
        (**self).id()
    }

    async fn embed(&self, texts: &[&str], run: &Run) -> Result<Embeddings, ModelError> {
        (**self).embed(texts, run).await
    }
}

/// What some texts mean.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Embeddings {
    /// A vector for each text, in their order, all of the same length.
    pub vectors: Vec<Vec<f32>>,
    /// The model that really answered; empty if it did not say.
    pub model: String,
    /// Tokens of the texts, if they were told.
    pub usage: Option<Usage>,
}
