//! The trait of embedding models.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use crate::{ModelError, ModelId, Run, Usage};

/// A model that turns texts into vectors. Texts of similar meaning have vectors that are close to each other.
#[async_trait]
pub trait Embedder: fmt::Debug + Send + Sync + 'static {
    /// The configured name. Vectors of different models must not be compared.
    fn id(&self) -> &ModelId;

    /// Returns a vector for each text. Dropping the future cancels the call.
    async fn embed(&self, texts: &[&str], run: &Run) -> Result<Embeddings, ModelError>;
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<E: Embedder + ?Sized> Embedder for Arc<E> {
    fn id(&self) -> &ModelId {
        (**self).id()
    }

    async fn embed(&self, texts: &[&str], run: &Run) -> Result<Embeddings, ModelError> {
        (**self).embed(texts, run).await
    }
}

/// The vectors of some texts.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Embeddings {
    /// A vector for each text, in the order of the texts, all of the same length.
    pub vectors: Vec<Vec<f32>>,
    /// The model that answered; empty if the provider did not say.
    pub model: String,
    /// The tokens of the texts, if the provider reported them.
    pub usage: Option<Usage>,
}

impl Embeddings {
    /// Vectors without a report of model or usage.
    pub fn new(vectors: Vec<Vec<f32>>) -> Self {
        Self { vectors, ..Self::default() }
    }
}
